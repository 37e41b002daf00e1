"""A batch's outputs in an object store: `<prefix><custom_id>.<ext>`, then `<prefix><custom_id>/2.<ext>`.

Whole outputs stand in files of the batch's folder first, as if they stayed there. The journal's row tells of
them and of their URLs, and only then are they uploaded, in place of what is there, and the files removed. So
no object ever appears that no row names, and what a kill or a store that fails leaves behind is uploaded by
the next run, and not paid for again. A row tells of its files until they are uploaded: what a crash of the
machine took, of which neither a file nor an object is there, runs again.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING, Any, Protocol

from prodia_async._errors import InputError, OutputError, quoted
from prodia_async._files.threads import hop
from prodia_async._models import Job, JobResult, OutputInfo
from prodia_async._settings import MiB
from prodia_async._wire import media
from prodia_async.batch._outputs import LandingSink, OnWhole, Outputs
from prodia_async.batch._records import is_url
from prodia_async.batch._telling import say

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence
    from pathlib import Path
    from random import Random

    from prodia_async._files.outputs import Sink
    from prodia_async._files.sinks import Budget, DiskWriter
    from prodia_async.batch._gate import Gate
    from prodia_async.batch._journal import Journal

_AT_ONCE = 16
"""Jobs of an earlier run whose files are uploaded at once; how much of them is held, the store bounds."""

_FIRST, _LONGEST = 1.0, 60.0
"""Seconds that are waited, at most, after the first time that a store does not take an output, and later."""


class Place(Protocol):
    """What is asked of a store: see `prodia_async.stores.Store`."""

    store: Any
    prefix: str
    name: str | None

    async def prepare(self) -> None:
        """Find out whether it takes outputs. Raises InputError."""

    async def stands(self, key: str, size: int | None = None) -> bool:
        """Tell whether an object, of that size, is at a key, after the prefix."""

    def renamed(self, name: str) -> Callable[[Job], Sink]:
        """Return what makes a sink for the object at a key, after the prefix, which is replaced."""

    def url_of(self, key: str) -> str:
        """Return the URL of a key, prefix included."""


def outputs_of(
    to: Any,
    *,
    out: Path,
    budget: Budget,
    gate: Gate,
    journal: Journal,
    chance: Random,
    give_up_after: float | None,
) -> Outputs:
    """Return where a batch's outputs go. Raises InputError where `to` is no store."""
    if to is None:
        return Outputs(out, budget, gate.wait_for_room, journal.reader)
    return StoredOutputs(to, out, budget, gate, journal, chance=chance, give_up_after=give_up_after)


def check_place(to: Any) -> None:
    """Raise InputError for what is no store, and for the URL of one object."""
    if to is not None and getattr(to, "name", "") is not None:
        raise InputError(
            "to= of a batch is the URL of a prefix, such as 's3://bucket/prefix/', or Store(...)"
        )


