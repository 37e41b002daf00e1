"""What goes up: every form of input, checked before anything is sent.

An input becomes a `Source`: a file name, a media type, a size where it is known, and bytes that each
attempt reads from the start. A one-shot source, such as an async iterator, can be read by one attempt only.
"""

from __future__ import annotations

import contextlib
import inspect
import io
import itertools
import os
import re
from collections.abc import AsyncIterable, Container, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from msgspec import Struct

from prodia_async._errors import InputError
from prodia_async._files.bodies import Body, BytesBody, FileBody, PathBody, Reader
from prodia_async._files.hops import hop
from prodia_async._files.names import numbered
from prodia_async._files.streams import PipeBody, StreamBody, spooled
from prodia_async._wire import media
from prodia_async._wire.job import form_data

if TYPE_CHECKING:
    from prodia_async._models import Input

_MEDIA_TYPE = re.compile(r"[!-~]+/[ -~]+")
_FORMS = "a path, bytes, (name, content[, media type]), an open binary file or an async iterator of bytes"


class Source(Protocol):
    """An input that is ready to be sent. `size` is in bytes, None where it is not known beforehand."""

    filename: str
    content_type: str
    size: int | None
    replayable: bool

    async def open(self) -> Reader:
        """Begin one attempt's reading, from the start. Raises InputError if it cannot be read again."""

    async def aclose(self) -> None:
        """Release what `prepare` made, such as a spooled file; never closes what the user opened."""


class _Entry(Struct):
    """One input as the user gave it; `content` is a Path, bytes, an open file or an async iterable."""

    label: str
    content: Any
    name: str | None
    media_type: str | None


class _Source:
    def __init__(self, filename: str, content_type: str, body: Body) -> None:
        self.filename = filename
        self.content_type = content_type
        self.size = body.size
        self.replayable = body.replayable
        self._body = body

    async def open(self) -> Reader:
        return await self._body.open(f"input {self.filename!r}")

    async def aclose(self) -> None:
        await self._body.aclose()


async def prepare(inputs: Sequence[Input], *, spool: bool = False) -> list[Source]:
    """Check all inputs and return their sources, in order; paths and files are looked at in one trip.

    With `spool`, one-shot sources are read now, into memory (up to 1 MiB) or a temporary file.
    Raises InputError, which names the input, for a file that is missing or no regular file, a bad or
    repeated name, and anything that is not an input.
    """
    if isinstance(inputs, str | bytes | bytearray | memoryview | os.PathLike) or not isinstance(
        inputs, Iterable
    ):
        raise InputError(
            f"inputs is {type(inputs).__name__}: pass a list, such as inputs=[Path('photo.jpg')]"
        )
    entries = [_entry(f"input {number}", item) for number, item in enumerate(inputs, 1)]
    _check_names(entries)
    if any(not isinstance(entry.content, BytesBody | StreamBody) for entry in entries):
        bodies = await hop(_examine_all, entries)
    else:
        bodies = [entry.content for entry in entries]
    if spool:
        bodies = await _spooled(entries, bodies)
    return _named(entries, bodies)


def _entry(label: str, item: Any) -> _Entry:
    if not isinstance(item, tuple):
        if isinstance(item, str):
            item = Path(_text(label, item, "path"))
        content = _content(label, item)
        return _Entry(label, content, _own_name(content), None)
    if len(item) not in (2, 3):
        raise InputError(
            f"{label} is a tuple of {len(item)}: pass (name, content) or (name, content, media type)"
        )
    name, content, *rest = item
    media_type = rest[0] if rest else None
    if media_type is not None and not _MEDIA_TYPE.fullmatch(_text(label, media_type, "media type")):
        raise InputError(f"{label}: {media_type!r} is no media type: pass one such as 'image/png'")
    if isinstance(content, str):
        raise InputError(f"{label}: its content is text: pass Path(...) for a file, or encode it to bytes")
    return _Entry(label, _content(label, content), _text(label, name, "file name"), media_type)


