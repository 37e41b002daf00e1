"""The input files that a manifest names: where they are, and whether they can be sent."""

from __future__ import annotations

import hashlib
import os
import re
import stat
import struct
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from prodia_async._errors import InputError, quoted
from prodia_async._wire.job import check_names

if TYPE_CHECKING:
    from collections.abc import Sequence

    from prodia_async._models import Input

_ADDRESS = re.compile(r"\s*(data:|[a-z][a-z0-9+.-]+:/)", re.IGNORECASE)  # a drive, such as C:/, is one letter
_NO_PATH = {
    "data": "decode it, and give the path of a file",
    "file": "give the path alone, without file://",
    "http": "download it, and give the path of a file",
    "https": "download it, and give the path of a file",
}
_COPY = "copy it with that store's own tool, and give a path on this computer"
_ADVICE = "allow_outside (--allow-outside) permits it"
_MOST_PARENTS = 1024


class InputFolder:
    """Finds inputs, whose names are relative to `folder`, an absolute path without `..`.

    Unless `allow_outside`, neither a name nor a symbolic link may lead out of the folder.
    """

    def __init__(self, folder: Path, *, allow_outside: bool) -> None:
        self._folder = folder
        self._allow_outside = allow_outside
        # Compared as text: Path.is_relative_to takes ten times as long as a look at the file.
        self._inside = _prefix(str(folder))
        self._really_inside = _prefix(os.path.realpath(folder))
        self._real_parent = lru_cache(_MOST_PARENTS)(os.path.realpath)

    def find(self, names: Sequence[str]) -> tuple[tuple[Path, ...], bytes, str | None]:
        """Return the paths of inputs, 8 bytes that change with the size or mtime of any, and what is amiss.

        Raises InputError for a name that can never be sent; a file that is not there may come. Blocks: it
        looks at each file.
        """
        if not names:
            return (), b"", None
        paths = tuple(self._path(name) for name in names)
        called = {f"input {number}": path.name for number, path in enumerate(paths, 1)}
        check_names(called, "each needs a file name of its own")
        try:
            return (
                paths,
                _mark([self._look(name, path) for name, path in zip(names, paths, strict=True)]),
                None,
            )
        except InputError as error:
            return paths, b"", error.message

    def own(self, files: Sequence[Input]) -> tuple[bytes, str | None]:
        """Return the mark of a program's own inputs, those that are files, and what is amiss."""
        try:
            seen = [self._look(str(path), path, anywhere=True) for path in _paths(files)]
        except InputError as error:
            return b"", error.message
        return _mark(seen), None

    def _path(self, name: str) -> Path:
        """Return the path of an input; what is checked is what is opened, so `..` is resolved by name."""
        if not name or "\0" in name:
            raise InputError(f"{quoted(name)} in `inputs` is not a path")
        refuse_address("input", name)
        path = os.path.normpath(self._folder / name)
        if not self._allow_outside and not path.startswith(self._inside):
            raise InputError(f"input {quoted(name)} lies outside the manifest's folder: {_ADVICE}")
        return Path(path)

    def _look(self, name: str, path: Path, *, anywhere: bool = False) -> os.stat_result:
        try:
            seen = path.stat()
            outside = not (anywhere or self._allow_outside) and self._leads_outside(path)
        except (FileNotFoundError, NotADirectoryError):
            raise InputError(f"input {quoted(name)} is missing: there is no {quoted(str(path))}") from None
        except OSError as error:  # such as a folder that may not be looked into
            raise InputError(f"input {quoted(name)} is not readable: {error.strerror or error}") from None
        if not stat.S_ISREG(seen.st_mode):
            raise InputError(f"input {quoted(name)} is not a file")
        if outside:
            raise InputError(f"input {quoted(name)} is linked from outside the manifest's folder: {_ADVICE}")
        return seen

    def _leads_outside(self, path: Path) -> bool:
        real = os.path.realpath(path) if path.is_symlink() else self._real_parent(path.parent)
        return not _prefix(real).startswith(self._really_inside)


def refuse_address(what: str, place: str | os.PathLike[str]) -> None:
    """Raise InputError where a place, called `what`, is an address and no path: https://, s3://, data: ..."""
    found = _ADDRESS.match(text := os.fsdecode(place))
    if found is not None:
        scheme = found[1].partition(":")[0].lower()
        raise InputError(f"{what} {quoted(text)} is not a path: {_NO_PATH.get(scheme, _COPY)}")


def identity(given: Input) -> str:
    """Return what an input of a program's own is known by: its path or URL, else its name and its bytes."""
    name, content = given[:2] if isinstance(given, tuple) else (None, given)
    if isinstance(content, str | os.PathLike):
        return name or os.fspath(content)
    name = name or str(getattr(content, "name", ""))
    if isinstance(content, bytes | bytearray | memoryview):
        return f"{name}#{hashlib.sha256(content).hexdigest()}"
    return name


def content_mark(inputs: Sequence[Input]) -> bytes:
    """Return 16 bytes that change with the content of any file. Blocks: it reads them. Raises OSError."""
    mark = hashlib.sha256()
    for path in _paths(inputs):
        with path.open("rb") as file:
            mark.update(hashlib.file_digest(file, "sha256").digest())
    return mark.digest()[:16]


def _paths(inputs: Sequence[Input]) -> list[Path]:
    contents = (each[1] if isinstance(each, tuple) else each for each in inputs)
    return [Path(each) for each in contents if isinstance(each, os.PathLike)]


def _mark(files: Sequence[os.stat_result]) -> bytes:
    mark = hashlib.sha256()
    for seen in files:
        mark.update(struct.pack("<qq", seen.st_size, seen.st_mtime_ns))
    return mark.digest()[:8]


def _prefix(folder: str) -> str:
    """Return what the paths of all that is in a folder begin with."""
    return folder if folder.endswith(os.sep) else folder + os.sep