class StoredOutputs(Outputs):
    """Makes the sink of each attempt, whose outputs go on into a store."""

    def __init__(
        self,
        place: Place,
        out: Path,
        budget: Budget,
        gate: Gate,
        journal: Journal,
        *,
        chance: Random,
        give_up_after: float | None,
    ) -> None:
        super().__init__(out, budget, gate.wait_for_room, journal.reader)
        self._place = place
        self._base = place.url_of(place.prefix)
        self._gate = gate
        self._journal = journal
        self._chance = chance
        self._give_up_after = give_up_after
        self._is_failing = False
        self.under_way: int = 0
        """Jobs whose outputs are on their way into the store."""
        self._lost: set[str] = set()

    def sink(self, job: Job, own: Sequence[str], on_whole: OnWhole) -> LandingSink:
        """Return the sink for one attempt of a job."""
        custom_id = job.custom_id or ""
        return StoringSink(self, self.folder(custom_id), custom_id, own=own, on_whole=on_whole)

    def url(self, stem: str, suffix: str, number: int) -> str:
        """Return where an output goes. No job's URL is another's, for no stem of theirs has a slash."""
        return f"{self._base}{stem}{suffix}" if number == 1 else f"{self._base}{stem}/{number}{suffix}"

    @property
    def is_busy(self) -> bool:
        """Whether uploads are under way that nothing holds up: an outage must not hold the batch's end."""
        return self.under_way > 0 and not (self._is_failing or "journal" in self._gate.causes)

    def _stands(self, path: str, size: int) -> bool:
        return path not in self._lost and super()._stands(path, size)

    async def settle(self) -> None:
        """Upload what an earlier run has left, and find out what of it is lost.

        Raises InputError where the store takes nothing.
        """
        await self._place.prepare()
        await super().settle()
        waiting = await hop(self._reader.parts)
        for start in range(0, len(waiting), _AT_ONCE):
            jobs = [self._settle_job(*job) for job in waiting[start : start + _AT_ONCE]]
            for error in await asyncio.gather(*jobs, return_exceptions=True):
                if error is not None:
                    raise error

    def give_name(self, path: Path, name: str) -> None:
        """Leave a file that is to be uploaded."""
        if not is_url(name):
            super().give_name(path, name)

    async def _settle_job(self, custom_id: str, files: Sequence[tuple[str, str, int]]) -> None:
        """Upload the files of a job, last to first; what has neither a file nor an object is lost."""
        files = [file for file in files if is_url(file[1])]
        for part, url, size in files[::-1]:
            path, key = self.out / part, self._key(url)
            try:
                if await hop(path.exists):  # it is whole: all others are removed
                    await self._upload(path, key, media.type_for_name(key) or media.OCTETS)
                elif not await self._place.stands(key, size):
                    self._lost.add(url)
            except Exception as error:
                said = error if isinstance(error, OutputError) else type(error).__name__
                raise InputError(f"{quoted(url)} waits to be uploaded from {quoted(part)}: {said}") from error
        if files and self._lost.isdisjoint(url for _, url, _ in files):
            await self.kept(custom_id, [part for part, _, _ in files])

    def _key(self, url: str) -> str:
        """Return the key of a URL, after the prefix. Raises InputError for one of another store."""
        if url.startswith(self._base):
            return url.removeprefix(self._base)
        raise InputError(f"an earlier run has outputs for {quoted(url)}: pass to= as that run had it")

    async def kept(self, custom_id: str, parts: Sequence[str]) -> None:
        """Take note that a job's outputs are in the store, and remove their files."""
        self._journal.kept(custom_id)
        await hop(_remove, [self.out / part for part in parts])

    async def keep(self, path: Path, url: str, content_type: str) -> None:
        """Upload a file, again until the store takes it. Raises OutputError after `give_up_after` seconds."""
        loop = asyncio.get_running_loop()
        since, longest = loop.time(), _FIRST
        while True:
            try:
                await self._upload(path, self._key(url), content_type)
            except OutputError as error:
                self._tell(error)
                wait = longest * self._chance.uniform(0.5, 1.0)
                if self._give_up_after is not None and loop.time() + wait > since + self._give_up_after:
                    self._gate.give_up(
                        f"gave up after {loop.time() - since:.0f} s: {error.message}. What has come waits in "
                        "the batch's folder: run the same batch again, and it is uploaded"
                    )
                if self._gate.gave_up is not None:
                    raise
                await asyncio.sleep(wait)
                longest = min(2 * longest, _LONGEST)
            else:
                self._tell(None)
                return

    async def _upload(self, path: Path, key: str, content_type: str) -> None:
        """Put a file in the store, in place of what is there, whole or not at all. Raises OutputError."""
        sink = self._place.renamed(key)(Job("batch"))
        try:
            writer = await sink.open(OutputInfo(0, None, content_type))
            start = 0
            while block := await hop(_block, path, start):
                await writer.write(block)
                start += len(block)
            await writer.close()
            await sink.commit(JobResult("batch", {}))
        finally:
            await sink.discard()

    async def remove(self, names: Collection[str]) -> None:
        """Remove the objects that a job had before, and does not have any more."""
        for url in names:
            if url.startswith(self._base):
                with contextlib.suppress(Exception):  # what the job has stands
                    await self._place.store.delete_async(self._place.prefix + self._key(url))

    def _tell(self, error: OutputError | None) -> None:
        """Tell the log when the store begins to fail, and when it takes outputs again."""
        if error is not None and not self._is_failing:
            say(logging.WARNING, "%s; it is tried again until it does", error.message)
        elif error is None and self._is_failing:
            say(logging.INFO, "%s takes outputs again", self._base)
        self._is_failing = error is not None


class StoringSink(LandingSink):
    """A LandingSink whose files are uploaded once a row of the journal tells of them."""

    _outputs: StoredOutputs

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._types: list[str] = []

    async def open(self, output: OutputInfo) -> DiskWriter:
        """Begin an output."""
        self._types.append(output.content_type)
        return await super().open(output)

    async def commit(self, result: JobResult) -> None:
        """Make the files whole, have the journal tell of them, and upload them, last to first.

        A cancellation once the journal tells of them leaves the rest to the next run.
        """
        outputs, writers = self._outputs, self._writers
        outputs.under_way += 1
        try:
            await super().commit(result)
            parts = [outputs.relative(part) for part in self.parts]
            for part, url, content_type in list(zip(parts, self.targets, self._types, strict=True))[::-1]:
                await outputs.keep(outputs.out / part, url, content_type)
            if parts:
                await outputs.kept(self._custom_id or "", parts)
            await outputs.remove({*self._own} - {*self.targets})
        except asyncio.CancelledError:
            for writer in writers:
                writer.location = None  # it does not stand where it is to be: the job was cut, and is told so
            raise
        finally:
            outputs.under_way -= 1

    def name_files(self) -> None:
        """Leave the files where they are until they are uploaded."""

    def _settle(self, writer: DiskWriter, stem: str) -> None:
        """Choose the URL that a complete file gets."""
        self._number += 1
        self.parts.append(writer.temporary)
        self.targets.append(self._outputs.url(stem, writer.suffix, self._number))
        writer.location, writer.temporary = writer.temporary, ""


def _block(path: Path, start: int) -> bytes:
    """Read a part of a file. It is open for no longer: a cancellation leaves a thread to itself."""
    with path.open("rb") as file:
        file.seek(start)
        return file.read(MiB)


def _remove(paths: Sequence[Path]) -> None:
    for path in paths:
        with contextlib.suppress(OSError):  # the next run removes it
            path.unlink()
