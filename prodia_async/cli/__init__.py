"""The command `prodia-async`, also run by `python -m prodia_async`.

Arguments are read by click: small, long kept, BSD-licensed, and 36 ms to import, where typer and cyclopts
take 200 ms. `--help` loads no HTTP client.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import sys

from prodia_async._extras import missing

_EXTRAS = {"click": "cli", "PIL": "emulator"}


def main() -> None:
    """Run the command line and exit with its code."""
    _open_standard_descriptors()
    try:
        importlib.import_module("prodia_async.cli.group").command()
    except ModuleNotFoundError as error:
        extra = _EXTRAS.get((error.name or "").partition(".")[0])
        if extra is None:
            raise
        sys.exit(missing("prodia-async", error.name, extra))


def _open_standard_descriptors() -> None:
    """Put the null device where a standard descriptor is closed, lest a file of ours land there."""
    for descriptor in range(3):
        with contextlib.suppress(OSError):
            os.fstat(descriptor)
            continue
        os.open(os.devnull, os.O_RDWR)  # takes the lowest free number
    if sys.stdin is None:
        sys.stdin = open(0, closefd=False)  # noqa: SIM115 - it is the process's
    # A terminal at the end of a lost connection takes nothing for hours: no write of ours waits for it. It is
    # opened anew, for its other users go on blocking; where that is not allowed, it stays as it is.
    with contextlib.suppress(OSError, AttributeError):
        own = os.open(os.ttyname(sys.stderr.fileno()), os.O_WRONLY | os.O_NOCTTY | os.O_NONBLOCK)
        sys.stderr = open(own, "w", 1, sys.stderr.encoding, "backslashreplace", closefd=False)  # noqa: SIM115
