"""A command's event loop: signals, errors and the exit code."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import signal
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeAlias

from prodia_async._errors import AuthenticationError, InputError, PermissionDeniedError, ProdiaError
from prodia_async.cli import terminal
from prodia_async.cli.terminal import Exit, say

Main: TypeAlias = Callable[[asyncio.Event], Awaitable[Exit]]


def run(
    main: Main,
    *,
    debug: bool,
    on_stop: Callable[[], None] | None = None,
    on_cut: Callable[[], None] | None = None,
) -> Exit:
    """Run a command's coroutine and return the exit code; errors of ours become one line on stderr.

    Ctrl-C and SIGTERM cancel `main`. With `on_stop` the first of them calls that and sets the event which
    `main` is given, and only the next one calls `on_cut` and cancels.
    """
    return guard(lambda: _runner()(_with_signals(main, on_stop, on_cut)), debug=debug)


def guard(work: Callable[[], Exit], *, debug: bool) -> Exit:
    """Do a command's work and return the exit code; errors of ours become one line on stderr."""
    debug = terminal.wants_debug(debug)
    terminal.set_up_logging(debug)
    _collect_seldom()
    try:
        return work()
    except (KeyboardInterrupt, asyncio.CancelledError):
        return Exit.INTERRUPTED
    except ProdiaError as error:
        if debug:
            terminal.say_traceback()
        else:
            say(f"prodia-async: {error.message}")
        return _code(error)


def _code(error: ProdiaError) -> Exit:
    if isinstance(error, AuthenticationError | PermissionDeniedError):
        return Exit.REFUSED
    return Exit.USAGE if isinstance(error, InputError) else Exit.FAILED


async def _with_signals(
    main: Main, on_stop: Callable[[], None] | None, on_cut: Callable[[], None] | None
) -> Exit:
    stop = asyncio.Event()
    loop, task = asyncio.get_running_loop(), asyncio.current_task()

    def on_signal() -> None:
        if on_stop is not None and not stop.is_set():
            stop.set()
            on_stop()
        elif task is not None:
            if on_cut is not None:
                on_cut()
            task.cancel()

    for number in (signal.SIGINT, signal.SIGTERM):
        # Windows has no such handlers: there Ctrl-C is a KeyboardInterrupt.
        with contextlib.suppress(NotImplementedError):
            loop.add_signal_handler(number, on_signal)
    return await main(stop)


def _collect_seldom() -> None:
    """Let the garbage collector look at less, and less often: this process is the command's own.

    Jobs leave next to no cycles behind; looking for them was an eighth of a large batch's time.
    """
    gc.freeze()  # what is loaded by now lives until the end
    gc.set_threshold(20_000, 50, 50)


def _runner() -> Callable[[Coroutine[Any, Any, Exit]], Exit]:
    try:
        import uvloop  # noqa: PLC0415 - used where it is installed
    except ImportError:
        return asyncio.run
    return uvloop.run
