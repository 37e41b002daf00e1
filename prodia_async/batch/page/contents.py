"""Which jobs stand on the page, and what is counted over all of them."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from msgspec import Struct

from prodia_async.batch.page.rows import Row, dollars_of, failure_of, row_of, started_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

MOST_JOBS = 20_000
_MOST_REASONS = 30


class Contents(Struct, frozen=True):
    """The jobs shown, failed ones first, and the counts over all jobs of the batch.

    `dollars` is the sum of the reported prices, None if none was reported. `reasons` counts the failures by
    their label, the most frequent first. `first` and `last` are the earliest and the latest start of a job.
    """

    rows: tuple[Row, ...]
    done: int
    failed: int
    dollars: float | None
    reasons: tuple[tuple[str, int], ...]
    first: str | None
    last: str | None

    @property
    def hidden(self) -> int:
        """How many jobs are not shown."""
        return self.done + self.failed - len(self.rows)


class _Gathering:
    """Takes records one after another and keeps no more of them than the page will show."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._done: list[Row] = []
        self._failed: list[Row] = []
        self._counts = [0, 0]
        self._dollars: float | None = None
        self._reasons: Counter[str] = Counter()
        self._starts: tuple[str, str] | None = None

    def add(self, record: Mapping[str, object]) -> None:
        is_failed = record.get("status") == "failed"
        self._counts[is_failed] += 1
        self._count(record)
        kept = self._failed if is_failed else self._done
        if len(kept) < self._most:
            kept.append(row_of(record))

    def contents(self) -> Contents:
        room = max(0, self._most - len(self._failed))
        first, last = self._starts or (None, None)
        return Contents(
            rows=(*self._failed, *self._done[:room]),
            done=self._counts[0],
            failed=self._counts[1],
            dollars=self._dollars,
            reasons=tuple(self._reasons.most_common(_MOST_REASONS)),
            first=first,
            last=last,
        )

    def _count(self, record: Mapping[str, object]) -> None:
        failure = failure_of(record)
        if failure is not None:
            self._reasons[failure.label] += 1
        dollars = dollars_of(record)
        if dollars is not None:
            self._dollars = (self._dollars or 0.0) + dollars
        started = started_of(record)
        if started is not None:
            first, last = self._starts or (started, started)
            self._starts = min(first, started), max(last, started)


def gather(
    records: Iterable[Mapping[str, object]],
    *,
    most: int = MOST_JOBS,
    stopped: Callable[[], bool] = lambda: False,
) -> Contents:
    """Read all records and return what the page is made of; ends early once `stopped` says so."""
    gathering = _Gathering(most)
    for record in records:
        if stopped():
            break
        gathering.add(record)
    return gathering.contents()
