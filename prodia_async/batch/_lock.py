"""The lock of a batch's folder. The system lets go of it when the process ends, however it ends."""

from __future__ import annotations

import errno
import os
import socket
import sys
import time
import weakref
from typing import TYPE_CHECKING

from prodia_async._errors import InputError

if TYPE_CHECKING:
    from pathlib import Path

if sys.platform == "win32":  # pragma: no cover - measured on other systems
    import msvcrt

    def _take(descriptor: int) -> None:
        os.lseek(
            descriptor, 1 << 30, os.SEEK_SET
        )  # a place where no text stands, so that the text can be read
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
else:
    import fcntl

    def _take(descriptor: int) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


_IN_USE = {errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES, errno.EDEADLK}
_MOST_TEXT = 1000


class FolderLock:
    """One process's right to run a batch in a folder: an exclusive lock on a file that names its owner.

    SQLite alone would let a second process in. The file stays when the lock is released. A forked child does
    not keep the lock when its parent ends.
    """

    def __init__(self, folder: Path, *, since: float) -> None:
        """Take the lock. Raises InputError if another has it, or if the file system has no locks."""
        self._descriptor: int | None = None
        path = folder / "journal.lock"
        while self._descriptor is None:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
            try:
                _take_or_explain(descriptor, folder)
                if _is_at(descriptor, path):  # else it was removed meanwhile, and guards nothing
                    _sign(descriptor, since)
                    self._descriptor, descriptor = descriptor, -1
            finally:
                if descriptor >= 0:
                    os.close(descriptor)
        _held.add(self)

    def release(self) -> None:
        """Let go of it; in a forked child this leaves the parent's hold as it is."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)


_held: weakref.WeakSet[FolderLock] = weakref.WeakSet()


def _release_in_child() -> None:
    for lock in list(_held):
        lock.release()


if hasattr(os, "register_at_fork"):  # pragma: no branch - absent on Windows, which has no fork
    os.register_at_fork(after_in_child=_release_in_child)


def _take_or_explain(descriptor: int, folder: Path) -> None:
    try:
        _take(descriptor)
    except OSError as error:
        if error.errno in _IN_USE:
            text = os.pread(descriptor, _MOST_TEXT, 0) if hasattr(os, "pread") else b""
            owner = text.decode("utf-8", "replace").strip() or "another process"
            raise InputError(
                f"another batch is at work in {str(folder)!r}: {owner}. Wait until it has ended, stop it, "
                "or choose another folder."
            ) from error
        raise InputError(
            f"files in {str(folder)!r} cannot be locked ({error.strerror or error}), so two batches might "
            "run, and pay for, the same jobs: choose a folder on a local disk"
        ) from error


def _is_at(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def _sign(descriptor: int, since: float) -> None:
    """Write into the file who holds it."""
    began = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(since))
    os.ftruncate(descriptor, 0)
    os.lseek(descriptor, 0, os.SEEK_SET)
    os.write(descriptor, f"process {os.getpid()} on host {socket.gethostname()}, since {began}\n".encode())
