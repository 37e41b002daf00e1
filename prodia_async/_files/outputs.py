"""What `to=` means, and what one attempt has brought: outputs go to the sink, and limits are watched."""

# ruff: noqa: PTH117, PTH120 - asked for each job; pathlib costs several times as much
from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Protocol, TypeAlias

from msgspec import Struct
from msgspec.structs import replace

from prodia_async._errors import InputError, OutputError, ProdiaError, quoted, reason_of
from prodia_async._files.landing import is_file_at, is_path, leaf_of, prepare, refuse_address
from prodia_async._files.sinks import Budget, FileSink, FolderSink
from prodia_async._files.threads import hop
from prodia_async._models import Job, JobResult, Output, OutputInfo
from prodia_async._settings import Limits
from prodia_async._wire import media
from prodia_async._wire.decoder import Event
from prodia_async._wire.heads import Head

log = logging.getLogger("prodia_async")

_MOST_FOLDERS = 1000


class Writer(Protocol):
    """Takes one output's bytes, in order."""

    async def write(self, data: bytes) -> None:
        """Take the next bytes; waits where the disk is slower than the network."""

    async def close(self) -> None:
        """Take note that the output is whole. After one that was cut short only `Sink.discard` follows."""


class Sink(Protocol):
    """Takes the outputs of one attempt of a job. Whatever it raises ends the job with OutputError."""

    async def open(self, output: OutputInfo) -> Writer:
        """Begin an output; the one before it is closed."""

    async def commit(self, result: JobResult) -> None:
        """Make the outputs stand: the job is done, and all of them are closed."""

    async def discard(self) -> None:
        """Leave nothing of what is not committed. May be called again, after a failure and after a cancel."""


class MemoryWriter(Struct, eq=False):
    """Collects an output, and shows it as `data` once it is closed."""

    _sink: MemorySink
    data: bytes | None = None
    buffer: bytearray = bytearray()

    async def write(self, data: bytes) -> None:
        sink = self._sink
        sink.size += len(data)
        if sink.size > sink.limit:
            raise OutputError(
                f"the job's outputs are larger than {sink.limit} bytes (Limits.max_memory_output): "
                "write them to a file or folder with to=",
                may_have_run=True,
            )
        self.buffer += data

    async def close(self) -> None:
        self.data, self.buffer = bytes(self.buffer), bytearray()


class MemorySink:
    """Keeps a job's outputs in memory, at most `limit` bytes together; writers show them as `data`."""

    def __init__(self, limit: int = Limits().max_memory_output) -> None:
        self.limit = limit
        self.size: int = 0
        self._writers: list[MemoryWriter] = []

    async def open(self, output: OutputInfo) -> MemoryWriter:  # noqa: ARG002 - part of the interface Sink
        """Return a writer that keeps what it is given."""
        self._writers.append(MemoryWriter(self))
        return self._writers[-1]

    async def commit(self, result: JobResult) -> None:  # noqa: ARG002 - part of the interface Sink
        """Let go of the writers: they hold the bytes."""
        self._writers = []

    async def discard(self) -> None:
        """Forget all of it."""
        for writer in self._writers:
            writer.data, writer.buffer = None, bytearray()
        self._writers, self.size = [], 0


class NotKeptError(Exception):
    """The sink failed, or the outputs broke a limit of ours: the job ran, but its outputs are not kept."""

    def __init__(self, cause: Exception | None, reason: str) -> None:
        super().__init__(reason)
        self.cause = cause


