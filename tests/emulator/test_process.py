"""An emulator in a process of its own: it serves, tells its account, and ends with whoever started it."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import anyio
import pytest

import prodia_async
from prodia_async import Prodia
from prodia_async.emulator import EmulatorProcess

PING = "inference.ping.v1"


def is_alive(number):
    try:
        os.kill(number, 0)
    except ProcessLookupError:
        return False
    return True


async def gone(number):
    with anyio.fail_after(30):
        while is_alive(number):
            await asyncio.sleep(0.02)


async def test_its_account_is_not_asked_for_through_a_proxy(monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    async with EmulatorProcess(latency=0) as emulator:
        async with Prodia(base_url=emulator.base_url, token=emulator.token) as prodia:
            await prodia.run(PING)
        assert emulator.stats().completed == 1


async def test_it_serves_and_keeps_its_account():
    options = {"capacity": 4, "latency": 0, "token": "own", "price": {PING: 2.0}, "forbidden": {"poor"}}
    emulator = EmulatorProcess(**options)
    assert emulator.token == "own"
    with pytest.raises(RuntimeError, match="not running"):
        _ = emulator.base_url
    async with emulator, Prodia(base_url=emulator.base_url, token="own", price=True) as prodia:
        assert (await prodia.run(PING)).price.dollars == 2.0
        number = emulator._process.pid
        assert number != os.getpid()
        running = emulator.stats()
        assert (running.completed, running.capacity) == (1, 4)
        await prodia.run(PING)
        with pytest.raises(RuntimeError, match="once"):
            await emulator.start()
    assert not is_alive(number)
    assert (emulator.stats().completed, emulator.stats().dollars) == (2, 4.0)
    await emulator.aclose()


async def test_what_it_cannot_do_is_told():
    with pytest.raises(ValueError, match="latency= takes seconds, at least 0"):
        EmulatorProcess(latency=-1)
    with pytest.raises(ValueError, match="ssl= takes None here"):
        EmulatorProcess(ssl=object())
    with socket.create_server(("127.0.0.1", 0)) as taken:
        emulator = EmulatorProcess(port=taken.getsockname()[1])
        with pytest.raises(OSError, match="address already in use"):
            await emulator.start()
        await gone(emulator._process.pid)


async def test_it_does_not_hear_the_terminals_signal():
    async with EmulatorProcess(latency=0) as emulator:
        os.kill(emulator._process.pid, signal.SIGINT)
        async with Prodia(base_url=emulator.base_url, token=emulator.token) as prodia:
            assert (await prodia.run(PING)).id


async def test_one_that_was_killed_leaves_its_client_unharmed():
    async with EmulatorProcess(latency=0) as emulator:
        os.kill(emulator._process.pid, signal.SIGKILL)
        await gone(emulator._process.pid)
    assert emulator.stats().requests == 0


def test_it_ends_with_the_process_that_started_it():
    program = (
        "import asyncio, os, sys\n"
        "from prodia_async.emulator import EmulatorProcess\n"
        "async def main():\n"
        "    async with EmulatorProcess() as emulator:\n"
        "        print(emulator._process.pid, flush=True)\n"
        "        await asyncio.sleep(60)\n"
        "asyncio.run(main())\n"
    )
    environment = os.environ | {"PYTHONPATH": str(Path(prodia_async.__file__).parents[1])}
    words = [sys.executable, "-c", program]
    with subprocess.Popen(words, env=environment, text=True, stdout=subprocess.PIPE) as process:
        number = int(process.stdout.readline())
        assert is_alive(number)
        process.kill()
    asyncio.run(gone(number))


async def test_a_program_that_starts_one_loads_neither_server_nor_pictures():
    program = (
        "import asyncio, sys\n"
        "from prodia_async.emulator import EmulatorProcess\n"
        "async def main():\n"
        "    async with EmulatorProcess() as emulator:\n"
        "        assert emulator.base_url\n"
        "asyncio.run(main())\n"
        "assert not {'PIL', 'av', 'prodia_async.emulator._server'} & sys.modules.keys()\n"
    )
    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-c", program],
        check=False,
        timeout=120,
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, "")


async def test_what_drawing_costs_is_in_the_account():
    """Jobs without a latency hold their slots for as long as drawing takes; pings take none of it."""
    drawn = {"prompt": "x", "width": 512, "height": 512}
    async with (
        EmulatorProcess(latency=0, capacity=8) as emulator,
        Prodia(base_url=emulator.base_url, token=emulator.token) as prodia,
    ):
        await prodia.run(PING)
        assert emulator.stats().drawing_seconds == 0
        for seed in range(4):
            await prodia.run("any.txt2img.v1", drawn | {"seed": seed})
    stats = emulator.stats()
    assert 0 < stats.drawing_seconds <= stats.busy_seconds
