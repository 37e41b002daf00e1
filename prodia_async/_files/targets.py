"""What `to=` means: memory, one file, a folder, or a sink of the user's own."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

from msgspec import Struct
from msgspec.structs import replace

from prodia_async._errors import InputError
from prodia_async._files.hops import hop
from prodia_async._files.landing import refuse_special, try_folder
from prodia_async._files.sinks import Budget, FileSink, FolderSink, MemorySink, Sink
from prodia_async._models import Job
from prodia_async._settings import Limits
from prodia_async._wire import media

_MOST_FOLDERS = 1000

SinkFactory: TypeAlias = Callable[[Job], Sink]
"""Makes the sink for one attempt of a job."""


class File(Struct, frozen=True):
    """`to=File("x")`: one file, whatever its suffix; it replaces a file that is there."""

    path: str | os.PathLike[str]


class Folder(Struct, frozen=True):
    """`to=Folder("x.png")`: a folder, whatever its suffix; made when missing, no file in it is replaced."""

    path: str | os.PathLike[str]


To: TypeAlias = str | os.PathLike[str] | File | Folder | SinkFactory | None
"""What `to=` takes: a path, `File`, `Folder`, a function that makes a sink, or None for memory."""


class Target(Struct, frozen=True):
    """Where outputs go. `single`: for one job's outputs only; `accept`: the type that its suffix asks for."""

    accept: str | None
    single: bool
    sink: SinkFactory
    path: Path | None = None


NOWHERE = Target(accept=None, single=False, sink=lambda _: MemorySink(0))
"""For jobs whose outputs are not stored by this call."""


def resolve(to: To, *, limits: Limits, budget: Budget) -> Target:
    """Return what `to` means. Looks at nothing on disk: see `prepare_target`.

    A path with a trailing slash or without a known media suffix (`.png`, `.mp4` ...) is a folder, any other
    a file. Raises InputError for an empty path and for anything that is no target.
    """
    if to is None:
        return Target(accept=None, single=False, sink=lambda _: MemorySink(limits.max_memory_output))
    if isinstance(to, File):
        return _file(_path(to.path), budget)
    if isinstance(to, Folder):
        return _folder(_path(to.path), budget)
    if isinstance(to, str | os.PathLike):
        path = _path(to)
        is_folder = os.fspath(to).endswith(("/", os.sep)) or media.type_for_name(path.name) is None
        return _folder(path, budget) if is_folder else _file(path, budget)
    if callable(to):
        return Target(accept=None, single=False, sink=to)
    raise InputError(
        f"to= cannot be {type(to).__name__}: "
        "pass a path, File(...), Folder(...), a function that makes a sink, or None for memory"
    )


def refuse_single(to: To) -> None:
    """Raise InputError for what `resolve` refuses, and for one file, which many jobs cannot share."""
    target = resolve(to, limits=Limits(), budget=Budget(0))
    if target.single:
        raise InputError(
            f"to= cannot be the file {str(target.path)!r} for many jobs: "
            "pass a folder, or Folder(...) if it is one"
        )


class Folders:
    """The folders that were found good, so that each is tried once and not once a job; some are forgotten."""

    def __init__(self) -> None:
        self._good: set[Path] = set()
        self._targets: dict[str | Path, Target] = {}

    def target(self, to: To) -> Target | None:
        """Return what `to` meant before, if it is a folder that is remembered."""
        return self._targets.get(to) if isinstance(to, str | Path) else None

    def remember(self, to: To, target: Target) -> None:
        """Remember what `to` means, found good, if it is a folder."""
        if isinstance(to, str | Path) and target.path in self._good and not target.single:
            if len(self._targets) >= _MOST_FOLDERS:
                self._targets.clear()
            self._targets[to] = target

    def __contains__(self, folder: Path) -> bool:
        return folder in self._good

    def add(self, folder: Path) -> None:
        """Remember a good folder."""
        if len(self._good) >= _MOST_FOLDERS:
            self._good.clear()
        self._good.add(folder)


async def prepare_target(target: Target, good: Folders) -> Target:
    """Make the target's folder and check, in one trip, that files can be made in it; return the target.

    A file's path that is an existing folder counts as that folder, and asks for no type: the target that is
    returned says so. Raises InputError, before anything is sent, where outputs could not be written.
    """
    if target.path is None or (not target.single and target.path in good):
        return target
    is_file = await hop(_prepare, target.path, target.single, good)
    return target if is_file is target.single else replace(target, accept=None, single=False)


def _path(path: Any) -> Path:
    text = os.fspath(path) if isinstance(path, str | os.PathLike) else path
    if not isinstance(text, str) or not text or "\0" in text:
        raise InputError(f"to= cannot be {text!r}: pass the path of a file or folder")
    return Path(text)


def _file(path: Path, budget: Budget) -> Target:
    if path.name in ("", ".."):
        raise InputError(f"to= cannot be the file {str(path)!r}: pass a path that ends in a file name")
    asked = media.type_for_name(path.name)
    return Target(
        accept=None if asked == media.OCTETS else asked,
        single=True,
        sink=lambda job: FileSink(path, budget, custom_id=job.custom_id),
        path=path,
    )


def _folder(path: Path, budget: Budget) -> Target:
    return Target(
        accept=None, single=False, sink=lambda job: FolderSink(path, job.custom_id, budget), path=path
    )


def _prepare(path: Path, single: bool, good: Folders) -> bool:
    """Make the folder; return whether `path` is a file. Blocks."""
    try:
        is_file = single and not path.is_dir()
        folder = path.parent if is_file else path
        if folder not in good:
            folder.mkdir(parents=True, exist_ok=True)
            try_folder(folder)
            good.add(folder)
        if is_file:
            refuse_special(path)
    except OSError as error:
        reason = error.strerror or error
        raise InputError(f"to={str(path)!r} cannot be written: {reason}: choose another place") from error
    return is_file
