"""Which lines of a manifest are run: at first all of them, later those that are not done."""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections import defaultdict, deque
from typing import TYPE_CHECKING, Literal, TypeAlias

from msgspec.structs import replace

from prodia_async._errors import OutputError, quoted, reason_of
from prodia_async._files.threads import hop
from prodia_async.batch._aside import Aside
from prodia_async.batch._entries import Entry, Problem, Submitted
from prodia_async.batch._inputs import content_mark

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from prodia_async._models import Job
    from prodia_async._pacing.limiter import Limiter
    from prodia_async.batch._journal import Journal, Row
    from prodia_async.batch._manifest import Manifest
    from prodia_async.batch._tally import Tally

Retrying: TypeAlias = Literal["no", "too", "only"]
"""Whether jobs that failed in an earlier run are run again: not, with the others, or alone."""

Choice: TypeAlias = Literal["run", "interrupted", "submitted", "missing", "done", "failed", "leave"]
"""The first four are run; `leave` is for a run that retries failed jobs only."""

_AHEAD = 4
"""Times the most jobs in flight: so many jobs of each type are started, for the limiter must see a line."""

_LEAST_AHEAD = 24
"""A pause needs 20 jobs that fail."""

_ASIDE = 4
"""Times `ahead`: so many lines wait in memory for jobs of their types."""

_PATIENCE = 6.0
"""Seconds in which none of a type's jobs is accepted, after which its lines wait on disk.

More than a job has to be in flight to count as accepted.
"""

_LOOK = 1.0

_RUN = frozenset[Choice]({"run", "interrupted", "submitted", "missing"})

_AGAIN: Mapping[str, Choice] = {"sent": "interrupted", "done": "missing"}


class Counts:
    """What was skipped, and why some jobs run again."""

    def __init__(self) -> None:
        self.done = self.failed = self.interrupted = self.submitted = self.missing = 0

    def add(self, choice: Choice) -> None:
        """Count a choice that is told of."""
        setattr(self, choice, getattr(self, choice) + 1)


