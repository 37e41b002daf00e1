"""Which jobs stand on the page, and what is counted over all of them."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from msgspec import Struct

from prodia_async.batch._page.rows import Failure, Row, dollars_of, failure_of, row_of, unreadable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from prodia_async.batch._records import Record

MOST_JOBS = 20_000
_MOST_REASONS = 30
_MOST_COUNTED = 1000  # where each job fails for a reason of its own, none is frequent


class Contents(Struct, frozen=True):
    """The jobs shown, failed ones first, and what is counted over all jobs.

    `reasons` are the most frequent ones, each with its first failure and how many there were. `dollars` is
    the sum of the reported prices, None if none was reported. `first` and `last` are the earliest and the
    latest start of a job.
    """

    rows: tuple[Row, ...]
    done: int
    failed: int
    reasons: tuple[tuple[Failure, int], ...]
    dollars: float | None
    first: str | None
    last: str | None


class _Gathering:
    """Takes records one after another and keeps no more of them than the page will show."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._rows: dict[str, list[Row]] = {"done": [], "failed": []}
        self._counts: Counter[str] = Counter()
        self._reasons: dict[tuple[str, str], Failure] = {}
        self._failures: Counter[tuple[str, str]] = Counter()
        self._dollars: float | None = None
        self._starts: tuple[str, str] | None = None

    def add(self, record: Record, folder: int) -> None:
        failure, dollars = failure_of(record), dollars_of(record)
        kept = self._rows["failed" if failure else "done"]
        started = record["attempts"][0]["started_at"] if record["attempts"] else None
        if len(kept) < self._most:
            kept.append(row_of(record, folder))
        self._counts["failed" if failure else "done"] += 1
        if dollars is not None:
            self._dollars = (self._dollars or 0.0) + dollars
        if started is not None:
            first, last = self._starts or (started, started)
            self._starts = min(first, started), max(last, started)
        if failure is not None and (failure.group in self._reasons or len(self._reasons) < _MOST_COUNTED):
            self._reasons.setdefault(failure.group, failure)
            self._failures[failure.group] += 1

    def contents(self) -> Contents:
        failed = self._rows["failed"]
        first, last = self._starts or (None, None)
        frequent = self._failures.most_common(_MOST_REASONS)
        return Contents(
            rows=(*failed, *self._rows["done"][: self._most - len(failed)]),
            done=self._counts["done"],
            failed=self._counts["failed"],
            reasons=tuple((self._reasons[group], count) for group, count in frequent),
            dollars=self._dollars,
            first=first,
            last=last,
        )


def gather(
    batches: Iterable[Iterable[Record]],
    *,
    most: int = MOST_JOBS,
    stopped: Callable[[], bool] = lambda: False,
) -> Contents:
    """Read the records of some batches and return what the page is made of; `stopped` ends it early."""
    gathering = _Gathering(most)
    for folder, records in enumerate(batches):
        for record in records:
            if stopped():
                return gathering.contents()
            try:
                gathering.add(record, folder)
            except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
                gathering.add(unreadable(record, error), folder)
    return gathering.contents()
