"""What goes up: every form of input, checked before anything is sent.

An input becomes a `Source`: a file name, a media type, a size where it is known, and bytes that each
attempt reads from the start. A one-shot source, such as an async iterator, can be read by one attempt only.
"""

from __future__ import annotations

import contextlib
import inspect
import io
import os
import stat
import tempfile
from collections.abc import AsyncIterable, Awaitable, Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from prodia_async._errors import InputError, quoted, reason_of
from prodia_async._files import readers
from prodia_async._files.landing import leaf_of, name_of, refuse_address
from prodia_async._files.threads import hop, start
from prodia_async._loops import OnExit
from prodia_async._wire import media
from prodia_async._wire.job import check_names

if TYPE_CHECKING:
    from prodia_async._models import Input

_FORMS = "a path, bytes, (name, content[, media type]), an open binary file or an async iterator of bytes"
_NO_LIST = str, bytes, bytearray, memoryview, os.PathLike, Mapping
_SPOOL_MEMORY = 1024 * 1024


class Given(Struct, frozen=True):
    """One input as the user gave it: `make` makes its source, and may block if it `looks`.

    Where it has to be asked for elsewhere, `make` gives what is awaited for it.
    """

    label: str
    name: str | None
    media_type: str | None
    make: Callable[[], readers.Source | Callable[[], Awaitable[readers.Source]]]
    looks: bool = True


def listed(inputs: Sequence[Input]) -> tuple[Given, ...]:
    """Check all that can be told of inputs without a look at the disk, and fix the list and its paths.

    Raises InputError, which names the input, for a bad or repeated name, and anything that is not an input.
    """
    is_one = isinstance(inputs, _NO_LIST) or hasattr(inputs, "read")  # a file is a list of its lines
    if is_one or not isinstance(inputs, Iterable):
        kind = type(inputs).__name__
        raise InputError(f"inputs is {kind}: pass a list, such as inputs=[Path('photo.jpg')]")
    given = tuple([_given(f"input {number}", item) for number, item in enumerate(inputs, 1)])
    names = {each.label: each.name for each in given if each.name is not None}
    check_names(names, "give one of them another name with (name, content)")
    return given


async def examined(given: Sequence[Given], *, spool: bool = False) -> list[readers.Source]:
    """Return the sources of inputs, in order; paths and files are looked at in one trip.

    With `spool`, one-shot sources are read now, into memory (up to 1 MiB) or a temporary file.
    Raises InputError, which names the input, for a file that is missing, or cannot be read.
    """

    def make() -> list[Any]:
        return [each.make() for each in given]

    made = await hop(make) if any(each.looks for each in given) else make()
    sources = [await each() if callable(each) else each for each in made]
    if spool:
        async with contextlib.AsyncExitStack() as stack:
            sources = [each if each.replayable else await _kept(each, stack) for each in sources]
            stack.pop_all()  # all went well: they are closed by who asked for them
    taken, nameless = {each.name for each in given}, 0
    for each, source in zip(given, sources, strict=True):
        name = each.name or ""
        kind = each.media_type or media.type_of(name, source.head)
        if not name:  # it becomes input.<ext>, input-2.<ext>
            number = nameless = nameless + 1
            while (name := name_of("input", media.suffix_for(kind), number)) in taken:
                number += 1
            taken.add(name)
        source.filename, source.content_type, source.label = name, kind, f"input {quoted(name)}"
    return sources


def _given(label: str, item: Any) -> Given:
    if not isinstance(item, tuple):
        return (_of_path if isinstance(item, str) else _of)(label, item)
    if len(item) not in (2, 3):
        raise InputError(
            f"{label} is a tuple of {len(item)}: pass (name, content) or (name, content, media type)"
        )
    name, content, media_type = (*item, None)[:3]
    if media_type is not None and not media.is_sound(_text(label, media_type, "media type")):
        raise InputError(f"{label}: {quoted(media_type)} is no media type: pass one such as 'image/png'")
    name = _text(label, name, "file name")
    if isinstance(content, str):
        if leaf_of(content) is None:
            raise InputError(
                f"{label}: its content is text: pass Path(...) for a file, or encode it to bytes"
            )
        return _of_path(label, content, name, media_type)
    return _of(label, content, name, media_type)


