"""What the benchmark runs on: its versions, which CPU runs what, and where outputs are stored."""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import pathlib
import platform
import shutil
import subprocess
from collections.abc import Iterator

PACKAGES = (
    "prodia-async",
    "aiohttp",
    "msgspec",
    "uvloop",
    "httpx",
    "requests",
    "requests-toolbelt",
)
PROGRAMS = {"Go": ["go", "version"], "Node": ["node", "--version"], "curl": ["curl", "--version"]}
RAM_DISK = pathlib.Path("/dev/shm")


def versions() -> dict[str, str | None]:
    """Return the versions of all that is compared; None for what is not installed."""
    found: dict[str, str | None] = {"Python": platform.python_version(), "kernel": platform.release()}
    for name in PACKAGES:
        found[name] = _installed(name)
    for name, command in PROGRAMS.items():
        found[name] = _told(command)
    return found


def _installed(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _told(command: list[str]) -> str | None:
    if shutil.which(command[0]) is None:
        return None
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        told = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True).stdout
        words = told.split("\n")[0].split()
        return next((word for word in words if any(letter.isdigit() for letter in word)), None)
    return None


def ram_disk() -> pathlib.Path | None:
    return RAM_DISK if RAM_DISK.is_dir() and os.access(RAM_DISK, os.W_OK) else None


def cpus() -> tuple[int, int] | None:
    """Return the CPU for the client and that for the server; None where processes cannot be pinned."""
    if not hasattr(os, "sched_getaffinity"):
        return None
    found = sorted(os.sched_getaffinity(0))
    return (found[0], found[-1]) if len(found) > 1 else None


@contextlib.contextmanager
def pinned(who: str) -> Iterator[None]:
    """Let the processes that are started in the block run on the CPU of "client" or "server" alone."""
    chosen = cpus()
    if chosen is None:
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {chosen[0] if who == "client" else chosen[1]})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def described() -> str:
    """Return the header of the report."""
    told = ", ".join(f"{name} {version or '-'}" for name, version in versions().items())
    chosen = cpus()
    pins = (
        "not pinned: the processes share the CPUs"
        if chosen is None
        else f"client pinned to CPU {chosen[0]}, server to CPU {chosen[1]}"
    )
    where = "a RAM disk" if ram_disk() else "an ordinary disk, whose own time counts"
    return f"{told}\n{pins}; outputs on {where}"
