"""How outputs get their names on disk. All of it blocks: worker threads call it.

An output is written to `.prodia-<hex>.part` in its folder. When all outputs of a job are complete they are
renamed one after another. Until the first rename everything can be undone.

After a write that failed, the temporary file ends where the block before it ended, so that the same block can
be written again when a full disk has room.
"""

# ruff: noqa: PTH103, PTH105, PTH108 - every output passes here; pathlib costs as much as the system itself
from __future__ import annotations

import contextlib
import errno
import itertools
import os
import secrets
import stat
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from prodia_async._files.names import name_of

if TYPE_CHECKING:
    import io
    from collections.abc import Callable, Sequence

    from prodia_async._files.pieces import Pieces

    AnyPath = str | os.PathLike[str]

_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)


class _Names:
    """Names that no other file has: a process's own random beginning, and a number."""

    def __init__(self) -> None:
        self.renew()

    def renew(self) -> None:
        """Begin anew: a forked child must not go on with its parent's names."""
        self._beginning = secrets.token_hex(8)
        self._numbers = itertools.count()

    def take(self) -> str:
        """Return a name in hex digits."""
        return f"{self._beginning}{next(self._numbers):06x}"


_names = _Names()
if hasattr(os, "register_at_fork"):  # pragma: no branch - absent on Windows, which has no fork
    os.register_at_fork(after_in_child=_names.renew)


class Place:
    """Where a job's outputs land: in a folder, or the first in one exact file and the others beside it."""

    def __init__(self, path: AnyPath, *, exact: bool) -> None:
        self._path = os.fspath(path)
        self._file: Path | None = None
        self._folder = None if exact else self._path

    def folder(self) -> str:
        """Return the folder of all files, temporary ones too; an exact path may turn out to be a folder."""
        if self._folder is None:
            path = Path(self._path)
            if path.is_dir():
                self._folder = str(path)
            else:
                self._file = _followed(path)
                self._folder = str(self._file.parent)
        return self._folder

    def settle(self, temporary: str, suffix: str, stem: str, number: int) -> tuple[str, int]:
        """Give a complete temporary file its name; return its path and its number, at least `number`.

        Number 1 of an exact file replaces what is there. Anything else takes the next free name.
        """
        folder = self.folder()
        if self._file is not None:
            if number == 1:
                refuse_special(self._file)
                os.replace(temporary, self._file)
                return self._path, number
            stem = self._file.stem
        while not add(temporary, target := f"{folder}{os.sep}{name_of(stem, suffix, number)}"):
            number += 1
        return target, number


class _NewFile:
    """A file that was not there, written by its descriptor: io.FileIO first looks at what it has opened."""

    __slots__ = ("_descriptor", "closed")

    def __init__(self, path: str) -> None:
        self._descriptor = os.open(path, _NEW, 0o666)
        self.closed = False

    def fileno(self) -> int:
        return self._descriptor

    def seek(self, position: int) -> None:
        os.lseek(self._descriptor, position, os.SEEK_SET)

    def truncate(self) -> None:
        """Cut the file off where it stands."""
        os.ftruncate(self._descriptor, os.lseek(self._descriptor, 0, os.SEEK_CUR))

    def close(self) -> None:
        self.closed = True  # first: the descriptor is gone, whatever closing it tells
        os.close(self._descriptor)