def _of(label: str, content: Any, name: str | None = None, media_type: str | None = None) -> Given:
    """Check the content, and give it the name that a path or an open file brings along."""
    if isinstance(content, os.PathLike):
        return _of_path(label, os.fspath(content), name, media_type)
    if hasattr(content, "prodia_source"):
        name = name or content.name or None
        asked = partial(content.prodia_source, label if name is None else f"input {quoted(name)}")
        return Given(label, name, media_type, lambda: asked, looks=False)
    make: Callable[[str, Any], readers.Source] = readers.in_memory
    if not isinstance(content, bytes | bytearray | memoryview):
        make = readers.in_stream
        if not isinstance(content, AsyncIterable):
            make = readers.of_file
            _check_file(label, content)
        own = getattr(content, "name", None)
        if name is None and isinstance(own, str) and not own.startswith("<"):  # no descriptor, no "<stdin>"
            name = Path(own).name or None
    elif type(content) not in (bytes, bytearray):  # its bytes, whatever else a class of the user's does
        content = _flat(label, content)
    called = label if name is None else f"input {quoted(name)}"
    return Given(label, name, media_type, partial(make, called, content), looks=make is readers.of_file)


def _of_path(label: str, given: Any, name: str | None = None, media_type: str | None = None) -> Given:
    shown = f"{label}: {quoted(_text(label, given, 'path'))}"
    if (leaf := leaf_of(given)) is not None:
        return _of(label, leaf.stored(label, given), name, media_type)
    refuse_address(shown, given, "fetch or decode it, and pass its bytes, the open response or Remote(url)")
    path = Path(given)
    if not path.is_absolute():
        with readers.told_of(f"{shown} cannot be read", "check the path"):  # the folder may be gone
            # The present folder may be another one when it is looked at. Not Path.cwd(): what watches
            # event loops takes os.getcwd for a call that blocks.
            path = Path(os.fsdecode(os.getcwdb()), path)  # noqa: PTH109

    def look() -> readers.Source:
        with readers.told_of(f"{shown} cannot be read", "check the path"):
            mode = path.stat().st_mode
            if stat.S_ISREG(mode):
                return readers.in_file(shown, partial(readers.on_disk, path))
        kind = "a folder" if stat.S_ISDIR(mode) else "not a regular file"  # whose opening may wait for ever
        raise InputError(f"{shown} is {kind}: pass a file, or open it and pass that")

    return Given(label, name or path.name or None, media_type, look)


def _flat(label: str, given: Any) -> memoryview | bytes:
    """Return the bytes of any view; those that do not lie in a row, or are of C types, are copied."""
    with readers.told_of(f"{label} cannot be read", "pass the bytes themselves"):  # it was released
        view = memoryview(given)
        try:
            return view.cast("B")
        except (TypeError, ValueError):
            return view.tobytes()


def _check_file(label: str, content: Any) -> None:
    if isinstance(content, io.TextIOBase):
        raise InputError(f"{label} is open in text mode: {readers.OPEN_BINARY}")
    if not callable(getattr(content, "read", None)):
        raise InputError(f"{label} is {type(content).__name__}: pass {_FORMS}")
    if inspect.iscoroutinefunction(content.read):
        raise InputError(
            f"{label} is an async file: pass its path, the file under it (an UploadFile's `.file`), "
            "or an async iterator of its bytes"
        )
    with readers.told_of(f"{label} cannot be read", readers.OPEN_BINARY):  # any object may raise anything
        # A response of http.client that was read is not `closed`, and would go out empty.
        if getattr(content, "closed", False) or getattr(content, "isclosed", bool)():
            raise InputError(f"{label} is a closed file: open it, or pass its path")
        if not getattr(content, "readable", lambda: True)():
            raise InputError(f"{label} is open for writing only: {readers.OPEN_BINARY}")
    try:
        inspect.signature(content.read).bind(1)
    except TypeError:
        raise InputError(f"{label}: its read() takes no size: pass what it returns") from None
    except ValueError:  # it is not written in Python
        pass


def _text(label: str, value: Any, what: str) -> str:
    if not isinstance(value, str) or not value:
        raise InputError(f"{label}: {quoted(value)} is no {what}: pass text that is not empty")
    return value


async def _kept(source: readers.Source, stack: contextlib.AsyncExitStack) -> readers.Source:
    """Read a source now, and return one of the same bytes, in a temporary file without a name."""
    reader = source.open()
    file: Any = tempfile.SpooledTemporaryFile(_SPOOL_MEMORY)  # noqa: SIM115 - it may be the source's
    stack.push_async_callback(lambda: start(file.close).settled())
    try:
        async with OnExit(reader.close):
            while block := await reader.read():
                await hop(file.write, block)
        await hop(file.seek, 0)
        made = await hop(readers.of_file, source.label, file)
    except OSError as error:
        what = f"{source.label} could not be kept in a temporary file"
        raise InputError(f"{what}: {reason_of(error)}: make room, or pass a file") from error
    made.owned = file
    return made