class Feed:
    """The jobs to run, read as they are wanted: `async for`, once. Those of one type come in order.

    At most `ahead` of each type are handed out and not yet `left`; what comes beyond them waits, and lets
    the lines of other types pass. Where four times as many wait and the service has accepted none of their
    type for a while, they wait in a file of `folder`: a type that is always shed does not keep others from
    running. Otherwise the manifest is read no faster than jobs end. `stand` tells whether a job's outputs
    stand; it may block.
    """

    def __init__(
        self,
        manifest: Manifest,
        journal: Journal,
        folder: Path,
        limiter: Limiter,
        tally: Tally,
        *,
        retrying: Retrying,
        stand: Callable[[Row], bool],
        on_problem: Callable[[Problem], object],
    ) -> None:
        self.counts: Counts = Counts()
        self._manifest = manifest
        self._journal = journal
        self._folder = folder
        self._clock = limiter.clock
        self._limiter = limiter
        self._tally = tally
        self._retrying = retrying
        self._stand = stand
        self._on_problem = on_problem
        self._ready: deque[Entry] = deque()
        self.out: dict[str, Entry] = {}
        """The entries of jobs that were handed out, until somebody takes them, by custom_id."""
        self._under_way = defaultdict[str, int](int)
        self._aside = Aside(folder)
        self._open: dict[str, None] = {}
        """Types that wait, and have room again."""
        self._news = asyncio.Event()
        self._ended = False
        self._has_more = True
        self._most = 0

    def __aiter__(self) -> Feed:
        return self

    async def __anext__(self) -> Job:
        """Return the next job to run. Raises InputError where the manifest cannot be read on."""
        while True:
            if self._ended:
                raise StopAsyncIteration
            if self._open:
                entry = await self._next_aside()
                break
            if self._ready:
                entry = self._ready.popleft()
                kind = entry.job.type
                if self._under_way[kind] < self._most and kind not in self._aside.pieces:
                    break
                await self._put_aside(entry)
            elif self._has_more:
                await self._read()
            elif self._aside.pieces:
                await self._hear_of_room()
            else:
                raise StopAsyncIteration
        self._under_way[entry.job.type] += 1
        self.out[entry.job.custom_id or ""] = entry
        return entry.job

    async def _read(self) -> None:
        block = await self._manifest.read()
        if block is None:
            self._has_more = False
            return
        entries = [item for item in block if isinstance(item, Entry)]
        rows = await self._journal.find([entry.job.custom_id or "" for entry in entries])
        for item, choice in zip(block, await hop(self._choose_all, block, rows), strict=True):
            if isinstance(choice, Problem):
                self._on_problem(choice)
                continue
            if choice not in ("run", "leave"):
                self.counts.add(choice)
            if choice in _RUN and isinstance(item, Entry):
                row = rows.get(item.job.custom_id or "")
                self._ready.append(item if row is None else _standing(item, row))
        self._most = self.ahead()

    async def _put_aside(self, entry: Entry) -> None:
        """Let a line wait. Where too many do, until one has room, or those can go to disk that are shed."""
        aside = self._aside
        aside.put(entry)
        while aside.count >= _ASIDE * self.ahead() and not (self._open or self._ended):
            shed = {kind for kind in aside.pieces if self._tally.full_for(kind) >= _PATIENCE}
            before = aside.count
            if shed and not aside.is_full:
                # Where it cannot be written it waits in memory, and the feed for it: an input of a program's
                # own may raise anything.
                with contextlib.suppress(Exception):
                    await hop(aside.spill, shed)
            if aside.count == before:
                await self._hear_of_room(_LOOK)

    async def _hear_of_room(self, seconds: float = math.inf) -> None:
        """Wait until a job leaves for which another waits, or the end comes; at most for `seconds`."""
        self._news.clear()
        timer = None
        if seconds < math.inf:
            timer = self._clock.call_at(self._clock.monotonic() + seconds, self._news.set)
        try:
            if not (self._open or self._ended):
                await self._news.wait()
        finally:
            if timer is not None:
                timer.cancel()

    async def _next_aside(self) -> Entry:
        kind = next(iter(self._open))
        try:
            at_hand = self._aside.is_at_hand(kind)
            entry = self._aside.next(kind) if at_hand else await hop(self._aside.next, kind)
        except OSError as error:
            failure = OutputError(
                f"lines that waited in a file in {quoted(str(self._folder))} could not be read back "
                f"({reason_of(error)}): check the disk, then run the same command again"
            )
            failure.errno = error.errno
            raise failure from error
        if kind not in self._aside.pieces or self._under_way[kind] + 1 >= self.ahead():
            self._open.pop(kind, None)
        return entry

    def ahead(self) -> int:
        """Return how many jobs of a type may be handed out and not have ended."""
        return max(_LEAST_AHEAD, _AHEAD * self._limiter.limit)

    def left(self, kind: str) -> None:
        """Take note that a job of a type has ended: the next of it may come."""
        self._under_way[kind] -= 1
        if not self._under_way[kind]:
            del self._under_way[kind]
        if kind in self._aside.pieces and self._under_way.get(kind, 0) < self.ahead():
            self._open[kind] = None
            self._news.set()

    async def count(self) -> int | None:
        """Return how many jobs the manifest may have; None where that cannot be told."""
        return await self._manifest.count()

    def of_this_run(self, jobs: int | None) -> int | None:
        """Return how many jobs are done when this run is through; None where that cannot be told."""
        first = self._manifest.first
        if jobs is None or self._retrying == "only":
            return None
        return jobs if first is None else min(first, jobs)

    def end(self) -> None:
        """Hand out no more jobs."""
        self._ended = True
        self._ready.clear()
        self._open.clear()
        self._news.set()
        self._manifest.end()

    async def aclose(self) -> None:
        """Give back what it has on disk."""
        await hop(self._aside.close)

    def _choose_all(
        self, block: Sequence[Entry | Problem], rows: Mapping[str, Row]
    ) -> list[Choice | Problem]:
        """Decide on each entry. Blocks: it looks whether outputs stand."""
        return [
            item if isinstance(item, Problem) else self._choose(item, rows.get(item.job.custom_id or ""))
            for item in block
        ]

    def _choose(self, entry: Entry, row: Row | None) -> Choice | Problem:
        if row is None or (row.state == "failed" and self._retrying != "no"):
            # Perhaps its line was corrected since it failed: nothing stands that the old one has made.
            return entry.problem or ("leave" if row is None and self._retrying == "only" else "run")
        if (reason := _difference(entry, row)) is not None:
            return Problem(entry.line, reason)
        if row.state == "failed" or (row.state == "done" and self._stand(row)):
            return row.state
        if row.state == "done" and self._retrying == "only":
            return "leave"
        if row.state == "submitted":
            return "submitted"  # the service has its inputs
        return entry.problem or _AGAIN.get(row.state, "run")  # a retry that was cut, too


def _standing(entry: Entry, row: Row) -> Entry:
    """Return the entry with what an earlier run and the service have of it already."""
    has_it = row.job_id is not None and row.fingerprint == entry.fingerprint
    submitted = Submitted(row.job_id, row.reserved) if has_it and row.job_id else None
    return replace(entry, submitted=submitted, outputs=tuple(path for path, _ in row.outputs))


def _difference(entry: Entry, row: Row) -> str | None:
    """Return why an entry is not the one that the journal has under its custom_id; None if it is."""
    name = f"custom_id {quoted(entry.job.custom_id)}"
    advice = "give it another custom_id, put back what it was, or choose another --out (out=)"
    if row.state == "failed":
        advice = "--retry-failed (retry_failed=True) runs it as it is now"
    if entry.fingerprint != row.fingerprint:
        return f"{name} was another job when it was sent: {advice}"
    if entry.problem is None and not _same_inputs(entry, row):
        return f"{name}: an input has changed since it was sent: {advice}"
    return None


def _same_inputs(entry: Entry, row: Row) -> bool:
    """Whether the inputs are those that were sent. A file that was only touched is: its content decides."""
    if row.inputs_mark[:8] == entry.inputs_mark:
        return True
    try:
        return row.inputs_mark[8:] == content_mark(entry.job.inputs)
    except OSError:
        return False
