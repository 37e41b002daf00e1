"""Manifests: jobs in JSON lines, CSV, prompts, pictures or a program's own, read lazily.

A bad line is reported and does not sink the rest.
"""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import AsyncIterable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TypeAlias, cast

from prodia_async._errors import InputError, quoted, reason_of
from prodia_async._files.readers import of_file
from prodia_async._files.threads import hop, start
from prodia_async.batch._csv_drafts import CsvDrafts
from prodia_async.batch._csv_records import RecordReader
from prodia_async.batch._drafts import JsonDrafts, PromptDrafts
from prodia_async.batch._entries import Defaults, Entry, Parser, Problem
from prodia_async.batch._forms import refusal
from prodia_async.batch._given import GivenJobs, Jobs
from prodia_async.batch._inputs import refuse_address
from prodia_async.batch._lines import LineReader
from prodia_async.batch._pictures import Pictures, is_pictures
from prodia_async.batch._shard import Shard
from prodia_async.batch._variations import Variations

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from prodia_async._files.threads import Trip
    from prodia_async.batch._drafts import Drafts, Numbered

__all__ = ["Defaults", "Entry", "Manifest", "Problem", "Shard", "Source", "count_jobs"]

_MOST_JUDGED = 20

Source: TypeAlias = str | os.PathLike[str] | BinaryIO | GivenJobs
"""A path (a file, a folder of pictures, a pattern), a binary stream, or an iterable of `Job` or dict."""


class Manifest:
    """What stands in a manifest, in order: `open`, `read` until it returns None, then `aclose`.

    A path that ends in .csv is CSV, one in .txt has prompts, a folder or a pattern has pictures; a stream is
    CSV, if its first line does not begin with `{`; all else is JSON lines. Lines take what they do not say
    from `defaults`; each becomes as many jobs as `variations` says, of which those of other shards than
    `shard` are left out, and all but the `first` ones. Input paths are relative to the manifest's folder (for
    a stream, and for jobs of a program: to the current folder) and may not lead
    out of it unless `allow_outside`. A job
    without a custom_id gets one: 16 hex digits of the SHA-256 of its type, config, inputs and accept, as JSON
    with sorted keys.

    Memory grows only by 8 bytes for each custom_id; for pictures, by their names, too.
    """

    def __init__(
        self,
        source: Source,
        *,
        defaults: Defaults = Defaults(),  # noqa: B008 - a frozen value
        variations: Variations = Variations(),  # noqa: B008 - a frozen value
        shard: Shard | None = None,
        allow_outside: bool = False,
        first: int | None = None,
    ) -> None:
        self._source = source
        self._defaults = defaults
        self._variations = variations
        self._shard = shard
        self._allow_outside = allow_outside
        self.first = first
        self._left = first
        self._parser: Parser | None = None
        self._opened: BinaryIO | None = None
        self._jobs: Jobs | None = None
        self._drafts: Drafts | None = None
        self._reading: Trip[list[Entry | Problem] | None] | None = None
        self._ended = False

    async def open(self) -> None:
        """Open the manifest. Raises InputError if it, or the defaults, cannot be read or sent.

        Waits for whoever writes to a named pipe; for the first line; and for the header of CSV.
        """
        source = _checked(self._source)
        if isinstance(source, str | os.PathLike):
            refuse_address("the manifest", source)
        self._parser = await hop(self._new_parser, source)
        if isinstance(source, str | os.PathLike):
            place = os.fspath(source)
            if await hop(is_pictures, place):
                self._drafts = pictures = await hop(Pictures, place, abandon=True)
                self._parser = await hop(self._new_parser, pictures.root / "manifest", pictures.words)
                return
            self._opened = await hop(_open, source, undo=lambda file: file.close(), abandon=True)
            self._drafts = await hop(_drafts, self._opened, place, abandon=True)
            if self._drafts.words is not None:
                self._parser = await hop(self._new_parser, source, self._drafts.words)
        elif isinstance(source, Iterable | AsyncIterable) and not hasattr(source, "read"):
            self._jobs = Jobs(cast("GivenJobs", source))
        else:
            self._drafts = await hop(_drafts, source, None, abandon=True)

    async def read(self) -> list[Entry | Problem] | None:
        """Return the entries and the bad lines of the next block, perhaps none; None at the end.

        Raises InputError where the manifest cannot be read on. A reading that was cancelled goes on: the
        next one returns what it found.
        """
        if self._ended or self._left == 0:
            return None
        if self._reading is None and self._jobs is not None:
            drafts = await self._jobs.read()
            self._reading = None if drafts is None else start(self._made, drafts)
        elif self._reading is None:
            # A pipe may never bring another line: the thread that waits for one is not waited for.
            self._reading = start(self._read, apart=True)
        found = None if self._reading is None else await self._reading.result()
        self._reading = None
        if found is None or self._ended:
            self._ended = True
            return None
        return found if self._left is None else self._first_of(found)

    async def count(self) -> int | None:
        """Return how many jobs there may be, of this shard, bad lines included; None if nobody can tell."""
        path = self._source
        lines: int | None = None
        if self._jobs is not None:
            lines = self._jobs.count()
        elif isinstance(self._drafts, Pictures):
            lines = len(self._drafts)
        elif isinstance(path, str | os.PathLike) and await hop(Path(path).is_file):
            with contextlib.suppress(OSError):
                lines = await hop(count_jobs, Path(path), abandon=True)
        of = 1 if self._shard is None else self._shard.of
        return None if lines is None else round(lines * self._variations.count / of)

    def end(self) -> None:
        """Read no further, and hand out no more entries."""
        self._ended = True

    async def aclose(self) -> None:
        """Close the manifest, unless it is a stream of the caller's."""
        self.end()
        if self._jobs is not None:
            await self._jobs.aclose()
        if self._opened is not None:
            await hop(self._opened.close)
            self._opened = None

    def _new_parser(self, source: Source, words: frozenset[str] | None = None) -> Parser:
        # The inputs of a stream, and of jobs that are given, are relative to the current folder.
        path = Path(source if isinstance(source, str | os.PathLike) else "stream")
        return Parser(
            Path(os.path.normpath(path.absolute().parent)),
            defaults=self._defaults,
            variations=self._variations,
            shard=self._shard,
            allow_outside=self._allow_outside,
            words=words,
        )

    def _read(self) -> list[Entry | Problem] | None:
        if self._drafts is None:
            raise AssertionError("a manifest is opened before it is read")
        with _readable():
            drafts = self._drafts.read()
        return None if drafts is None else self._made(drafts)

    def _made(self, drafts: Sequence[Numbered]) -> list[Entry | Problem]:
        if self._parser is None:
            raise AssertionError("a manifest is opened before it is read")
        parser = self._parser
        return [item for numbered in drafts for item in _items(parser, numbered)]

    def _first_of(self, found: list[Entry | Problem]) -> list[Entry | Problem]:
        """Return no more of what was found than the first jobs that are wanted."""
        for index, item in enumerate(found, 1):
            self._left = (self._left or 0) - isinstance(item, Entry)
            if not self._left:
                return found[:index]
        return found


