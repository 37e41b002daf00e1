"""What a batch counts, and which of its jobs are in flight."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from prodia_async._models import Attempt


_MOST_LOST = 100


class Tally:
    """The running counts of one run; `changed` is called after each change."""

    def __init__(self, changed: Callable[[], object]) -> None:
        self.done = self.failed = self.requests = self.shed = self.lost_count = 0
        self.lost: list[str] = []
        # Sent, and the end is not known: a job that was only shed has not run, and is not in flight.
        self._in_flight: set[str] = set()
        self._changed = changed

    @property
    def in_flight(self) -> int:
        """How many jobs were sent and may be running."""
        return len(self._in_flight)

    def sent(self, custom_id: str) -> None:
        """Count a request that is about to be sent."""
        self.requests += 1
        self._in_flight.add(custom_id)
        self._changed()

    def collecting(self, custom_id: str) -> None:
        """Count a job in flight that an earlier run has sent."""
        self._in_flight.add(custom_id)
        self._changed()

    def attempt_ended(self, custom_id: str, attempt: Attempt) -> None:
        """Take a job out of those in flight."""
        self.shed += attempt.verdict == "shed"
        self._in_flight.discard(custom_id)
        self._changed()

    def add_lost(self, custom_id: str) -> None:
        """Count a job that the service no longer knows."""
        self.lost_count += 1
        if self.lost_count <= _MOST_LOST:
            self.lost.append(custom_id)

    def left(self, custom_id: str) -> None:
        """Forget a job that was cancelled."""
        if custom_id in self._in_flight:
            self._in_flight.discard(custom_id)
            self._changed()

    def add_done(self) -> None:
        """Count a job that is done."""
        self.done += 1
        self._changed()

    def add_failed(self) -> None:
        """Count a job that failed."""
        self.failed += 1
        self._changed()
