"""An emulator in a process of its own: it takes no time from the client that it serves."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import json
import os
import signal
import sys
import urllib.request
from asyncio import subprocess
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prodia_async._extras import missing
from prodia_async.emulator._account import EmulatorStats
from prodia_async.emulator._options import Options

if TYPE_CHECKING:
    from typing import Self

_PATIENCE = 60.0
"""Seconds that the process may take to start, and to stop."""
_straight = urllib.request.build_opener(urllib.request.ProxyHandler({}))
"""Asks this computer itself, whatever proxy the environment names."""
_PROGRAM = "from prodia_async.emulator._process import serve; serve()"


class EmulatorProcess:
    """Runs `Emulator(**options)` in another process: `async with EmulatorProcess(capacity=8) as emulator`.

    All options but `ssl`. It ends with this process, however that ends, and knows nothing of Ctrl-C. Raises
    ValueError for an option that cannot be.
    """

    def __init__(self, **options: Any) -> None:
        if options.get("ssl") is not None:
            raise ValueError("ssl= takes None here: a context cannot go to another process")
        if importlib.util.find_spec("PIL") is None:
            raise ModuleNotFoundError(missing("the emulator", "PIL", "emulator"), name="PIL")
        self.token: str = Options(**options).token
        self._options = options
        self._process: subprocess.Process | None = None
        self._base_url: str | None = None
        self._account = EmulatorStats()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    @property
    def base_url(self) -> str:
        """Where it listens. Raises RuntimeError before it is started."""
        if self._base_url is None:
            raise RuntimeError("the emulator is not running: use `async with` or await start()")
        return self._base_url

    def stats(self) -> EmulatorStats:
        """Return the account: as it is now or, once it is closed, as it was. Blocks for a moment."""
        with contextlib.suppress(OSError):  # it may have died
            if self._base_url is not None:
                with _straight.open(f"{self._base_url}/stats", timeout=_PATIENCE) as answer:
                    self._account = EmulatorStats(**json.load(answer))
        return self._account

    async def start(self) -> None:
        """Start the process, and wait until it listens. Raises OSError where it cannot."""
        if self._process is not None:
            raise RuntimeError("an emulator can be started once")
        home = str(Path(__file__).parents[2])  # where this package is, which need not be installed
        path = os.pathsep.join([home, *filter(None, [os.environ.get("PYTHONPATH")])])
        self._process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-c", _PROGRAM),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=os.environ | {"PYTHONPATH": path},
        )
        try:
            self._write(json.dumps(self._options, default=_plain).encode() + b"\n")
            told = await self._read()
        except BaseException:
            await self.aclose()
            raise
        if "error" in told:
            await self.aclose()
            raise OSError(*told["error"])
        self._base_url = told["base_url"]

    async def aclose(self) -> None:
        """Stop the process, and keep its account. Calling it again is fine."""
        process, was_up = self._process, self._base_url is not None
        self._base_url = None
        if process is None or process.returncode is not None:
            return
        if process.stdin is not None:
            process.stdin.close()
        try:
            if was_up:
                with contextlib.suppress(OSError, TimeoutError):
                    self._account = EmulatorStats(**await self._read())
            await asyncio.wait_for(process.wait(), _PATIENCE)
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()

    def _write(self, data: bytes) -> None:
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.write(data)

    async def _read(self) -> dict[str, Any]:
        """Return what the process says next. Raises OSError where it says nothing."""
        if self._process is None or self._process.stdout is None:
            raise AssertionError("the process was started with pipes")
        line = await asyncio.wait_for(self._process.stdout.readline(), _PATIENCE)
        if not line:
            raise OSError("the emulator's process has ended")
        told: dict[str, Any] = json.loads(line)
        return told


def _plain(value: Any) -> Any:
    return os.fspath(value) if isinstance(value, os.PathLike) else list(value)


def serve() -> None:
    """Be the process: options come by standard input, which ends when this is to end."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # it is the client's to say when all is over
    options = json.loads(sys.stdin.readline() or "{}")
    factory = None
    with contextlib.suppress(ImportError):
        import uvloop  # noqa: PLC0415 - where it is installed

        factory = uvloop.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(_serve(options))


async def _serve(options: dict[str, Any]) -> None:
    from prodia_async.emulator._server import Emulator  # noqa: PLC0415 - the other process needs none of it

    emulator = Emulator(**options)
    try:
        await emulator.start()
    except OSError as error:
        _say({"error": [error.errno, error.strerror or str(error)]})
        return
    _say({"base_url": emulator.base_url})
    await asyncio.to_thread(sys.stdin.read)
    await emulator.aclose()
    with contextlib.suppress(OSError):  # nobody may be left to hear it
        _say(asdict(emulator.stats()))


def _say(told: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(told) + "\n")
    sys.stdout.flush()
