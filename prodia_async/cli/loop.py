"""A command's event loop, its client, and what signals mean to it."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TYPE_CHECKING, Any, TypeAlias

import prodia_async
from prodia_async.cli.terminal import Exit

if TYPE_CHECKING:
    from prodia_async import Prodia
    from prodia_async.emulator import EmulatorProcess

Main: TypeAlias = Callable[[asyncio.Event], Awaitable[Exit]]
Hook: TypeAlias = Callable[[], None] | None


def run(main: Main, *, on_stop: Hook = None, on_cut: Hook = None) -> Exit:
    """Run a command's coroutine and return its exit code.

    Ctrl-C, SIGTERM and SIGHUP cancel `main`. With `on_stop` the first of them calls that and sets the event
    which `main` is given, and only the next one calls `on_cut` and cancels; a SIGHUP never is that next one.
    """
    # This process is the command's own, and jobs leave next to no cycles behind: looking for them was an
    # eighth of a large batch's time.
    gc.freeze()
    gc.set_threshold(20_000, 50, 50)
    runner: Callable[..., Exit] = asyncio.run
    with contextlib.suppress(ImportError):
        import uvloop

        runner = uvloop.run
    return runner(_with_signals(main, on_stop, on_cut))


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


async def _with_signals(main: Main, on_stop: Hook, on_cut: Hook) -> Exit:
    stop, loop, task = asyncio.Event(), asyncio.get_running_loop(), asyncio.current_task()

    def on_signal() -> None:
        is_cut = stop.is_set() or on_stop is None
        stop.set()
        hook = on_cut if is_cut else on_stop
        if hook is not None:
            hook()
        if is_cut and task is not None:
            task.cancel()

    def on_hangup() -> None:
        # A terminal that is closed sends two, the shell's and the kernel's, and systemd one after SIGTERM.
        if not stop.is_set():
            on_signal()

    # Windows has no such handlers: there Ctrl-C is a KeyboardInterrupt.
    with contextlib.suppress(NotImplementedError):
        loop.add_signal_handler(signal.SIGINT, on_signal)
        loop.add_signal_handler(signal.SIGTERM, on_signal)
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # as nohup has it
            loop.add_signal_handler(signal.SIGHUP, on_hangup)
    return await main(stop)
