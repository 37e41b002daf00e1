"""Which lines of a manifest are run: at first all of them, later those that are not done."""

from __future__ import annotations

import os
from collections import deque
from typing import TYPE_CHECKING, Literal, TypeAlias

from msgspec.structs import replace

from prodia_async._errors import quoted
from prodia_async._files.threads import hop
from prodia_async.batch.entries import Entry, Problem, Submitted
from prodia_async.batch.inputs import content_mark

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from prodia_async._models import Job
    from prodia_async.batch.journal import Journal, Row
    from prodia_async.batch.manifest import Manifest

Retrying: TypeAlias = Literal["no", "too", "only"]
"""Whether jobs that failed in an earlier run are run again: not, with the others, or alone."""

Choice: TypeAlias = Literal["run", "interrupted", "submitted", "missing", "done", "failed", "leave"]
"""The first four are run; `leave` is for a run that retries failed jobs only."""

_AGAIN: Mapping[str, Choice] = {"sent": "interrupted", "done": "missing"}


class Counts:
    """What was skipped, and why some jobs run again."""

    def __init__(self) -> None:
        self.done = self.failed = self.interrupted = self.submitted = self.missing = 0


class Feed:
    """The jobs to run, in the manifest's order, read as they are wanted: `async for`, once."""

    def __init__(
        self,
        manifest: Manifest,
        journal: Journal,
        folder: Path,
        *,
        retrying: Retrying,
        on_problem: Callable[[Problem], object],
    ) -> None:
        self.counts = Counts()
        self._manifest = manifest
        self._journal = journal
        self._folder = folder
        self._retrying = retrying
        self._on_problem = on_problem
        self._ready: deque[Entry] = deque()
        self._out: dict[str, Entry] = {}
        self._ended = False

    def __aiter__(self) -> Feed:
        return self

    async def __anext__(self) -> Job:
        """Return the next job to run. Raises InputError where the manifest cannot be read on."""
        while not self._ready:
            block = None if self._ended else await self._manifest.read()
            if block is None:
                raise StopAsyncIteration
            entries = [item for item in block if isinstance(item, Entry)]
            rows = await self._journal.find([entry.job.custom_id or "" for entry in entries])
            for item, choice in zip(block, await hop(self._choose_all, block, rows), strict=True):
                if self._take(choice) and isinstance(item, Entry):
                    row = rows.get(item.job.custom_id or "")
                    self._ready.append(item if row is None else _standing(item, row))
        entry = self._ready.popleft()
        self._out[entry.job.custom_id or ""] = entry
        return entry.job

    def entry(self, job: Job) -> Entry:
        """Return the entry of a job that was handed out; once."""
        return self._out.pop(job.custom_id or "")

    def end(self) -> None:
        """Hand out no more jobs."""
        self._ended = True
        self._ready.clear()
        self._manifest.end()

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
        if row.state == "failed" or (row.state == "done" and _stand(self._folder, row)):
            return row.state
        if row.state == "done" and self._retrying == "only":
            return "leave"
        if row.state == "submitted":
            return "submitted"  # the service has its inputs
        return entry.problem or _AGAIN.get(row.state, "run")  # a retry that was cut, too

    def _take(self, choice: Choice | Problem) -> bool:
        """Count a choice; return whether the entry is run."""
        counts = self.counts
        if isinstance(choice, Problem):
            self._on_problem(choice)
            return False
        counts.done += choice == "done"
        counts.failed += choice == "failed"
        counts.missing += choice == "missing"
        counts.interrupted += choice == "interrupted"
        counts.submitted += choice == "submitted"
        return choice in ("run", "interrupted", "submitted", "missing")


def _standing(entry: Entry, row: Row) -> Entry:
    """Return the entry with what an earlier run and the service have of it already."""
    has_it = row.job_id is not None and row.fingerprint == entry.fingerprint
    submitted = Submitted(row.job_id, row.reserved) if has_it and row.job_id else None
    return replace(entry, submitted=submitted, outputs=tuple(path for path, _ in row.outputs))


def _difference(entry: Entry, row: Row) -> str | None:
    """Return why an entry is not the one that the journal has under its custom_id; None if it is."""
    name = f"custom_id {quoted(entry.job.custom_id)}"
    advice = "give it another custom_id, or put back what it was"
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


def _stand(folder: Path, row: Row) -> bool:
    """Whether all outputs of a job are there with their sizes."""
    try:
        return all(os.stat(os.path.join(folder, path)).st_size == size for path, size in row.outputs)  # noqa: PTH116, PTH118 - a million of them
    except (OSError, ValueError):
        return False
