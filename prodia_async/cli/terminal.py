"""What reaches a terminal: plain text, on stderr unless it is the result."""

from __future__ import annotations

import enum
import logging
import os
import sys
import traceback

import click


class Exit(enum.IntEnum):
    """The exit codes."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    REFUSED = 3
    SPENT = 4
    GAVE_UP = 5
    INTERRUPTED = 130
    PIPE_CLOSED = 141  # 128 + SIGPIPE: what a shell tells of a program whose reader, such as `head`, has left


def plain(text: str) -> str:
    """Return `text` in one line without what a terminal would act upon; texts come from other people."""
    text = " ".join(text.split("\n"))
    return "".join(char if char.isprintable() else _escaped(char) for char in text)


def _escaped(char: str) -> str:
    return char.encode("unicode_escape").decode("ascii")


def say(text: str) -> None:
    """Write a line to stderr."""
    click.echo(plain(text), err=True)


def say_traceback() -> None:
    """Write the traceback of the exception that is being handled to stderr."""
    for line in traceback.format_exc().splitlines():
        say(line)


def wants_debug(flag: bool) -> bool:
    """Tell whether `--debug` or PRODIA_LOG=debug asks for tracebacks and all of the log."""
    return flag or os.environ.get("PRODIA_LOG", "").lower() == "debug"


def set_up_logging(debug: bool) -> None:
    """Send the package's log to stderr: all of it with `debug`, else warnings."""
    logger = logging.getLogger("prodia_async")
    logger.setLevel(logging.DEBUG if debug else logging.WARNING)
    logger.handlers = [_LogHandler()]
    logger.propagate = False


class _LogHandler(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        lines = [record.getMessage()]
        if record.exc_info:
            lines += "".join(traceback.format_exception(*record.exc_info)).splitlines()
        for line in lines:
            # Looked up each time: the progress bar puts itself in the way of stderr.
            print(plain(line), file=sys.stderr)  # noqa: T201 - this is where the log is shown