class Part:
    """One output on its way to disk. `location`, its path as text, is set once it has landed.

    `lost`: earlier blocks may be lost, so that writing the last one again would not make it whole.
    """

    def __init__(
        self, place: Place, suffix: str, *, create: Callable[[str], io.FileIO | _NewFile] = _NewFile
    ) -> None:
        self.location: str | None = None
        self.lost = False
        self._place = place
        self._suffix = suffix
        self._create = create
        self._temporary: str | None = None
        self._file: io.FileIO | _NewFile | None = None
        self._size = 0
        self._dropped = False
        self._lock = threading.Lock()  # a part may be dropped while a block is being written

    @property
    def path(self) -> Path | None:
        """Where it has landed."""
        return None if self.location is None else Path(self.location)

    def write(self, block: Pieces, *, last: bool = False) -> None:
        """Append a block to the temporary file; `last` closes it. A block that fails leaves nothing of it."""
        with self._lock:
            if self._dropped:
                return
            if self._file is None:
                self._temporary, self._file = _new_file(self._place.folder(), self._create)
            try:
                block.write_to(self._file.fileno())
                if last:
                    self._file.close()
            except OSError:
                self._take_back(self._file)
                raise
            self._size += block.size

    def land(self, stem: str, number: int) -> int:
        """Give the complete file its name, and return the number in it."""
        with self._lock:
            if self._temporary is None:
                raise AssertionError("a part is written before it lands, and not dropped meanwhile")
            self.location, number = self._place.settle(self._temporary, self._suffix, stem, number)
            self._temporary = None
            return number

    def clear(self) -> None:
        """Remove the temporary file, so that the part can be written anew; nothing that has landed."""
        with self._lock:
            self._remove()

    def drop(self) -> None:
        """Remove the temporary file for good; nothing that has landed. May be called again."""
        with self._lock:
            self._dropped = True
            self._remove()

    def _take_back(self, file: io.FileIO | _NewFile) -> None:
        """Return to the end of the block before."""
        if self._size == 0:
            self._remove()
        elif (
            file.closed
        ):  # close() tells of writes that a network file system put off: of which, is not known
            self.lost = True
        else:
            file.seek(self._size)
            with contextlib.suppress(OSError):  # it only frees room: the same block will be written over it
                file.truncate()

    def _remove(self) -> None:
        if self._file is not None and not self._file.closed:
            with contextlib.suppress(OSError):
                self._file.close()
        self._file = None
        if self._temporary is not None:
            with contextlib.suppress(OSError):
                os.unlink(self._temporary)
            self._temporary = None
        self._size = 0


class Landing:
    """The outputs of one job together. Setting `dead` before the first rename leaves nothing behind."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.dead = False
        self._number = 0

    def land(self, parts: Sequence[tuple[Part, Pieces | None]], stem: str, *, patient: bool = False) -> None:
        """Write what is still in memory, then rename all files in order; on failure remove temporary ones.

        `patient`: where the disk is full, the files of which nothing is in memory are kept for another call,
        which goes on where this one failed.
        """
        keeps = False
        try:
            self._land(parts, stem)
        except OSError as error:
            keeps = patient and is_full(error)
            raise
        finally:
            for part, rest in parts:
                if not keeps:
                    part.drop()
                elif rest is not None:
                    part.clear()

    def _land(self, parts: Sequence[tuple[Part, Pieces | None]], stem: str) -> None:
        for part, rest in parts:
            if self.dead:
                return
            if rest is not None and part.location is None:
                part.write(rest, last=True)
        if self.dead:
            return
        for part, _ in parts:
            if part.location is None:
                self._number = part.land(stem, self._number + 1)


def is_full(error: OSError) -> bool:
    """Whether there was no room: the disk is full, or a quota is used up."""
    return error.errno in (errno.ENOSPC, errno.EDQUOT)


def drop_all(parts: Sequence[Part]) -> None:
    """Remove the temporary files of all parts."""
    for part in parts:
        part.drop()


def add(temporary: AnyPath, target: AnyPath, *, link: Callable[[AnyPath, AnyPath], None] = os.link) -> bool:
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
        os.unlink(temporary)
    return True


def refuse_special(path: Path) -> None:
    """Raise OSError for a path that is there but no regular file: a device must not be replaced by a file."""
    with contextlib.suppress(FileNotFoundError):
        if not stat.S_ISREG(path.stat().st_mode):
            raise OSError(f"{str(path)!r} is not a regular file")


def _reserve(temporary: AnyPath, target: AnyPath) -> bool:
    try:
        os.close(os.open(target, _NEW))
    except FileExistsError:
        return False
    try:
        os.replace(temporary, target)
    except OSError:
        with contextlib.suppress(OSError):  # the reservation may have gone with its folder
            os.unlink(target)
        raise
    return True


def _new_file(
    folder: str, create: Callable[[str], io.FileIO | _NewFile] = _NewFile
) -> tuple[str, io.FileIO | _NewFile]:
    """Open a new temporary file in the folder, which is made again if it has gone."""
    path = f"{folder}{os.sep}.prodia-{_names.take()}.part"
    try:
        return path, create(path)
    except FileNotFoundError:
        os.makedirs(folder, exist_ok=True)
        return path, create(path)


def try_folder(folder: Path) -> None:
    """Raise OSError unless files can be made in the folder. Permission bits do not tell: a trial does."""
    path, file = _new_file(str(folder))
    file.close()
    os.unlink(path)


def _followed(path: Path) -> Path:
    """Return what a link points to, so that a file is written through it, as `cp` does."""
    return Path(os.path.realpath(path)) if path.is_symlink() else path
