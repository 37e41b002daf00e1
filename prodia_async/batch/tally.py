"""What a batch counts, and which of its jobs are in flight."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prodia_async.batch.report import Progress

if TYPE_CHECKING:
    from collections.abc import Callable

    from prodia_async._models import Event, JobResult


class Tally:
    """The running counts behind `Progress`; `tell` hears of each change."""

    def __init__(self, tell: Callable[[Progress], object] | None) -> None:
        self._tell = tell
        self._done = self._failed = self._problems = self._requests = self._shed = 0
        self._dollars: float | None = None
        # Sent, and the end is not known: a job that was only shed has not run, and is not in flight.
        self._in_flight: set[str | None] = set()
        self._may_have_run: set[str | None] = set()

    @property
    def in_flight(self) -> int:
        """How many jobs were sent and may be running."""
        return len(self._in_flight)

    def progress(self) -> Progress:
        """Return the counts as a value."""
        return Progress(
            done=self._done,
            failed=self._failed,
            problems=self._problems,
            in_flight=self.in_flight,
            requests=self._requests,
            shed=self._shed,
            dollars=self._dollars,
        )

    def sent(self, custom_id: str | None) -> None:
        """Count a request that is about to be sent."""
        self._requests += 1
        self._in_flight.add(custom_id)
        self._changed()

    def follow(self, event: Event) -> None:
        """Learn from the client's events which jobs are in flight no more."""
        custom_id = event.job.custom_id
        if event.kind == "shed":
            self._shed += 1
            if custom_id not in self._may_have_run:
                self._in_flight.discard(custom_id)
        elif event.kind == "retried" and event.attempt is not None and event.attempt.may_have_run:
            self._may_have_run.add(custom_id)
        elif event.kind in ("completed", "failed"):
            self._may_have_run.discard(custom_id)
            self._in_flight.discard(custom_id)
        self._changed()

    def problem(self) -> None:
        """Count a bad line."""
        self._problems += 1
        self._changed()

    def done(self, result: JobResult) -> None:
        """Count a job that is done, and its price."""
        self._done += 1
        if result.price is not None:
            self._dollars = (self._dollars or 0.0) + result.price.dollars
        self._changed()

    def failed(self) -> None:
        """Count a job that failed."""
        self._failed += 1
        self._changed()

    def _changed(self) -> None:
        if self._tell is not None:
            self._tell(self.progress())
