"""Writes the contact sheet of a batch's folder."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import Struct

from prodia_async._errors import InputError, OutputError
from prodia_async._files.threads import hop, start
from prodia_async.batch.page.contents import Contents, gather
from prodia_async.batch.page.files import write_whole
from prodia_async.batch.page.rows import File, text_of
from prodia_async.batch.page.timeline import Timeline, timeline
from prodia_async.batch.results import limits, read_results, samples

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence
    from typing import Any

    from prodia_async._files.threads import Trip

_AHEAD = 3  # of the four worker threads, so that one is left for others


class _Tools(Struct, frozen=True):
    """What needs the libraries of the extra `report`."""

    preview: Callable[[Path, File], bool | str]
    render: Callable[[str, Contents, Timeline | None], bytes]


async def write_report(
    folder: str | os.PathLike[str], *, on_progress: Callable[[int, int], object] | None = None
) -> Path:
    """Write `report.html` into a batch's folder, replacing an earlier one, and return its path.

    The page shows at most 20,000 jobs, failed ones first, with small copies of their pictures, which are made
    once and kept in `report/thumbs`. It needs no network, and works wherever the folder is moved.
    `on_progress(seen, of)` is called as the outputs are looked at.

    Raises InputError where the folder holds no batch, or where Jinja2 or Pillow is missing (`pip install
    "prodia-async[report]"`), and OutputError where the page cannot be written.
    """
    path = Path(folder)
    tools = await hop(_load)
    contents, course = await _told(path)
    await _look(path, contents, tools, on_progress)
    page = path / "report.html"
    try:
        await hop(_write, page, contents, course, tools)
    except OSError as error:
        raise OutputError(
            f"{str(page)!r} could not be written: {error.strerror or error}: "
            "make room, or check the folder, and write the report again"
        ) from error
    return page


def _load() -> _Tools:
    try:
        from prodia_async.batch.page.previews import preview  # noqa: PLC0415 - loads Pillow, of an extra
        from prodia_async.batch.page.render import render  # noqa: PLC0415 - loads Jinja2, of the same
    except ModuleNotFoundError as error:
        raise InputError(
            f'the report needs {error.name}, which is not installed: pip install "prodia-async[report]"'
        ) from error
    return _Tools(preview, render)


async def _told(folder: Path) -> tuple[Contents, Timeline | None]:
    """Read the batch in one trip, in which its journal is opened and closed; a cancellation cuts it short."""
    left = threading.Event()
    trip = start(_read, folder, left.is_set)
    try:
        return await trip.result()
    except asyncio.CancelledError:
        left.set()
        await _ended([trip])
        raise


def _read(folder: Path, stopped: Callable[[], bool]) -> tuple[Contents, Timeline | None]:
    return gather(read_results([folder]), stopped=stopped), timeline(samples(folder), limits(folder))


async def _look(
    folder: Path, contents: Contents, tools: _Tools, on_progress: Callable[[int, int], object] | None
) -> None:
    """Find out what can be seen of each output, a few at a time; ends after those when cancelled."""
    files = [file for row in contents.rows for file in row.files if file.is_picture or file.is_text]
    under_way: deque[tuple[File, Trip[bool | str]]] = deque()
    try:
        for seen in range(len(files)):
            under_way.extend(
                (file, start(tools.preview, folder, file))
                for file in files[seen + len(under_way) : seen + _AHEAD]
            )
            file, trip = under_way[0]
            file.preview = await trip.result()
            under_way.popleft()
            if on_progress is not None:
                on_progress(seen + 1, len(files))
    finally:
        await _ended([trip for _, trip in under_way])


async def _ended(trips: Sequence[Trip[Any]]) -> None:
    """Keep trips from beginning and wait for the others; one more cancellation meanwhile changes nothing."""
    for trip in [trip for trip in trips if not trip.cancel()]:
        with contextlib.suppress(asyncio.CancelledError):
            await trip.settled()


def _write(path: Path, contents: Contents, course: Timeline | None, tools: _Tools) -> None:
    title = text_of(path.resolve().parent.name) or "Batch"
    write_whole(path, tools.render(title, contents, course))
