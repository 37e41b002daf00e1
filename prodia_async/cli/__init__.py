"""The command `prodia-async`, also run by `python -m prodia_async`.

Arguments are read by click: small, long kept, BSD-licensed, and 36 ms to import, where typer and cyclopts
take 200 ms. `--help` loads neither the HTTP client nor rich.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import sys

_EXTRAS = {"click": "cli", "rich": "cli", "PIL": "emulator"}


def main() -> None:
    """Run the command line and exit with its code."""
    _open_standard_descriptors()
    try:
        importlib.import_module("prodia_async.cli.group").command(prog_name="prodia-async")
    except ModuleNotFoundError as error:
        extra = _EXTRAS.get((error.name or "").partition(".")[0])
        if extra is None:
            raise
        sys.exit(f"{error.name} is not installed: pip install 'prodia-async[{extra}]'")


def _open_standard_descriptors() -> None:
    """Put the null device where standard input, output or error is closed, lest a file of ours land there."""
    for descriptor in range(3):
        with contextlib.suppress(OSError):
            os.fstat(descriptor)
            continue
        os.open(os.devnull, os.O_RDWR)  # takes the lowest free number
