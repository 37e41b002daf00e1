"""A command's event loop, its client, and what signals mean to it."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from typing import TYPE_CHECKING, Any, TypeAlias

import prodia_async
from prodia_async.cli.terminal import Exit

if TYPE_CHECKING:
    from prodia_async import Prodia
    from prodia_async.emulator import EmulatorProcess

Main: TypeAlias = Callable[[asyncio.Event], Awaitable[Exit]]


def run(
    main: Main,
    *,
    on_stop: Callable[[], None] | None = None,
    on_cut: Callable[[], None] | None = None,
) -> Exit:
    """Run a command's coroutine and return its exit code.

    Ctrl-C, SIGTERM and SIGHUP cancel `main`. With `on_stop` the first of them calls that and sets the event
    which `main` is given, and only the next one calls `on_cut` and cancels; a SIGHUP never is that next one.
    """
    _collect_seldom()
    return _runner()(_with_signals(main, on_stop, on_cut))


@contextlib.asynccontextmanager
async def connected(emulator: EmulatorProcess | None, **options: Any) -> AsyncIterator[Prodia]:
    """Yield a client of the emulator, which is started, or of the service that the environment names."""
    async with contextlib.AsyncExitStack() as stack:
        if emulator is not None:
            await stack.enter_async_context(emulator)
            options |= {"base_url": emulator.base_url, "token": emulator.token}
        elif not os.environ.get("PRODIA_TOKEN", "").strip():
            raise prodia_async.InputError(
                "no token: set PRODIA_TOKEN (`run` and `batch` do without one with --emulator)"
            )
        yield await stack.enter_async_context(prodia_async.Prodia(**options))


async def _with_signals(
    main: Main, on_stop: Callable[[], None] | None, on_cut: Callable[[], None] | None
) -> Exit:
    stop, cut = asyncio.Event(), asyncio.Event()
    loop, task = asyncio.get_running_loop(), asyncio.current_task()

    def on_signal() -> None:
        if on_stop is not None and not stop.is_set():
            stop.set()
            on_stop()
        elif task is not None:
            cut.set()
            if on_cut is not None:
                on_cut()
            task.cancel()

    def on_hangup() -> None:
        # A terminal that is closed sends two, the shell's and the kernel's, and systemd one after SIGTERM.
        if not stop.is_set() and not cut.is_set():
            on_signal()

    # Windows has no such handlers: there Ctrl-C is a KeyboardInterrupt.
    with contextlib.suppress(NotImplementedError):
        loop.add_signal_handler(signal.SIGINT, on_signal)
        loop.add_signal_handler(signal.SIGTERM, on_signal)
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # as nohup has it
            loop.add_signal_handler(signal.SIGHUP, on_hangup)
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
