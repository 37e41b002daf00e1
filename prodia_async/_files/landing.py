"""Names on disk, and how a file gets one: no file is ever replaced by accident. All of it blocks."""

# ruff: noqa: PTH103, PTH105, PTH108, PTH114, PTH116, PTH120 - pathlib costs as much as the system does
from __future__ import annotations

import contextlib
import hashlib
import importlib
import itertools
import os
import re
import secrets
import stat
from typing import Any

from prodia_async._errors import InputError, quoted

_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)

_MOST_BYTES = 100
MOST_IN_A_NAME = 128
"""Bytes of the longest name that we give a file: that of `safe_name`, a number and a suffix."""
_FORBIDDEN = re.compile(r"[^A-Za-z0-9._-]")
_RESERVED = re.compile(r"(?:con|prn|aux|nul|com[0-9]|lpt[0-9])(?:\.|\Z)", re.IGNORECASE)

_ADDRESS = re.compile(r"\s*(?:data:|[a-z][a-z0-9+.-]+:/)", re.IGNORECASE)

_LEAVES = dict.fromkeys(("s3", "gs", "az", "file", "memory"), "prodia_async.stores")
"""Who knows what a URL's scheme means."""

_process = secrets.token_hex(8)
_numbers = itertools.count()


def is_path(given: object) -> bool:
    """Tell whether the system would take something as a path."""
    try:
        return isinstance(given, str) and given != "" and b"\0" not in os.fsencode(given)
    except UnicodeEncodeError:
        return False


def refuse_address(what: str, path: str, advice: str) -> None:
    """Raise InputError for `data:...` and `scheme://...`, of which pathlib leaves `scheme:/...`."""
    if _ADDRESS.match(path):
        raise InputError(f"{what} is an address, not a path: {advice}")


def leaf_of(text: str) -> Any:
    """Return the module that knows the scheme of a URL, imported when it is met; None for a path."""
    scheme, mark, _ = text.partition("://")
    name = _LEAVES.get(scheme.lower()) if mark else None
    return None if name is None else importlib.import_module(name)


def safe_name(text: str) -> str:
    """Return `text` as a file name without a directory, at most 109 bytes long, safe on every system.

    Letters, digits, `.`, `_` and `-` stay. Where anything had to change (other characters, more than
    100 bytes, a dot at either end, a name that Windows reserves), 8 hex digits of the SHA-256 of `text`
    follow, so that two texts do not fall on one name.
    """
    name = _FORBIDDEN.sub("_", text)[:_MOST_BYTES].strip(".")
    if _RESERVED.match(name):
        name = f"_{name}"[:_MOST_BYTES]
    if name == text and name:
        return name
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    return f"{name or 'output'}-{digest}"


def name_of(stem: str, suffix: str, number: int) -> str:
    """Return `stem` + `suffix`, from number 2 on with the number before the suffix."""
    return f"{stem}{suffix}" if number == 1 else f"{stem}-{number}{suffix}"


def new_file(folder: str) -> tuple[str, int]:
    """Open a new temporary file in the folder, which is made again if it has gone.

    Its name is one that no other process takes, a forked child neither. It is opened by its descriptor:
    io.FileIO first looks at what it has opened.
    """
    path = f"{folder}{os.sep}.prodia-{_process}{os.getpid():08x}{next(_numbers):06x}.part"
    try:
        return path, os.open(path, _NEW, 0o666)
    except FileNotFoundError:
        os.makedirs(folder, exist_ok=True)
        return path, os.open(path, _NEW, 0o666)


def add(temporary: str, target: str) -> bool:
    """Give a file a name that nobody has; False if somebody has it. Never replaces a file.

    A hard link fails when the name is taken, whoever else tries at the same time. Where links are not
    possible (FAT, some network file systems), an empty file made with O_EXCL reserves the name.
    """
    try:
        os.link(temporary, target)
    except FileExistsError:
        return False
    except OSError:
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
    try:  # noqa: SIM105 - every output passes here, and suppress() is three calls
        os.unlink(temporary)
    except OSError:  # the file has its name: a second one is no reason to fail
        pass
    return True


def mode_of(path: str) -> int | None:
    """Return the mode of the file or folder that is there, None if there is none.

    Raises OSError for a device and the like, which no file must replace, and where no name can be so long.
    """
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        return None
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
        raise OSError(f"{quoted(path)} is not a regular file")
    return mode


def is_file_at(path: str) -> bool:
    """Tell whether a file can be at the path, or is; False for a folder, and for a link."""
    try:
        return stat.S_ISREG(os.lstat(path).st_mode)
    except FileNotFoundError:
        return True


def prepare(path: str, is_file: bool) -> str:
    """Make the folder of an output, try it, and return it. Blocks.

    Raises OSError for all that would keep an output from its name, once it was paid for.
    """
    folder = path
    if is_file and not stat.S_ISDIR(mode_of(path) or 0):
        path = os.path.realpath(path) if os.path.islink(path) else path  # it is written through
        folder = os.path.dirname(path)
    mode_of(f"{folder}{os.sep}{'n' * MOST_IN_A_NAME}")
    os.makedirs(folder, exist_ok=True)
    mode_of(path)  # whether its name is too long shows only now
    trial, descriptor = new_file(folder)  # permission bits do not tell
    os.close(descriptor)
    os.unlink(trial)
    return folder
