"""Cancel `stream` at each step that it takes, opening, reading and closing: nothing is left behind."""

from __future__ import annotations

import os
import pathlib
from collections.abc import AsyncIterator
from typing import Any

import pytest
from support.cancelling import WAYS, Action, cancel_at_every_await, needs_descriptors

from prodia_async import Fixed, JobFailedError, Prodia
from prodia_async._stream import Stream

BYTES = "emulator.bytes.v1"
ECHO = "emulator.echo.v1"


async def read_all(reply: Stream) -> int:
    size = 0
    async for output in reply:
        async for chunk in output:
            size += len(chunk)
    return size


async def plain(prodia: Prodia, out: pathlib.Path) -> None:
    async with prodia.stream(BYTES, {"size": 1000}) as reply:
        assert await read_all(reply) == 1000


async def large(prodia: Prodia, out: pathlib.Path) -> None:
    async with prodia.stream(BYTES, {"size": 1 << 20, "outputs": 2}) as reply:
        assert await read_all(reply) == 2 << 20


async def by_hand(prodia: Prodia, out: pathlib.Path) -> None:
    reply = prodia.stream(BYTES, {"size": 500_000, "outputs": 2})
    await reply.open()
    try:
        assert reply.output is not None
        await anext(reply.output)
        await anext(reply)
        assert await read_all(reply) == 0
    finally:
        await reply.aclose()


async def left_early(prodia: Prodia, out: pathlib.Path) -> None:
    async with prodia.stream(BYTES, {"size": 8 << 20}) as reply:
        assert await anext(await anext(reply))


async def never_read(prodia: Prodia, out: pathlib.Path) -> None:
    async with prodia.stream(BYTES, {"size": 2 << 20, "emulator": {"job_part": "last"}}):
        pass


async def shed(prodia: Prodia, out: pathlib.Path) -> None:
    orders = {"shed": 1, "retry_after": 0.01, "key": os.urandom(4).hex()}
    async with prodia.stream(BYTES, {"size": 1000, "emulator": orders}, timeout=30) as reply:
        assert await read_all(reply) == 1000


async def failing(prodia: Prodia, out: pathlib.Path) -> None:
    with pytest.raises(JobFailedError):
        await prodia.stream(BYTES, {"emulator": {"fail": "no", "fail_200": True}}).open()


async def chunks() -> AsyncIterator[bytes]:
    for _ in range(3):
        yield bytes(70_000)


async def uploading(prodia: Prodia, out: pathlib.Path) -> None:
    path = out.parent / "input.bin"
    async with prodia.stream(ECHO, inputs=[path, ("stream.bin", chunks())]) as reply:
        assert await read_all(reply) == 210_000 + 204_800


async def spooling(prodia: Prodia, out: pathlib.Path) -> None:
    async with prodia.stream(ECHO, inputs=[("stream.bin", chunks())], spool=True) as reply:
        assert await read_all(reply) == 210_000


ACTIONS: list[Action] = [plain, large, by_hand, left_early, never_read, shed, failing, uploading, spooling]


@needs_descriptors
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("action", ACTIONS, ids=lambda action: action.__name__)
async def test_cancelled_at_every_await(action: Action, way: Any, tmp_path: pathlib.Path) -> None:
    await cancel_at_every_await(action, way, tmp_path, Fixed(8) if action is shed else None)