class Outputs:
    """What one attempt has brought so far. `commit` or `discard` ends it.

    The sink's `job_part`, if it has one, hears of the reply's job part as soon as it has come.
    All methods that are awaited but `discard` raise NotKeptError.
    """

    def __init__(self, sink: Sink, limits: Limits) -> None:
        self.job_part: bytes | None = None
        self._hear_job: Callable[[bytes], object] | None = getattr(sink, "job_part", None)
        try:
            self._sink, _ = sink, (sink.open, sink.commit, sink.discard)
        except AttributeError:
            said = f"to= made {quoted(sink)}, which is no sink: it needs open(), commit() and discard()"
            raise InputError(said) from None
        self._max_bytes = limits.max_output_bytes
        self._infos: list[OutputInfo] = []
        self._sizes: list[int] = []
        self._writers: list[Any] = []

    async def take(self, events: Iterable[Event]) -> None:
        """Deal with what the decoder made of a piece of the reply, in order."""
        try:
            for event in events:
                if event == b"":
                    await self._writers[-1].close()
                elif isinstance(event, bytes):
                    self._sizes[-1] += len(event)
                    if self._max_bytes is not None and sum(self._sizes) > self._max_bytes:
                        said = f"its outputs are larger than Limits.max_output_bytes={self._max_bytes}"
                        raise NotKeptError(None, said)  # noqa: TRY301 - like the errors of sinks
                    await self._writers[-1].write(event)
                elif isinstance(event, Head):
                    info = OutputInfo(len(self._infos), event.filename, event.content_type)
                    self._writers.append(await self._sink.open(info))
                    self._infos.append(info)
                    self._sizes.append(0)
                else:
                    self.job_part = event.body
                    if self._hear_job is not None:
                        self._hear_job(event.body)
        except (Exception, asyncio.CancelledError) as error:
            raise _not_kept(error) from error

    async def commit(self, result: JobResult) -> None:
        """Keep the outputs; a sink that is not quite ours is told of them."""
        try:
            if getattr(self._sink.commit, "__func__", None) not in _COMMIT:
                result = replace(result, outputs=self.outputs())
            await self._sink.commit(result)
        except (Exception, asyncio.CancelledError) as error:
            raise _not_kept(error) from error

    @property
    def is_kept(self) -> bool:
        """Whether all outputs stand on disk or in a store, though their commit was interrupted."""
        return all(
            any(getattr(one, at, None) for at in ("location", "url")) for one in self._writers or [None]
        )

    async def discard(self) -> None:
        """Drop what was received. A sink that cannot even do that is told of in the log only."""
        try:
            await self._sink.discard()
        except (Exception, asyncio.CancelledError) as error:
            kept = _not_kept(error)
            log.error("a sink's discard() raised", exc_info=kept.cause or kept)  # noqa: TRY400 - what it raised

    def outputs(self) -> tuple[Output, ...]:
        """Describe the outputs; where they lie is known once they are committed."""
        outputs: list[Output] = []
        for info, size, writer in zip(self._infos, self._sizes, self._writers, strict=True):
            path = getattr(writer, "location", None) or getattr(writer, "path", None)
            data, url = getattr(writer, "data", None), getattr(writer, "url", None)
            fetch = None if url is None else getattr(writer, "prodia_fetch", None)
            outputs.append(Output(info.filename, info.content_type, size, path, data, url, fetch))
        return tuple(outputs)

    def written(self) -> tuple[Path, ...]:
        return tuple(path for output in self.outputs() if (path := output.path) is not None)


_COMMIT = (MemorySink.commit, FolderSink.commit)


def _not_kept(error: BaseException) -> NotKeptError:
    """Return what an error of a sink means: its outputs are not kept. A cancellation of the job stays one."""
    if isinstance(error, NotKeptError):
        return error
    if isinstance(error, Exception):
        what = str(error) if isinstance(error, ProdiaError) else f"the sink failed: {quoted(error)}"
        return NotKeptError(error, what)
    task = asyncio.current_task()
    if task is None or task.cancelling():
        raise error
    return NotKeptError(None, "the sink failed: what it awaited was cancelled, and the job was not")


SinkFactory: TypeAlias = Callable[[Job], Sink]
"""Makes the sink for one attempt of a job."""


class File(Struct, frozen=True):
    """`to=File("x")`: one file, whatever its suffix; it replaces a file that is there."""

    path: str | os.PathLike[str]


class Folder(Struct, frozen=True):
    """`to=Folder("x.png")`: a folder, whatever its suffix; made when missing, no file in it is replaced."""

    path: str | os.PathLike[str]


To: TypeAlias = str | os.PathLike[str] | File | Folder | SinkFactory | None
"""What `to=` takes: a path, a store's URL, `File`, `Folder`, a function that makes a sink, or None."""


class Target(Struct, frozen=True):
    """Where outputs go. `accept`: the type that a file's suffix asks for."""

    sink: SinkFactory
    accept: str | None = None


