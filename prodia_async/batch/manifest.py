"""Manifests: jobs in JSON lines or CSV, read lazily. A bad line is reported and does not sink the rest."""

from __future__ import annotations

import contextlib
import io
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TypeAlias

from prodia_async._errors import InputError, quoted, reason_of
from prodia_async._files.readers import of_file
from prodia_async._files.threads import hop, start
from prodia_async.batch.csv_drafts import CsvDrafts
from prodia_async.batch.csv_records import RecordReader
from prodia_async.batch.drafts import JsonDrafts
from prodia_async.batch.entries import Defaults, Entry, Parser, Problem
from prodia_async.batch.forms import refusal
from prodia_async.batch.inputs import refuse_address
from prodia_async.batch.lines import LineReader
from prodia_async.batch.shard import Shard

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prodia_async._files.threads import Trip
    from prodia_async.batch.drafts import Drafts, Numbered

__all__ = ["Defaults", "Entry", "Manifest", "Problem", "Shard", "Source", "count_jobs"]

_MOST_JUDGED = 20

Source: TypeAlias = str | os.PathLike[str] | BinaryIO
"""Where a manifest comes from: a path, or a binary stream such as standard input."""


class Manifest:
    """What stands in a manifest, in order: `open`, `read` until it returns None, then `aclose`.

    A path that ends in .csv is CSV; a stream is, if its first line does not begin with `{`; all else is JSON
    lines. Lines take what they do not say from `defaults`; those of other shards than `shard` are left out.
    Input paths are relative to the manifest's folder (for a stream: to the current folder) and may not lead
    out of it unless `allow_outside`. A job without a custom_id gets one: 16 hex digits of the SHA-256 of its
    type, config, inputs and accept, as JSON with sorted keys.

    Memory grows only by 8 bytes for each custom_id.
    """

    def __init__(
        self,
        source: Source,
        *,
        defaults: Defaults = Defaults(),  # noqa: B008 - a frozen value
        shard: Shard | None = None,
        allow_outside: bool = False,
    ) -> None:
        self._source = source
        self._defaults = defaults
        self._shard = shard
        self._allow_outside = allow_outside
        self._parser: Parser | None = None
        self._opened: BinaryIO | None = None
        self._drafts: Drafts | None = None
        self._reading: Trip[list[Entry | Problem] | None] | None = None
        self._ended = False

    async def open(self) -> None:
        """Open the manifest. Raises InputError if it, or the defaults, cannot be read or sent.

        Waits for whoever writes to a named pipe; for the first line; and for the header of CSV.
        """
        source = self._source
        self._parser = await hop(self._new_parser)
        if isinstance(source, str | os.PathLike):
            refuse_address("the manifest", source)
            self._opened = await hop(_open, source, undo=lambda file: file.close(), abandon=True)
            self._drafts = await hop(_drafts, self._opened, source, abandon=True)
        else:
            self._drafts = await hop(_drafts, source, None, abandon=True)

    async def read(self) -> list[Entry | Problem] | None:
        """Return the entries and the bad lines of the next block, perhaps none; None at the end.

        Raises InputError where the manifest cannot be read on. A reading that was cancelled goes on: the
        next one returns what it found.
        """
        if self._ended:
            return None
        if self._reading is None:
            # A pipe may never bring another line: the thread that waits for one is not waited for.
            self._reading = start(self._read, apart=True)
        found = await self._reading.result()
        self._reading = None
        if found is None or self._ended:
            self._ended = True
            return None
        return found

    def end(self) -> None:
        """Read no further, and hand out no more entries."""
        self._ended = True

    async def aclose(self) -> None:
        """Close the manifest, unless it is a stream of the caller's."""
        self.end()
        if self._opened is not None:
            await hop(self._opened.close)
            self._opened = None

    def _new_parser(self) -> Parser:
        source = _checked(self._source)
        # A stream's inputs are relative to the current folder.
        path = Path(source if isinstance(source, str | os.PathLike) else "stream")
        return Parser(
            Path(os.path.normpath(path.absolute().parent)),
            defaults=self._defaults,
            shard=self._shard,
            allow_outside=self._allow_outside,
        )

    def _read(self) -> list[Entry | Problem] | None:
        if self._drafts is None or self._parser is None:
            raise AssertionError("a manifest is opened before it is read")
        parser = self._parser
        with _readable():
            drafts = self._drafts.read()
        if drafts is None:
            return None
        items = [_item(parser, numbered) for numbered in drafts]
        return [item for item in items if item is not None]


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


def _item(parser: Parser, numbered: Numbered) -> Entry | Problem | None:
    line, draft = numbered
    if isinstance(draft, InputError):
        return Problem(line, draft.message)
    try:
        return parser.entry(line, draft)
    except InputError as error:
        return Problem(line, error.message)
    except Exception as error:  # noqa: BLE001 - whatever one line brings, it harms that line alone
        return Problem(line, f"{type(error).__name__}: {quoted(error, str)}")


def _checked(source: Any) -> Source:
    """Return what a caller without a type checker gave, if it is a manifest."""
    if isinstance(source, io.TextIOBase):
        raise InputError("the manifest is open in text mode: open it with mode 'rb', or pass its `buffer`")
    if not isinstance(source, str | os.PathLike) and not hasattr(source, "read"):
        raise InputError(f"a manifest is a path or a binary stream, not {type(source).__name__}")
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


def _drafts(stream: BinaryIO, path: str | os.PathLike[str] | None) -> Drafts:
    """Begin to read a manifest, from a path or not."""
    lines = LineReader(stream)
    with _readable():
        if path is None:
            of_file("the manifest", stream)  # for its check that there is something left to read
        first = lines.peek()
        begun = [] if first is None or first.text is None else lines.ahead[:_MOST_JUDGED]
        texts = [line.text for line in begun if line.text and not line.blank]
        csv = _is_csv(path) if path is not None else bool(texts) and not texts[0].lstrip().startswith(b"{")
        if (reason := refusal(lines.head, texts, csv=csv)) is not None:
            raise InputError(
                f"the manifest{'' if path is None else f' {quoted(os.fspath(path))}'} is {reason}"
            )
        return CsvDrafts(lines) if csv else JsonDrafts(lines)


@contextlib.contextmanager
def _readable() -> Iterator[None]:
    """Raise InputError for whatever else a stream of the caller's may raise."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        raise InputError(f"the manifest cannot be read on: {reason_of(error)}") from error