def _content(label: str, content: Any) -> Any:
    """Return the content's body, or the path or open file that a worker thread has to look at."""
    if isinstance(content, bytes | bytearray | memoryview):
        return BytesBody(_flat(label, content))
    if isinstance(content, os.PathLike):
        return Path(_text(label, os.fspath(content), "path"))
    if isinstance(content, AsyncIterable):
        return StreamBody(content)
    if isinstance(content, io.TextIOBase):
        raise InputError(f"{label} is open in text mode: open it with mode 'rb'")
    if inspect.iscoroutinefunction(getattr(content, "read", None)):
        raise InputError(f"{label} is an async file: pass its path, or an async iterator of its bytes")
    if callable(getattr(content, "read", None)):
        if getattr(content, "closed", False):
            raise InputError(f"{label} is a closed file: open it, or pass its path")
        return content
    raise InputError(f"{label} is {type(content).__name__}: pass {_FORMS}")


def _flat(label: str, content: bytes | bytearray | memoryview) -> bytes | bytearray | memoryview:
    if not isinstance(content, memoryview):
        return content
    try:
        return content.cast("B") if content.c_contiguous else content.tobytes()
    except ValueError as error:
        raise InputError(f"{label} is a memoryview that was released: pass the bytes themselves") from error


def _text(label: str, value: Any, what: str) -> str:
    if not isinstance(value, str) or not value:
        raise InputError(f"{label}: {value!r} is no {what}: pass text that is not empty")
    return value


def _own_name(content: Any) -> str | None:
    """Return the file name that a path or an open file brings along."""
    if isinstance(content, Path):
        return content.name or None
    name = getattr(content, "name", None)
    if not isinstance(name, str) or name.startswith("<"):  # a descriptor's number, or "<stdin>"
        return None
    return Path(name).name or None


def _check_names(entries: Sequence[_Entry]) -> None:
    """Raise InputError for a name that cannot go out, or goes out twice (API reference, Job Input Data)."""
    seen: dict[str, str] = {}
    for entry in entries:
        if entry.name is None:
            continue
        form_data("input", entry.name)
        if entry.name in seen:
            raise InputError(
                f"{seen[entry.name]} and {entry.label} are both named {entry.name!r}: "
                "give one of them another name with (name, content)"
            )
        seen[entry.name] = entry.label


def _examine_all(entries: Sequence[_Entry]) -> list[Body]:
    return [_examine(entry) for entry in entries]


def _examine(entry: _Entry) -> Body:
    """Return the body of an input. Blocks: it looks at files."""
    content: Any = entry.content
    if isinstance(content, BytesBody | StreamBody):
        return content
    if isinstance(content, Path):
        return PathBody.examine(content, entry.label)
    try:
        readable = getattr(content, "readable", lambda: True)()
        body = FileBody.examine(content) if readable else None
    except Exception as error:  # the file may be any object of the user's
        raise InputError(f"{entry.label} cannot be read: {error}: open it with mode 'rb'") from error
    if not readable:
        raise InputError(f"{entry.label} is open for writing only: open it with mode 'rb'")
    if body is not None and not isinstance(body.head, bytes):
        raise InputError(f"{entry.label} gives {type(body.head).__name__}: open it with mode 'rb'")
    return body or PipeBody(content)


async def _spooled(entries: Sequence[_Entry], bodies: Sequence[Body]) -> list[Body]:
    done: list[Body] = []
    async with contextlib.AsyncExitStack() as stack:
        for entry, body in zip(entries, bodies, strict=True):
            done.append(body if body.replayable else await spooled(body, _label(entry)))
            stack.push_async_callback(done[-1].aclose)
        stack.pop_all()  # all went well: they are closed with their sources
    return done


def _label(entry: _Entry) -> str:
    return entry.label if entry.name is None else f"input {entry.name!r}"


def _named(entries: Sequence[_Entry], bodies: Sequence[Body]) -> list[Source]:
    """Give names to inputs without one: input.<ext>, then input-2.<ext>, by what their first bytes are."""
    taken = {entry.name for entry in entries}
    nameless = 0
    sources: list[Source] = []
    for entry, body in zip(entries, bodies, strict=True):
        name = entry.name
        content_type = entry.media_type or (name and media.type_for_name(name)) or media.sniff(body.head)
        if name is None:
            nameless += 1
            name = _free_name(media.suffix_for(content_type), nameless, taken)
        sources.append(_Source(name, content_type, body))
    return sources


def _free_name(suffix: str, first: int, taken: Container[str | None]) -> str:
    names = itertools.islice(numbered("input", suffix), first - 1, None)
    return next(name for name in names if name not in taken)
