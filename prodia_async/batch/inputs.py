"""The input files that a manifest names: where they are, and whether they can be sent."""

from __future__ import annotations

import hashlib
import os
import stat
import struct
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from prodia_async._errors import InputError
from prodia_async._wire import job, media

if TYPE_CHECKING:
    from collections.abc import Sequence

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

    def find(self, names: Sequence[str]) -> tuple[tuple[Path, ...], bytes]:
        """Return the paths of inputs, and 8 bytes that change with the size or mtime of any of them.

        Raises InputError for an input that cannot be sent. Blocks: it looks at each file.
        """
        if not names:
            return (), b""
        paths = tuple(self._path(name) for name in names)
        mark = hashlib.sha256()
        for name, path in zip(names, paths, strict=True):
            seen = self._look(name, path)
            mark.update(struct.pack("<qq", seen.st_size, seen.st_mtime_ns))
        # Each request meets this check of the names: here it is met before any is sent.
        job.plan(b"", [job.PartHead(path.name, media.OCTETS, None) for path in paths], "")
        return paths, mark.digest()[:8]

    def _path(self, name: str) -> Path:
        """Return the path of an input; what is checked is what is opened, so `..` is resolved by name."""
        if not name or "\0" in name:
            raise InputError(f"{name!r} in `inputs` is no path")
        path = os.path.normpath(self._folder / name)
        if not self._allow_outside and not path.startswith(self._inside):
            raise InputError(f"input {name!r} lies outside the manifest's folder: {_ADVICE}")
        return Path(path)

    def _look(self, name: str, path: Path) -> os.stat_result:
        try:
            seen = path.stat()
            outside = not self._allow_outside and self._leads_outside(path)
        except (FileNotFoundError, NotADirectoryError):
            raise InputError(f"input {name!r} is missing: there is no {str(path)!r}") from None
        except OSError as error:  # such as a folder that may not be looked into
            raise InputError(f"input {name!r} is not readable: {error.strerror or error}") from None
        if not stat.S_ISREG(seen.st_mode):
            raise InputError(f"input {name!r} is no file")
        if outside:
            raise InputError(f"input {name!r} is linked from outside the manifest's folder: {_ADVICE}")
        return seen

    def _leads_outside(self, path: Path) -> bool:
        real = os.path.realpath(path) if path.is_symlink() else self._real_parent(path.parent)
        return not _prefix(real).startswith(self._really_inside)


def _prefix(folder: str) -> str:
    """Return what the paths of all that is in a folder begin with."""
    return folder if folder.endswith(os.sep) else folder + os.sep