class Targets(Struct, eq=False):
    """What a fixed `to` means. Each folder is made and tried once, and not once a job; some are forgotten."""

    _budget: Budget
    _folders: dict[str, Target] = {}  # that were found good, by absolute path

    def known(self, to: To, limits: Limits) -> Target | None:
        """Return what a fixed `to` means, unless that takes a look at the disk: see `get`."""
        if isinstance(to, Folder):
            return self._folders.get(os.fspath(to.path))
        if to is None:
            return Target(lambda _: MemorySink(limits.max_memory_output))
        return (
            Target(to, getattr(to, "accept", None)) if callable(to) and getattr(to, "is_good", True) else None
        )

    async def get(self, to: Any) -> Target:
        """Return what a fixed `File` or `Folder` means; its folder is made, and tried, in one trip.

        A file's path that is an existing folder counts as that folder, and asks for no type. Raises
        InputError, before anything is sent, where outputs could not be written. So does an object store.
        """
        if callable(to):
            await to.prepare()
            return Target(to, to.accept)
        path, is_file, budget = os.fspath(to.path), isinstance(to, File), self._budget
        folder = os.path.dirname(path) if is_file else path
        is_good = folder in self._folders
        try:
            # One stat in a folder that was good just now takes a microsecond; a thread would take thirty.
            if not is_good or (is_file and not is_file_at(path)):
                folder = await hop(prepare, path, is_file)
        except (OSError, ValueError, RecursionError) as error:  # os.makedirs goes down one call a folder
            is_taken = isinstance(error, FileExistsError)
            why = "it is a file, and File(...) would replace it" if is_taken else reason_of(error)
            raise InputError(f"to={quoted(path)} cannot be written: {why}: choose another place") from error
        if folder not in self._folders:
            if len(self._folders) >= _MOST_FOLDERS:
                self._folders.clear()
            self._folders[folder] = Target(lambda job: FolderSink(folder, job.custom_id, budget))
        if folder == path:
            return self._folders[folder]
        asked = media.type_for_name(path)
        asked = None if asked == media.OCTETS else asked
        return Target(lambda job: FileSink(path, budget, custom_id=job.custom_id), asked)


def fixed(to: To) -> To:
    """Return what `to` means at this moment: a path as a `File` or `Folder`, from the root; a URL as a store.

    A path with a trailing slash or without a known media suffix (`.png`, `.mp4` ...) is a folder, any other
    a file. Looks at nothing on disk. Raises InputError for whatever else is no target, such as an address.
    """
    if type(to) is str and (known := _fixed.get(to)) is not None:
        return known
    given: Any = to.path if isinstance(to, File | Folder) else to
    if to is None or (callable(to) and given is to):
        return to
    given = os.fspath(given) if isinstance(given, os.PathLike) else given
    if not is_path(given):
        raise InputError(
            f"to= cannot be {quoted(given)}: pass the path of a file or folder, File(...), Folder(...), "
            "a function that makes a sink, or None for memory"
        )
    leaf, outright = leaf_of(given), isinstance(to, File) if isinstance(to, File | Folder) else None
    found: To = _on_disk(given, outright) if leaf is None else leaf.target(given, outright)
    if type(to) is str and (leaf is not None or os.path.isabs(to)):
        if len(_fixed) >= _MOST_FOLDERS:
            _fixed.clear()
        _fixed[to] = found
    return found


def check_many(to: Any) -> None:
    """Raise InputError for a fixed `to` that is one file, which many jobs cannot share."""
    if isinstance(to, File):
        said = f"to= cannot be the file {quoted(to.path)} for many jobs"
        raise InputError(f"{said}: pass a folder, or Folder(...) if it is one")
    if hasattr(to, "check_many"):  # a URL's store
        to.check_many()


def _on_disk(given: str, outright: bool | None) -> File | Folder:
    refuse_address(f"to={quoted(given)}", given, "pass a path, or a function that makes a sink of your own")
    path = Path(given)
    try:
        whole = str(path.absolute())  # it stays the same when the current folder changes
    except OSError as error:
        raise InputError(f"to={quoted(given)} cannot be written: the current folder is gone") from error
    if outright is None:
        outright = not given.endswith(("/", os.sep)) and media.type_for_name(path.name) is not None
    if not outright:
        return Folder(whole)
    if path.name in ("", ".."):
        raise InputError(f"to= cannot be the file {quoted(given)}: pass a path that ends in a file name")
    return File(whole)


_fixed: dict[str, To] = {}
"""What absolute paths and URLs mean: many jobs go to the same folder."""
