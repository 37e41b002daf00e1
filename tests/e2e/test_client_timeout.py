"""A time limit for all jobs of a client."""

from __future__ import annotations

import json
import math

import pytest

from prodia_async import InputError, Job, Prodia, ProdiaTimeoutError
from prodia_async.batch import run_batch
from prodia_async.emulator import Emulator

PING = "inference.ping.v1"
SLOW = {"emulator": {"latency": 3}}


def client(emulator, timeout):
    return Prodia(base_url=emulator.base_url, token=emulator.token, timeout=timeout)


async def late(prodia, **given):
    with pytest.raises(ProdiaTimeoutError, match=r"timeout=0\.3 s"):
        await prodia.run(PING, SLOW, **given)


async def late_in_a_block(prodia):
    async with prodia.as_completed([Job(PING, SLOW)]) as outcomes:
        [outcome] = [outcome async for outcome in outcomes]
    with pytest.raises(ProdiaTimeoutError, match=r"timeout=0\.3 s"):
        outcome.unwrap()


async def late_in_a_stream(prodia):
    with pytest.raises(ProdiaTimeoutError, match=r"timeout=0\.3 s"):
        await prodia.stream(PING, SLOW).open()


async def late_in_a_copy(prodia):
    await late(prodia.with_options(price=True))


@pytest.mark.parametrize("way", [late, late_in_a_block, late_in_a_stream, late_in_a_copy])
async def test_a_job_without_a_limit_has_the_client_s(way):
    async with Emulator() as emulator, client(emulator, 0.3) as prodia:
        await way(prodia)


async def test_what_a_call_says_goes_first():
    soon = {"emulator": {"latency": 0.3}}
    async with Emulator() as emulator, client(emulator, 0.05) as prodia:
        await late(prodia, timeout=0.3)
        assert (await prodia.run(PING, soon, timeout=math.inf)).id
        handle = await prodia.submit(PING, soon, timeout=30)
        assert (await handle.result()).id  # a handle's own limits are minutes
        unbounded = prodia.with_options(timeout=math.inf)
        assert (await unbounded.run(PING, soon)).id


async def test_it_is_for_each_job_of_a_batch(tmp_path):
    lines = [{"type": PING, "config": SLOW}, {"type": PING}]
    (tmp_path / "jobs.jsonl").write_text("\n".join(map(json.dumps, lines)))
    async with Emulator(latency=0.0) as emulator, client(emulator, 0.5) as prodia:
        report = await run_batch(tmp_path / "jobs.jsonl", prodia=prodia, out=tmp_path / "out")
    assert (report.done, report.failed) == (1, 1)


@pytest.mark.parametrize("wrong", [0, -1, "5", True, math.nan])
def test_a_limit_that_is_none_is_refused(wrong):
    with pytest.raises(InputError, match=r"timeout cannot be .*: it takes seconds above 0, such as 30"):
        Prodia(token="t", timeout=wrong)
