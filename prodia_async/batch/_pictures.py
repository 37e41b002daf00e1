"""A folder of pictures, or the files that a pattern matches, in place of a manifest: a job for each."""

# ruff: noqa: PTH100, PTH112, PTH116, PTH119, PTH122, PTH123 - Path's own cost twice as much, and some raise or follow links
from __future__ import annotations

import glob
import itertools
import logging
import os
import re
import stat
from pathlib import Path
from typing import TYPE_CHECKING

from prodia_async._errors import InputError, quoted, reason_of
from prodia_async._wire import media
from prodia_async.batch._drafts import Draft, Made
from prodia_async.batch._telling import say

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prodia_async.batch._drafts import Numbered

_MAGIC = re.compile(r"[*?[]")
_DIGITS = re.compile(r"(\d+)")
_AT_ONCE = 500
_HEAD = 512
_VECTORS = "image/svg+xml"  # text, whose first bytes tell nothing
_OF_A_BATCH = "outputs", "report"


class Pictures:
    """Drafts of pictures, in natural order: of a folder those that it holds itself, by their names.

    What a pattern matches is taken whatever it is, but for the outputs of a batch under the folder that the
    pattern begins with, and hidden files. A job is named by its file's path from that folder on, so that no
    other file changes it. Listing and reading block. Raises InputError where there is none.
    """

    words: frozenset[str] | None = frozenset({"name", "stem", "folder"})

    root: Path

    def __init__(self, place: str) -> None:
        if _is_pattern(place):
            self.root, self._names = _matched(place)
        else:
            self.root = Path(place)
            self._names = _pictures(self.root)
        self._place = f"{os.path.abspath(self.root)}{os.sep}"
        self._read = 0

    def __len__(self) -> int:
        return len(self._names)

    def read(self) -> list[Numbered] | None:
        """Return the drafts of the next files; None at the end."""
        names = self._names[self._read : self._read + _AT_ONCE]
        numbered = [(number, self._draft(name)) for number, name in enumerate(names, self._read + 1)]
        self._read += len(names)
        return numbered or None

    def _draft(self, name: str) -> Draft | InputError:
        path = self._place + name
        try:
            name.encode()
            if (wrong := _fault(path)) is not None:
                return InputError(f"{quoted(name)} {wrong}")
        except UnicodeEncodeError:
            return InputError(f"the name {quoted(name)} is not UTF-8 text: rename it")
        except OSError as error:
            return InputError(f"{quoted(name)} cannot be read: {reason_of(error)}")
        folder, own = os.path.split(path)
        words = {"name": own, "stem": os.path.splitext(own)[0], "folder": os.path.basename(folder)}
        return Made(inputs=[name], custom_id=name, words=words)


def is_pictures(place: str) -> bool:
    """Tell whether a place is a folder, or a pattern, rather than a manifest."""
    return _is_pattern(place) or os.path.isdir(place)


def _is_pattern(place: str) -> bool:
    return _MAGIC.search(place) is not None and not os.path.lexists(place)


def _fault(path: str) -> str | None:
    """Say what is wrong with a file that is to be sent; None if nothing is."""
    seen = os.stat(path)
    if not stat.S_ISREG(seen.st_mode):
        return "is not a regular file"
    if not seen.st_size:
        return "is empty"
    if not _is_picture(path):
        return None
    with open(path, "rb", buffering=0) as file:
        is_picture = media.sniff(file.read(_HEAD)).startswith("image/")
    return None if is_picture else "is called a picture, and does not begin as one"


def _pictures(folder: Path) -> list[str]:
    """Return the names of a folder's pictures."""
    try:
        with os.scandir(folder) as found:
            files = [each.name for each in found if not (each.name.startswith(".") or os.path.isdir(each))]
    except OSError as error:
        raise InputError(f"the folder {quoted(str(folder))} cannot be read: {reason_of(error)}") from error
    names = _in_order(name for name in files if _is_picture(name))
    others = _in_order(set(files) - set(names))
    told = ""
    if others:
        told = f"{len(others)} other file{'s' if len(others) > 1 else ''}, such as {quoted(others[0])}"
    if not names:
        raise InputError(
            f"the folder {quoted(str(folder))} has no pictures{told and f', but {told}'}: name a manifest, "
            f"or for pictures in folders of it a pattern in quotes: {quoted(str(folder / '**' / '*.jpg'))}"
        )
    if others:
        say(logging.WARNING, "the folder %r: %s, no pictures by their names, left out", str(folder), told)
    return names


def _is_picture(name: str) -> bool:
    kind = media.type_for_name(name) or ""
    return kind.startswith("image/") and kind != _VECTORS


def _matched(pattern: str) -> tuple[Path, list[str]]:
    """Return the folder that a pattern begins with, and the files that it matches: their paths from there."""
    root = Path(*itertools.takewhile(lambda part: not _MAGIC.search(part), Path(pattern).parts))
    within: dict[Path, bool] = {}

    def is_of_a_batch(folder: Path) -> bool:
        if folder == root:
            return False
        if folder not in within:
            made = folder.name in _OF_A_BATCH and (folder.parent / "journal.sqlite").exists()
            within[folder] = made or is_of_a_batch(folder.parent)
        return within[folder]

    def names() -> Iterator[str]:
        for found in glob.iglob(pattern, recursive=True):  # noqa: PTH207 - hidden files stay out
            path = Path(found)
            if not (os.path.isdir(found) or is_of_a_batch(path.parent)):
                yield path.relative_to(root).as_posix()

    if not (found := _in_order(set(names()))):
        raise InputError(f"no file matches {quoted(pattern)}")
    return root, found


def _in_order(names: Iterator[str] | set[str]) -> list[str]:
    """Sort as people do: 2 before 10, and upper and lower case alike."""
    return sorted(names, key=lambda name: ([_natural(part) for part in _DIGITS.split(name)], name))


def _natural(part: str) -> tuple[int, str]:
    return (int(part), "") if part.isdecimal() else (0, part.casefold())