def count_jobs(path: Path) -> int:
    """Return how many jobs a manifest may hold, over all shards: lines or rows that are not blank.

    Blocks: it reads all of the file. Raises OSError.
    """
    count = 0
    with path.open("rb") as file:
        lines = LineReader(file)
        if _is_csv(path):
            records = RecordReader(lines)
            records.next()  # the header
            while (rows := records.read()) is not None:
                count += len(rows)
        else:
            while (block := lines.read()) is not None:
                count += sum(not line.blank for line in block)
    return count


def _items(parser: Parser, numbered: Numbered) -> Iterator[Entry | Problem]:
    line, draft = numbered
    if isinstance(draft, InputError):
        yield Problem(line, draft.message)
        return
    try:
        yield from parser.entries(line, draft)
    except InputError as error:
        yield Problem(line, error.message)
    except Exception as error:  # noqa: BLE001 - whatever one line brings, it harms that line alone
        yield Problem(line, f"{type(error).__name__}: {quoted(error, str)}")


def _checked(source: Any) -> Source:
    """Return what a caller without a type checker gave, if it is a manifest."""
    if isinstance(source, io.TextIOBase):
        raise InputError("the manifest is open in text mode: open it with mode 'rb', or pass its `buffer`")
    is_jobs = isinstance(source, Iterable | AsyncIterable) and not isinstance(
        source, bytes | bytearray | Mapping
    )
    if not (isinstance(source, str | os.PathLike) or hasattr(source, "read") or is_jobs):
        raise InputError(
            "a manifest is an iterable of Job or dict, or a path or a binary stream, "
            f"not {type(source).__name__}"
        )
    checked: Source = source
    return checked


def _open(manifest: str | os.PathLike[str]) -> BinaryIO:
    try:
        # Unbuffered: what stands in a pipe is read without waiting for more.
        return Path(manifest).open("rb", buffering=0)
    except (OSError, ValueError) as error:
        advice = ": name a file of JSON lines or CSV" if isinstance(error, IsADirectoryError) else ""
        raise InputError(
            f"the manifest {quoted(os.fspath(manifest))} cannot be read: {reason_of(error)}{advice}"
        ) from error


def _is_csv(path: str | os.PathLike[str]) -> bool:
    return os.fspath(path).lower().endswith(".csv")


def _is_text(path: str | None, texts: Sequence[bytes]) -> bool:
    """Tell whether a file has a prompt a line: a .txt, unless JSON lines stand in it."""
    is_json = bool(texts) and texts[0].lstrip().startswith(b"{")
    return path is not None and path.lower().endswith(".txt") and not is_json


def _drafts(stream: BinaryIO, path: str | None) -> Drafts:
    """Begin to read a manifest, from a path or not."""
    lines = LineReader(stream)
    with _readable():
        if path is None:
            of_file("the manifest", stream)  # for its check that there is something left to read
        first = lines.peek()
        begun = [] if first is None or first.text is None else lines.ahead[:_MOST_JUDGED]
        texts = [line.text for line in begun if line.text and not line.blank]
        csv = _is_csv(path) if path is not None else bool(texts) and not texts[0].lstrip().startswith(b"{")
        prompts = _is_text(path, texts)
        if (reason := refusal(lines.head, texts, csv=csv, prompts=prompts)) is not None:
            raise InputError(f"the manifest{'' if path is None else f' {quoted(path)}'} is {reason}")
        return CsvDrafts(lines) if csv else PromptDrafts(lines) if prompts else JsonDrafts(lines)


@contextlib.contextmanager
def _readable() -> Iterator[None]:
    """Raise InputError for whatever else a stream of the caller's may raise."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        raise InputError(f"the manifest cannot be read on: {reason_of(error)}") from error
