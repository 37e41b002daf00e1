"""Manifests: one JSON object a line, read lazily. A bad line is reported and does not sink the rest."""

from __future__ import annotations

import hashlib
import os
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TypeAlias

import msgspec
from msgspec import Struct

from prodia_async._errors import InputError
from prodia_async._files.hops import hop
from prodia_async._models import Job
from prodia_async.batch.lines import LineReader

if TYPE_CHECKING:
    from collections.abc import Callable

    from prodia_async.batch.lines import Line

Source: TypeAlias = str | os.PathLike[str] | BinaryIO
"""Where a manifest comes from: a path, or a binary stream such as standard input."""


class Problem(Struct, frozen=True):
    """A line of a manifest that is no job: its number, from 1, and why."""

    line: int
    reason: str


class _Entry(Struct, forbid_unknown_fields=True, omit_defaults=True):
    """A manifest line as it is written."""

    type: str
    config: dict[str, Any] = {}
    inputs: list[str] = []
    accept: str | None = None
    custom_id: str | None = None
    priority: int = 0


class Manifest:
    """The jobs of a manifest, in order: `async for job in manifest`, once, then `aclose`.

    Input paths are relative to the manifest's folder (for a stream: to the current folder) and may not lead
    out of it. A job without a custom_id gets one from its line's content. `on_problem` hears of each bad
    line. Memory grows only by the digests of the custom_ids seen.
    """

    def __init__(self, source: Source, on_problem: Callable[[Problem], object]) -> None:
        self._source = source
        self._on_problem = on_problem
        self._opened: BinaryIO | None = None
        self._reader: LineReader | None = None
        self._parser: _Parser | None = None
        self._ready: deque[Job | Problem] = deque()
        self._ended = False

    async def open(self) -> None:
        """Open the manifest. Raises InputError if it cannot be read."""
        source = self._source
        if isinstance(source, str | os.PathLike):
            # Opening a named pipe waits for whoever writes to it.
            stream = await hop(_open, source, undo=lambda file: file.close(), abandon=True)
            self._opened = stream
        elif hasattr(source, "read"):
            stream = source
        else:
            raise InputError(f"a manifest is a path or a binary stream, not {type(source).__name__}")
        self._reader, self._parser = LineReader(stream), _Parser(await hop(_folder, source))

    def __aiter__(self) -> Manifest:
        return self

    async def __anext__(self) -> Job:
        """Return the next job; raises InputError where the manifest cannot be read on."""
        while True:
            while self._ready:
                entry = self._ready.popleft()
                if isinstance(entry, Job):
                    return entry
                self._on_problem(entry)
            if self._ended:
                raise StopAsyncIteration
            # A pipe may never bring another line: the thread that waits for one is not waited for.
            entries = await hop(self._read, abandon=True)
            if entries is None:
                self._ended = True
            elif not self._ended:
                self._ready.extend(entries)

    def end(self) -> None:
        """Read no further, and hand out no more jobs."""
        self._ended = True
        self._ready.clear()

    async def aclose(self) -> None:
        """Close the manifest, unless it is a stream of the caller's."""
        self.end()
        if self._opened is not None:
            await hop(self._opened.close)
            self._opened = None

    def _read(self) -> list[Job | Problem] | None:
        if self._reader is None or self._parser is None:
            raise AssertionError("a manifest is opened before it is read")
        try:
            lines = self._reader.read()
        except OSError as error:
            raise InputError(f"the manifest cannot be read on: {error.strerror or error}") from error
        return None if lines is None else [self._parser.parse(line) for line in lines]


class _Parser:
    """Makes jobs of lines; remembers each custom_id by 8 bytes of its SHA-256."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._decoder = msgspec.json.Decoder(_Entry)
        self._seen: set[int] = set()
        self._repeats: dict[str, int] = {}

    def parse(self, line: Line) -> Job | Problem:
        try:
            return self._job(line)
        except InputError as error:
            return Problem(line.number, error.message)

    def _job(self, line: Line) -> Job:
        if line.text is None:
            raise InputError("longer than 4 MiB")
        entry = self._entry(line.text)
        inputs = tuple(self._input(name) for name in entry.inputs)
        return Job(
            entry.type,
            config=entry.config,
            inputs=inputs,
            accept=entry.accept,
            custom_id=self._custom_id(entry),
            priority=entry.priority,
        )

    def _entry(self, text: bytes) -> _Entry:
        try:
            entry = self._decoder.decode(text)
        except msgspec.ValidationError as error:
            raise InputError(str(error)) from None
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise InputError(f"not JSON: {error}") from None
        if not entry.type:
            raise InputError("`type` is empty")
        return entry

    def _input(self, name: str) -> Path:
        """Return the path of an input; what is checked is what is opened, so `..` is resolved by name."""
        if not name or "\0" in name:
            raise InputError(f"{name!r} in `inputs` is no path")
        path = Path(os.path.normpath(self._folder / name))
        if not path.is_relative_to(self._folder):
            raise InputError(f"input {name!r} lies outside the manifest's folder")
        try:
            if path.is_file():
                return path
            what = "no file" if path.exists() else "missing"
        except OSError as error:  # such as a folder that may not be looked into
            what = f"not readable: {error.strerror or error}"
        raise InputError(f"input {name!r} is {what}")

    def _custom_id(self, entry: _Entry) -> str:
        if entry.custom_id is None:
            return self._made_id(entry)
        if not entry.custom_id:
            raise InputError("`custom_id` is empty")
        if not self._is_new(entry.custom_id):
            raise InputError(f"custom_id {entry.custom_id!r} was used before")
        return entry.custom_id

    def _made_id(self, entry: _Entry) -> str:
        """Return 16 hex digits of the SHA-256 of the line with sorted keys and without defaults."""
        digest = hashlib.sha256(msgspec.json.encode(entry, order="sorted")).hexdigest()[:16]
        number = self._repeats.get(digest, 0) + 1
        while not self._is_new(custom_id := digest if number == 1 else f"{digest}-{number}"):
            number += 1
        if number > 1:
            self._repeats[digest] = number
        return custom_id

    def _is_new(self, custom_id: str) -> bool:
        digest = int.from_bytes(hashlib.sha256(custom_id.encode()).digest()[:8], "big")
        if digest in self._seen:
            return False
        self._seen.add(digest)
        return True


def count_jobs(path: Path) -> int:
    """Return how many lines of a manifest are not blank. Blocks: it reads all of the file."""
    count = 0
    with path.open("rb") as file:
        reader = LineReader(file)
        while (lines := reader.read()) is not None:
            count += len(lines)
    return count


def _folder(source: Source) -> Path:
    """Return the folder that inputs are relative to."""
    path = Path(source) if isinstance(source, str | os.PathLike) else Path("stream")
    return Path(os.path.normpath(path.absolute().parent))


def _open(manifest: str | os.PathLike[str]) -> BinaryIO:
    try:
        # Unbuffered: what stands in a pipe is read without waiting for more.
        return Path(manifest).open("rb", buffering=0)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"the manifest {os.fspath(manifest)!r} cannot be read: {reason}") from error
