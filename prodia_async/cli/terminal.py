"""What leaves the command: all of it through `put`, which never fails.

What cannot be said (a reader that has left, a full device, a terminal that is gone) undoes nothing that was
done, and changes no exit code but that of success, which becomes 141 where the reader of stdout has left.
"""

from __future__ import annotations

import contextlib
import enum
import errno
import logging
import os
import re
import select
import shutil
import sys
import traceback

_CLEAR = "\r\x1b[K"
_PATIENCE = 0.2
"""Seconds that a line for stderr waits for a reader who does not read; later ones wait no more."""
_MOST_AT_ONCE = 4096
"""Bytes that a pipe takes without blocking once it is ready."""
_IN_ASCII = {ord("·"): "-", ord("━"): "#", ord("…"): "~"}
_BLOCK = 64 * 1024
MOST_QUOTED = 200
"""Characters of a user's text in a message."""


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


class _State:
    """What is known of the two streams of this process."""

    def __init__(self, *, debug: bool) -> None:
        self.debug = debug
        self.lost: Exception | None = None  # why stdout takes no more
        self.unread = 0  # lines that stderr did not take, as nobody reads it
        self.status = ""  # the line at the terminal's bottom


_now = _State(debug=False)


def begin(*, debug: bool) -> None:
    """Start anew; the package's log goes to stderr: all of it with `debug` or PRODIA_LOG, else warnings."""
    global _now  # noqa: PLW0603 - one command at a time
    _now = _State(debug=debug or os.environ.get("PRODIA_LOG", "").lower() == "debug")
    logger = logging.getLogger("prodia_async")
    logger.setLevel(logging.DEBUG if _now.debug else logging.WARNING)
    logger.handlers = [_LogHandler()]
    logger.propagate = False


def end(code: int) -> int:
    """Return the exit code; drop what is buffered for a stream that fails, or Python would exit with 120."""
    if code == Exit.DONE and reader_has_left():
        code = Exit.PIPE_CLOSED
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None:
                stream.flush()
        except (OSError, ValueError):
            with contextlib.suppress(OSError, ValueError):
                nowhere = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nowhere, stream.fileno())
                os.close(nowhere)
    return code


def put(data: str | bytes, *, err: bool = False) -> bool:
    """Write to stdout, or to stderr, and return whether it was taken. Never raises.

    Characters that the stream's encoding lacks become escapes. A failure of stdout is told on stderr, once,
    but for a reader that has left.
    """
    stream = sys.stderr if err else sys.stdout
    try:
        if stream is None:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))  # noqa: TRY301 - as for one that is closed later
        if isinstance(data, bytes):
            stream.flush()
            stream.buffer.write(data)
        else:
            stream.write(_encodable(data, getattr(stream, "encoding", None) or "utf-8"))
        stream.flush()
    except Exception as error:  # noqa: BLE001 - whatever it is: nothing that is said may fail
        if not err and _now.lost is None:
            _now.lost = error
            if not isinstance(error, BrokenPipeError):
                say(f"prodia-async: standard output: {getattr(error, 'strerror', None) or error}")
        return False
    return True


def _encodable(text: str, encoding: str) -> str:
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        text = text.translate(_IN_ASCII).encode(encoding, "backslashreplace").decode(encoding)
    return text


def reader_has_left() -> bool:
    """Tell whether stdout is a pipe that nobody reads any more."""
    return isinstance(_now.lost, BrokenPipeError)


def tell(text: str) -> bool:
    """Write a line, or lines, to stdout."""
    return put(f"{text}\n")


def say(text: str) -> None:
    """Write a line to stderr, above the line of `status`; no work waits for a reader who does not read."""
    line = f"{plain(text)}\n"
    if _now.unread:
        line = f"({_now.unread} lines were not shown: nobody read them)\n{line}"
    if _now.status:
        line = f"{_CLEAR}{line}{_now.status}"
    for start in range(0, len(line), _MOST_AT_ONCE // 4):  # a character has up to 4 bytes
        if not _is_read(0 if _now.unread else _PATIENCE):
            _now.unread += 1
            return
        put(line[start : start + _MOST_AT_ONCE // 4], err=True)
    _now.unread = 0


def status(text: str) -> None:
    """Show a line at the bottom of the terminal that stderr is, in place of the last; "" takes it back."""
    if (text or _now.status) and _is_read(0):
        _now.status = plain(text)
        put(_CLEAR + _now.status, err=True)


def _is_read(patience: float) -> bool:
    """Tell whether stderr takes a line without blocking: a held terminal, or a pager, may not for hours."""
    try:
        return bool(select.select([], [sys.stderr.fileno()], [], patience)[1])
    except (OSError, ValueError, AttributeError):  # it has no descriptor, or this system cannot tell
        return True


def columns() -> int:
    """Return the width of the terminal that stderr is; 0 where it is none, or one without a cursor."""
    try:
        if not sys.stderr.isatty() or os.environ.get("TERM") == "dumb":
            return 0
        # A terminal that does not know its width has 0.
        return os.get_terminal_size(sys.stderr.fileno()).columns or shutil.get_terminal_size().columns
    except (OSError, ValueError, AttributeError):
        return 0


class Blocks:
    """A text stream to stdout for what is long: UTF-8, in large pieces; made plain on a terminal.

    Raises Untold when stdout takes no more.
    """

    def __init__(self) -> None:
        self.is_plain = sys.stdout is not None and sys.stdout.isatty()
        self._parts: list[str] = []
        self._size = 0

    def write(self, text: str) -> int:
        """Write text, now or with what follows."""
        self._parts.append(text)
        self._size += len(text)
        if self._size >= _BLOCK or self.is_plain:
            self.flush()
        return len(text)

    def flush(self) -> None:
        """Write what has been gathered."""
        text = "".join(self._parts)
        self._parts, self._size = [], 0
        if self.is_plain:
            taken = put("\n".join(plain(line.rstrip("\r")) for line in text.split("\n")))
        else:
            taken = put(text.encode("utf-8", "backslashreplace"))
        if not taken:
            raise Untold


class Untold(Exception):  # noqa: N818 - it is told already, where that is possible
    """Stdout takes no more."""


def plain(text: str) -> str:
    """Return `text` in one line without what a terminal would act upon; texts come from other people."""
    text = " ".join(text.split("\n"))
    return "".join(char if char.isprintable() else _escaped(char) for char in text)


def _escaped(char: str) -> str:
    return char.encode("unicode_escape").decode("ascii")


def short(text: str, most: int = MOST_QUOTED) -> str:
    """Return `text`, or its beginning and its end where it is longer than `most` characters."""
    if len(text) <= most:
        return text
    tail = most // 3
    return f"{text[: most - tail - 5]} ... {text[-tail:]}"


def short_words(text: str) -> str:
    """Return a text of ours in which what others gave without white space, such as a data: URI, is short."""
    return re.sub(rf"\S{{{MOST_QUOTED},}}", lambda found: short(found[0]), text)


def say_traceback() -> None:
    """Write the traceback of the exception that is being handled to stderr."""
    for line in traceback.format_exc().splitlines():
        say(line)


def debug() -> bool:
    """Tell whether tracebacks are to be shown."""
    return _now.debug


class _LogHandler(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        try:
            lines = [record.getMessage()]
            if record.exc_info:
                lines += "".join(traceback.format_exception(*record.exc_info)).splitlines()
        except Exception:  # noqa: BLE001 - a record whose arguments do not fit it
            lines = [str(record.msg)]
        for line in lines:
            say(line)
