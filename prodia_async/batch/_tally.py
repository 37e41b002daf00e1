"""What a batch counts, and which of its jobs are in flight."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prodia_async.batch._health import ANSWERED

if TYPE_CHECKING:
    from collections.abc import Callable

    from prodia_async._models import Attempt
    from prodia_async._pacing.clock import Clock

_MOST_LOST = 100

_SURELY_TAKEN = 5.0
"""Seconds in flight after which the service has surely accepted a job: a 429 comes sooner."""


class Tally:
    """The running counts of one run; `changed` is called after each change."""

    def __init__(self, clock: Clock) -> None:
        self.changed: Callable[[], object] = _nobody
        self.done: int = 0
        self.failed: int = 0
        self.requests: int = 0
        self.shed: int = 0
        self.lost_count: int = 0
        self.lost: list[str] = []
        # Sent, and the end is not known: a job that was only shed has not run, and is not in flight.
        self._in_flight: dict[str, tuple[str, float]] = {}
        self._clock = clock
        self._full_since: dict[str | None, float] = {}
        """Since when each type has been shed and nothing else; under None, all of them."""

    @property
    def in_flight(self) -> int:
        """How many jobs were sent and may be running."""
        return len(self._in_flight)

    def sent(self, custom_id: str, kind: str) -> None:
        """Count a request that is about to be sent."""
        self.requests += 1
        self._in_flight[custom_id] = kind, self._clock.monotonic()
        self.changed()

    def collecting(self, custom_id: str, kind: str) -> None:
        """Count a job in flight that an earlier run has sent."""
        self._in_flight[custom_id] = kind, self._clock.monotonic()
        self.changed()

    def attempt_ended(self, custom_id: str, kind: str, attempt: Attempt) -> None:
        """Take a job out of those in flight."""
        if attempt.verdict == "shed":
            self.shed += 1
            now = self._clock.monotonic()
            self._full_since.setdefault(None, now)
            self._full_since.setdefault(kind, now)
        elif self._full_since and attempt.verdict in ANSWERED:
            self._accepts(kind)
        self._in_flight.pop(custom_id, None)
        self.changed()

    def add_lost(self, custom_id: str) -> None:
        """Count a job that the service no longer knows."""
        self.lost_count += 1
        if self.lost_count <= _MOST_LOST:
            self.lost.append(custom_id)

    def left(self, custom_id: str) -> None:
        """Forget a job that was cancelled."""
        if custom_id in self._in_flight:
            del self._in_flight[custom_id]
            self.changed()

    def full_for(self, kind: str | None = None) -> float:
        """Return for how many seconds the service has accepted nothing, or nothing of a type: 429 to each."""
        now = self._clock.monotonic()
        for taken, begun in list(self._in_flight.values()):  # the oldest first
            if now - begun <= _SURELY_TAKEN:
                break
            self._accepts(taken)
        return now - self._full_since.get(kind, now)

    def pauses(self) -> None:
        """Take note that a pause is on, which tells for itself how long it lasts."""
        self._full_since.clear()

    def _accepts(self, kind: str) -> None:
        self._full_since.pop(None, None)
        self._full_since.pop(kind, None)

    def add_done(self, custom_id: str) -> None:
        """Count a job that is done, and in flight no more."""
        self._in_flight.pop(custom_id, None)
        self.done += 1
        self.changed()

    def add_failed(self) -> None:
        """Count a job that failed."""
        self.failed += 1
        self.changed()


def _nobody() -> None:
    """Nobody listens."""
