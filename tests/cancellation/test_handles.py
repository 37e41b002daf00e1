"""Cancel `submit`, `handle.result` and their like at each step that they take: nothing is left behind."""

from __future__ import annotations

import os
import pathlib
from typing import Any

import pytest
from support.cancelling import WAYS, Action, cancel_at_every_await, needs_descriptors

from prodia_async import Fixed, JobFailedError, Prodia

BYTES = "emulator.bytes.v1"
ECHO = "emulator.echo.v1"


async def submitted(prodia: Prodia, out: pathlib.Path) -> None:
    await prodia.submit(BYTES, {"size": 1000})


async def collected(prodia: Prodia, out: pathlib.Path) -> None:
    handle = await prodia.submit(BYTES, {"size": 300_000, "outputs": 2})
    result = await handle.result(to=out)
    assert len(result.outputs) == 2


async def in_one_call(prodia: Prodia, out: pathlib.Path) -> None:
    result = await prodia.run(BYTES, {"size": 3 << 20}, mode="async", to=out, timeout=30)
    assert result.outputs[0].size == 3 << 20


async def asked(prodia: Prodia, out: pathlib.Path) -> None:
    handle = prodia.handle((await prodia.submit(BYTES, {"size": 1000})).id)
    assert await handle.wait() == "processed"
    [name] = await handle.outputs()
    assert (await handle.download(name, to=out)).size == 1000


async def uploaded(prodia: Prodia, out: pathlib.Path) -> None:
    handle = await prodia.submit(ECHO, inputs=[out.parent / "input.bin"])
    assert (await handle.result()).outputs[0].size == 204_800


async def shed(prodia: Prodia, out: pathlib.Path) -> None:
    orders = {"shed": 1, "retry_after": 0.01, "poll_status": 500, "poll_times": 1, "key": os.urandom(4).hex()}
    await (await prodia.submit(BYTES, {"size": 1000, "emulator": orders}, timeout=30)).result()


async def failing(prodia: Prodia, out: pathlib.Path) -> None:
    handle = await prodia.submit(BYTES, {"emulator": {"fail": "no"}})
    with pytest.raises(JobFailedError):
        await handle.result()


ACTIONS: list[Action] = [submitted, collected, in_one_call, asked, uploaded, shed, failing]


@needs_descriptors
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("action", ACTIONS, ids=lambda action: action.__name__)
async def test_cancelled_at_every_await(action: Action, way: Any, tmp_path: pathlib.Path) -> None:
    await cancel_at_every_await(action, way, tmp_path, Fixed(8) if action is shed else None)
