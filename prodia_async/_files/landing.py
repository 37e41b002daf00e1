"""How outputs get their names on disk. All of it blocks: worker threads call it.

An output is written to `.prodia-<hex>.part` in its folder. When all outputs of a job are complete they are
renamed one after another. Until the first rename everything can be undone.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import secrets
import stat
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from prodia_async._files.names import numbered

if TYPE_CHECKING:
    import io
    from collections.abc import Callable, Sequence


class Place:
    """Where a job's outputs land: in a folder, or the first in one exact file and the others beside it."""

    def __init__(self, path: Path, *, exact: bool) -> None:
        self._path = path
        self._exact = exact
        self._file: Path | None = None
        self._folder: Path | None = None

    def folder(self) -> Path:
        """Return the folder of all files, temporary ones too; an exact path may turn out to be a folder."""
        if self._folder is None:
            if self._exact and not self._path.is_dir():
                self._file = _followed(self._path)
                self._folder = self._file.parent
            else:
                self._folder = self._path
        return self._folder

    def settle(self, temporary: Path, suffix: str, stem: str, number: int) -> tuple[Path, int]:
        """Give a complete temporary file its name; return it and its number, at least `number`.

        Number 1 of an exact file replaces what is there. Anything else takes the next free name.
        """
        folder = self.folder()
        if self._file is not None:
            if number == 1:
                refuse_special(self._file)
                temporary.replace(self._file)
                return self._path, number
            stem = self._file.stem
        names = itertools.islice(numbered(stem, suffix), number - 1, None)
        while not add(temporary, target := folder / next(names)):
            number += 1
        return target, number


class Part:
    """One output on its way to disk. `path` is set once it has landed."""

    def __init__(self, place: Place, suffix: str) -> None:
        self.path: Path | None = None
        self._place = place
        self._suffix = suffix
        self._temporary: Path | None = None
        self._file: io.FileIO | None = None
        self._dropped = False
        self._lock = threading.Lock()  # a part may be dropped while a block is being written

    def write(self, block: bytes | bytearray, *, last: bool = False) -> None:
        """Append a block to the temporary file; `last` closes it."""
        with self._lock:
            if self._dropped:
                return
            if self._file is None:
                self._temporary, self._file = _new_file(self._place.folder())
            rest = memoryview(block)
            while rest:
                rest = rest[self._file.write(rest) :]
            if last:
                self._file.close()

    def land(self, stem: str, number: int) -> int:
        """Give the complete file its name, and return the number in it."""
        with self._lock:
            if self._temporary is None:
                raise AssertionError("a part is written before it lands, and not dropped meanwhile")
            self.path, number = self._place.settle(self._temporary, self._suffix, stem, number)
            self._temporary = None
            return number

    def drop(self) -> None:
        """Remove the temporary file; nothing that has landed. May be called again."""
        with self._lock:
            self._dropped = True
            if self._file is not None:
                with contextlib.suppress(OSError):
                    self._file.close()
            if self._temporary is not None:
                with contextlib.suppress(OSError):
                    self._temporary.unlink()
                self._temporary = None


class Landing:
    """The outputs of one job together. Setting `dead` before the first rename leaves nothing behind."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.dead = False

    def land(self, parts: Sequence[tuple[Part, bytes | bytearray | None]], stem: str) -> None:
        """Write what is still in memory, then rename all files in order; on failure remove temporary ones."""
        try:
            for part, rest in parts:
                if self.dead:
                    return
                if rest is not None:
                    part.write(rest, last=True)
            if self.dead:
                return
            number = 0
            for part, _ in parts:
                number = part.land(stem, number + 1)
        finally:
            drop_all([part for part, _ in parts])


def drop_all(parts: Sequence[Part]) -> None:
    """Remove the temporary files of all parts."""
    for part in parts:
        part.drop()


def add(temporary: Path, target: Path, *, link: Callable[[Path, Path], None] = os.link) -> bool:
    """Give a file a name that nobody has; False if somebody has it. Never replaces a file.

    A hard link fails when the name is taken, whoever else tries at the same time. Where `link` is not
    possible (FAT, some network file systems), an empty file made with O_EXCL reserves the name.
    """
    try:
        link(temporary, target)
    except FileExistsError:
        return False
    except OSError:
        return _reserve(temporary, target)
    with contextlib.suppress(OSError):  # the file has its name: a second one is no reason to fail
        temporary.unlink()
    return True


def refuse_special(path: Path) -> None:
    """Raise OSError for a path that is there but no regular file: a device must not be replaced by a file."""
    with contextlib.suppress(FileNotFoundError):
        if not stat.S_ISREG(path.stat().st_mode):
            raise OSError(f"{str(path)!r} is not a regular file")


def _reserve(temporary: Path, target: Path) -> bool:
    try:
        os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
    except FileExistsError:
        return False
    try:
        temporary.replace(target)
    except OSError:
        with contextlib.suppress(OSError):  # the reservation may have gone with its folder
            target.unlink()
        raise
    return True


def _new_file(folder: Path) -> tuple[Path, io.FileIO]:
    """Open a new temporary file in the folder, which is made again if it has gone."""
    path = folder / f".prodia-{secrets.token_hex(8)}.part"
    try:
        return path, path.open("xb", buffering=0)
    except FileNotFoundError:
        folder.mkdir(parents=True, exist_ok=True)
        return path, path.open("xb", buffering=0)


def try_folder(folder: Path) -> None:
    """Raise OSError unless files can be made in the folder. Permission bits do not tell: a trial does."""
    path, file = _new_file(folder)
    file.close()
    path.unlink()


def _followed(path: Path) -> Path:
    """Return what a link points to, so that a file is written through it, as `cp` does."""
    return Path(os.path.realpath(path)) if path.is_symlink() else path
