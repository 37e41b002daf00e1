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
_SMALL = 10
"""Dollars below which more decimals are told: most jobs cost less than a cent."""
_MOST_QUOTED = 200
"""Characters of a user's text in a message."""
_IN_ASCII = {ord("·"): "-", ord("━"): "#", ord("…"): "~"}


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

    lost: Exception | None = None  # why stdout takes no more
    unread = 0  # lines that stderr did not take, as nobody reads it
    status = ""  # the line at the terminal's bottom


_now = _State()
log: logging.Logger = logging.getLogger("prodia_async")


def begin(*, debug: bool) -> None:
    """Start anew; the package's log goes to stderr: all of it with `debug` or PRODIA_LOG, else warnings."""
    global _now  # noqa: PLW0603 - one command at a time
    _now = _State()
    is_whole = debug or os.environ.get("PRODIA_LOG", "").lower() == "debug"
    log.setLevel(logging.DEBUG if is_whole else logging.WARNING)
    log.handlers, log.propagate = [_LogHandler()], False


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


def put(data: str | bytes, *, err: bool = False, flush: bool = True) -> bool:
    """Write to stdout, or to stderr, and return whether it was taken. Never raises.

    Characters that the stream's encoding lacks become escapes. A failure of stdout is told on stderr, once,
    but for a reader that has left.
    """
    stream = sys.stderr if err else sys.stdout
    try:
        if stream is None:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))  # noqa: TRY301 - as for one that is closed later
        encoding = stream.encoding or "utf-8"
        data = data if isinstance(data, bytes) else _encoded(data, encoding)
        if hasattr(stream, "buffer"):
            stream.buffer.write(data)
        else:  # a stream of text alone, such as `redirect_stdout` puts there
            stream.write(data.decode(encoding))
        if flush:
            stream.flush()
    except Exception as error:  # noqa: BLE001 - whatever it is: nothing that is said may fail
        if not err and _now.lost is None:
            _now.lost = error
            if not isinstance(error, BrokenPipeError):
                say(f"prodia-async: standard output: {getattr(error, 'strerror', None) or error}")
        return False
    return True


def _encoded(text: str, encoding: str) -> bytes:
    try:
        return text.encode(encoding)
    except UnicodeEncodeError:
        return text.translate(_IN_ASCII).encode(encoding, "backslashreplace")


def reader_has_left() -> bool:
    """Tell whether stdout is a pipe that nobody reads any more."""
    return isinstance(_now.lost, BrokenPipeError)


def printed() -> Exit:
    """Return the exit code of a command whose work is printing."""
    return Exit.DONE if _now.lost is None or reader_has_left() else Exit.FAILED


def tell(text: str) -> None:
    """Write a line, or lines, to stdout."""
    put(f"{text}\n")


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


class Stream:
    """A text stream to stdout for what is long: in UTF-8; line by line and made plain on a terminal.

    Raises BrokenPipeError when stdout takes no more. The last of it is written by `put(b"")`.
    """

    def __init__(self) -> None:
        self.is_plain: bool = sys.stdout is not None and sys.stdout.isatty()

    def write(self, text: str) -> int:
        """Write text, now or with what follows."""
        if self.is_plain:
            taken = put("\n".join(plain(line.rstrip("\r")) for line in text.split("\n")))
        else:
            taken = put(text.encode("utf-8", "backslashreplace"), flush=False)
        if not taken:
            raise BrokenPipeError
        return len(text)


def plain(text: str) -> str:
    """Return `text` in one line without what a terminal would act upon; texts come from other people."""
    line = text.replace("\n", " ")
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in line)


def count(number: int, noun: str, plural: str = "") -> str:
    """Return such as `1 job` or `1,200 jobs`."""
    return f"{number:,} {noun if number == 1 else plural or f'{noun}s'}"


def dollars(amount: float) -> str:
    """Return such as `$0.00375`, `$0.50` or `$1,200.00`."""
    whole, _, decimals = f"{amount:,.6f}".partition(".")
    return f"${whole}.{decimals.rstrip('0'):0<2}" if amount < _SMALL else f"${amount:,.2f}"


def about(amount: float) -> str:
    """Return an amount of dollars as what is reckoned deserves: its first two digits."""
    return dollars(float(f"{amount:.2g}"))


def duration(seconds: float) -> str:
    """Return such as `12 s`, `3 min 5 s` or `2 h 46 min`."""
    minutes, whole = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours:,} h {minutes} min"
    return f"{minutes} min {whole} s" if minutes else f"{whole} s"


def short(text: str, most: int = _MOST_QUOTED) -> str:
    """Return `text`, or its beginning and its end where it is longer than `most` characters."""
    if len(text) <= most:
        return text
    tail = most // 3
    return f"{text[: most - tail - 5]} ... {text[-tail:]}"


def short_words(text: str) -> str:
    """Return a text of ours in which what others gave without white space, such as a data: URI, is short."""
    return re.sub(rf"\S{{{_MOST_QUOTED},}}", lambda found: short(found[0]), text)


class _LogHandler(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        try:
            say(record.getMessage())
        except Exception:  # noqa: BLE001 - a record whose arguments do not fit it
            say(str(record.msg))
        if record.exc_info:
            for line in "".join(traceback.format_exception(*record.exc_info)).splitlines():
                say(line)
