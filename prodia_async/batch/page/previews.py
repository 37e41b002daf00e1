"""What can be seen of an output on the page: a thumbnail, the first lines of a text, or neither. Blocks."""

from __future__ import annotations

import stat
from typing import TYPE_CHECKING

from prodia_async.batch.page.thumbnails import make_thumbnail

if TYPE_CHECKING:
    from pathlib import Path

    from prodia_async.batch.page.rows import File

_MOST_LINES = 12
_MOST_CHARACTERS = 400


def preview(folder: Path, file: File) -> bool | str:
    """Return True where there is a thumbnail now, the first lines of a text, else False. Never raises."""
    source = folder / file.path
    try:
        if not stat.S_ISREG(source.stat().st_mode):  # opening a pipe would block
            return False
        if file.is_text:
            return _first_lines(source)
    except OSError:
        return False
    return file.is_picture and make_thumbnail(source, thumbnail_path(folder, file.path))


def thumbnail_path(folder: Path, path: str) -> Path:
    """Return where the thumbnail of the output `path` stands; the page's script knows this rule too."""
    return folder / "report" / "thumbs" / f"{path.removeprefix('outputs/')}.webp"


def _first_lines(source: Path) -> str:
    with source.open("rb") as file:
        head = file.read(4 * _MOST_CHARACTERS).decode("utf-8", "replace")
    text = "\n".join(head.split("\n")[:_MOST_LINES])[:_MOST_CHARACTERS]
    return text if len(text) == len(head) else f"{text}…"
