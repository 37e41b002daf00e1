"""What a batch counts, and which of its jobs are in flight."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prodia_async.batch.health import ANSWERED

if TYPE_CHECKING:
    from collections.abc import Callable

    from prodia_async._models import Attempt
    from prodia_async._pacing.clock import Clock

_MOST_LOST = 100

_SURELY_TAKEN = 5.0
"""Seconds in flight after which the service has surely accepted a job: a 429 comes sooner."""


class Tally:
    """The running counts of one run; `changed` is called after each change."""

    def __init__(self, clock: Clock, changed: Callable[[], object]) -> None:
        self.done: int = 0
        self.failed: int = 0
        self.requests: int = 0
        self.shed: int = 0
        self.lost_count: int = 0
        self.lost: list[str] = []
        # Sent, and the end is not known: a job that was only shed has not run, and is not in flight.
        self._in_flight: dict[str, float] = {}
        self._clock = clock
        self._changed = changed
        self._full_since: float | None = None

    @property
    def in_flight(self) -> int:
        """How many jobs were sent and may be running."""
        return len(self._in_flight)

    def sent(self, custom_id: str) -> None:
        """Count a request that is about to be sent."""
        self.requests += 1
        self._in_flight[custom_id] = self._clock.monotonic()
        self._changed()

    def collecting(self, custom_id: str) -> None:
        """Count a job in flight that an earlier run has sent."""
        self._in_flight[custom_id] = self._clock.monotonic()
        self._changed()

    def attempt_ended(self, custom_id: str, attempt: Attempt) -> None:
        """Take a job out of those in flight."""
        if attempt.verdict == "shed":
            self.shed += 1
            if self._full_since is None:
                self._full_since = self._clock.monotonic()
        elif attempt.verdict in ANSWERED:
            self._full_since = None
        self._in_flight.pop(custom_id, None)
        self._changed()

    def add_lost(self, custom_id: str) -> None:
        """Count a job that the service no longer knows."""
        self.lost_count += 1
        if self.lost_count <= _MOST_LOST:
            self.lost.append(custom_id)

    def left(self, custom_id: str) -> None:
        """Forget a job that was cancelled."""
        if custom_id in self._in_flight:
            del self._in_flight[custom_id]
            self._changed()

    def full_for(self, *, paused: bool) -> float:
        """Return for how many seconds the service has answered 429 to all that was sent, and nothing else.

        A pause is another matter, and tells for itself how long it lasts.
        """
        now = self._clock.monotonic()
        oldest = next(iter(self._in_flight.values()), now)
        if paused or now - oldest > _SURELY_TAKEN:
            self._full_since = None
        return 0.0 if self._full_since is None else now - self._full_since

    def add_done(self, custom_id: str) -> None:
        """Count a job that is done, and in flight no more."""
        self._in_flight.pop(custom_id, None)
        self.done += 1
        self._changed()

    def add_failed(self) -> None:
        """Count a job that failed."""
        self.failed += 1
        self._changed()
