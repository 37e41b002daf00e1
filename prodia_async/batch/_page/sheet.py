"""Writes the contact sheet of a batch's folder, or one of several."""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from prodia_async._errors import InputError, OutputError, quoted
from prodia_async._extras import missing
from prodia_async._files.threads import Trip, hop, start
from prodia_async.batch._page.contents import Contents, gather
from prodia_async.batch._page.course import course
from prodia_async.batch._page.render import Folder, Told, render
from prodia_async.batch._page.rows import File
from prodia_async.batch._results import about, limits, read_results, samples

_OF_A_PAGE = ".html", ".htm"
_AHEAD = 3  # of the four worker threads, so that one is left for others
_MOST_CHANGES = 200


async def write_report(
    *folders: str | os.PathLike[str],
    to: str | os.PathLike[str] | None = None,
    on_progress: Callable[[int, int], object] | None = None,
) -> Path:
    """Write the contact sheet of a batch's folder, replacing an earlier one, and return its path.

    It is `report.html` in that folder unless `to` says otherwise. Of several folders, such as the shards of a
    batch, one sheet is made, and `to` is needed. The page shows at most 20,000 jobs, failed ones first, with
    small copies of their pictures, which are made once and kept in each folder's `report/thumbs`. It needs no
    network, and works wherever it is moved together with the folders. `on_progress(seen, of)` is called as
    the files are looked at.

    Raises InputError where a folder holds no batch, or where Pillow is missing (`pip install
    "prodia-async[report]"`), and OutputError where the page cannot be written.
    """
    paths = [Path(folder) for folder in folders]
    if not paths or (len(paths) > 1 and to is None):
        raise InputError("name a folder; of several folders one sheet is made, whose file `to` names")
    page = paths[0] / "report.html" if to is None else await hop(_page_at, to)
    preview, write_whole = await hop(_tools)
    told = await _told(page, paths)
    await _look(paths, told.contents, preview, on_progress)
    try:
        await hop(lambda: write_whole(page, render(told)))
    except OSError as error:
        raise OutputError(
            f"{str(page)!r} could not be written: {error.strerror or error}: "
            "make room, or check the folder, and write the report again"
        ) from error
    return page


def _page_at(to: Any) -> Path:
    """Return where a sheet goes. Raises InputError where something stands there that is none."""
    if not isinstance(to, str | os.PathLike):
        raise InputError(f"to cannot be {quoted(to)}: it takes the path of a file, such as 'all.html'")
    page = Path(to)
    if page.suffix.lower() not in _OF_A_PAGE and os.path.exists(page):  # noqa: PTH110 - which never raises
        raise InputError(
            f"{quoted(str(page))} is there, and is no page: name the sheet's file, such as all.html"
        )
    return page


def _tools() -> tuple[Callable[[Path, File], bool | str], Callable[[Path, bytes], None]]:
    try:
        from prodia_async.batch._page.thumbs import preview, write_whole  # noqa: PLC0415 - loads Pillow
    except ModuleNotFoundError as error:
        raise InputError(missing("the report", error.name, "report")) from error
    return preview, write_whole


async def _told(page: Path, folders: Sequence[Path]) -> Told:
    """Read the batches in one trip, in which journals are opened and closed; a cancellation cuts it short."""
    left = threading.Event()
    trip = start(_read, page, folders, left.is_set)
    try:
        return await trip.result()
    except asyncio.CancelledError:
        left.set()
        await _ended([trip])
        raise


def _read(page: Path, folders: Sequence[Path], stopped: Callable[[], bool]) -> Told:
    read_results(folders)  # which refuses a folder without a batch before it reads another
    contents = gather((read_results([folder]) for folder in folders), stopped=stopped)
    changes = sorted(
        (change for folder in folders for change in limits(folder)), key=lambda change: change.at
    )
    own = page.stem if len(folders) > 1 else folders[0].resolve().name
    return Told(
        title=_printable(own) or "Batch",
        folders=tuple(_folder(page, folder) for folder in folders),
        contents=contents,
        course=course(samples(folder) for folder in folders),
        limits=tuple(changes[-_MOST_CHANGES:]),
    )


def _folder(page: Path, folder: Path) -> Folder:
    way = os.path.relpath(folder, page.parent)
    url = "" if way == "." else quote(os.fsencode(Path(way).as_posix())) + "/"
    known = about(folder)
    return Folder(_printable(str(folder)), url, known.get("service"), known.get("shard"))


async def _look(
    folders: Sequence[Path],
    contents: Contents,
    preview: Callable[[Path, File], bool | str],
    on_progress: Callable[[int, int], object] | None,
) -> None:
    """Find out what can be seen of each file, a few at a time; ends after those when cancelled."""
    same: dict[tuple[int, str], list[File]] = {}
    for row in contents.rows:
        shown = [file for file in row.files if file.is_picture or file.is_text]
        shown += [file for file in row.inputs if file is not None and file.is_picture]
        for file in shown:
            same.setdefault((row.folder, file.url), []).append(file)
    files = [(folders[folder], of_one) for (folder, _), of_one in same.items()]
    under_way: deque[Trip[bool | str]] = deque()
    try:
        for seen, (_, of_one) in enumerate(files):
            ahead = files[seen + len(under_way) : seen + _AHEAD]
            under_way.extend(start(preview, folder, first) for folder, (first, *_) in ahead)
            found = await under_way[0].result()
            under_way.popleft()
            for file in of_one:
                file.preview = found
            if on_progress is not None:
                on_progress(seen + 1, len(files))
    finally:
        await _ended(list(under_way))


async def _ended(trips: Sequence[Trip[Any]]) -> None:
    """Keep trips from beginning and wait for the others; one more cancellation meanwhile changes nothing."""
    for trip in [trip for trip in trips if not trip.cancel()]:
        with contextlib.suppress(asyncio.CancelledError):
            await trip.settled()


def _printable(name: str) -> str:
    """Return a name that UTF-8 can carry."""
    return name.encode("utf-8", "replace").decode()
