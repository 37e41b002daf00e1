"""Cancel `run` and `as_completed` at each step that they take: nothing is left behind."""

from __future__ import annotations

import os
import pathlib
from collections.abc import AsyncIterator
from typing import Any

import pytest
from support.cancelling import PARALLEL, WAYS, Action, cancel_at_every_await, needs_descriptors

from prodia_async import Fixed, Job, Prodia

ECHO = "emulator.echo.v1"


async def stream() -> AsyncIterator[bytes]:
    for _ in range(3):
        yield bytes(70_000)


async def run_plain(prodia: Prodia, out: pathlib.Path) -> None:
    await prodia.run("emulator.bytes.v1", {"size": 1000}, to=out)


async def run_shed(prodia: Prodia, out: pathlib.Path) -> None:
    await prodia.run(
        "inference.ping.v1", {"emulator": {"shed": 1, "retry_after": 0.01, "key": os.urandom(4).hex()}}
    )


async def run_failing(prodia: Prodia, out: pathlib.Path) -> None:
    fault = {"status": 503, "times": 1, "retry_after": 0.01, "key": os.urandom(4).hex()}
    await prodia.run("inference.ping.v1", {"emulator": fault}, to=out)


async def run_files(prodia: Prodia, out: pathlib.Path) -> None:
    path = out.parent / "input.bin"
    with path.open("rb") as opened:
        inputs = [path, ("named.bin", b"x" * 70_000, "image/png"), ("open.bin", opened)]
        await prodia.run(ECHO, inputs=inputs, to=out, timeout=30)


async def run_spooled(prodia: Prodia, out: pathlib.Path) -> None:
    await prodia.run(ECHO, inputs=[("stream.bin", stream())], to=out / "one.bin", spool=True)


async def run_spooled_with_a_large_output(prodia: Prodia, out: pathlib.Path) -> None:
    async def large() -> AsyncIterator[bytes]:
        yield bytes(2 << 20)

    await prodia.run(ECHO, inputs=[("stream.bin", large())], to=out, spool=True)


async def run_streamed(prodia: Prodia, out: pathlib.Path) -> None:
    await prodia.run(ECHO, inputs=[("stream.bin", stream())])


async def run_large_output(prodia: Prodia, out: pathlib.Path) -> None:
    await prodia.run("emulator.bytes.v1", {"size": 3 << 20, "outputs": 2}, to=out)


async def many(prodia: Prodia, out: pathlib.Path) -> None:
    jobs = (Job("inference.ping.v1", custom_id=str(n)) for n in range(PARALLEL))
    async with prodia.as_completed(jobs, to=out) as outcomes:
        assert len([outcome async for outcome in outcomes]) == PARALLEL


ACTIONS: list[Action] = [
    run_plain,
    run_shed,
    run_failing,
    run_files,
    run_spooled,
    run_spooled_with_a_large_output,
    run_streamed,
    run_large_output,
    many,
]


@needs_descriptors
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("action", ACTIONS, ids=lambda action: action.__name__)
async def test_cancelled_at_every_await(action: Action, way: Any, tmp_path: pathlib.Path) -> None:
    # A service that only sheds is asked ever more seldom by the limiter that learns: it would take minutes.
    await cancel_at_every_await(action, way, tmp_path, Fixed(8) if action is run_shed else None)
