"""What callers give is checked where it is given: a bad value fails its own job, before anything is sent."""

from __future__ import annotations

import asyncio
import math
import uuid

import pytest
from support.leaks import TOKEN, client
from support.replies import DONE
from support.servers import answer, serving

from prodia_async import InputError, Job, Prodia
from prodia_async.emulator import Emulator

TYPE = "inference.test.v1"
BAD_OF_A_JOB = {
    "priority": ["high", "5", 1.5, True, [], math.nan],
    "custom_id": [1.5, b"x", object(), ("a",), True],
    "mode": ["Async", "asnyc", 5, ["sync"]],
    "accept": [5, "png", b"image/png", ["image/png"]],
    "config": [5, "prompt", [1], {1: 2}, {"a": object()}, {"a": math.nan}],
    "inputs": [5, "photo.jpg", [5], [("a",)], {"a": object()}],
}
BAD_OF_A_CALL = {
    "timeout": ["5", 0, -1, math.nan, [], True],
    "price": ["yes", 2, []],
    "spool": ["yes", 2],
    "expect_continue": ["yes", []],
    "to": [7, b"out", ["out"], ""],
}
BAD_OF_A_CLIENT = [
    {"timeouts": 30},
    {"retry": 3},
    {"limiter": 8},
    {"limits": 5},
    {"polling": 2},
    {"max_concurrency": "8"},
    {"headers": {"X-Number": 5}},
    {"headers": "X-Number: 5"},
    {"on_event": 5},
    {"base_url": 5},
    {"token": 5},
    {"user_agent": 5},
    {"price": "yes"},
    {"session_options": 5},
]


def cases(table):
    return [pytest.param(name, value, id=f"{name}-{value!r:.20}") for name in table for value in table[name]]


@pytest.mark.parametrize(("name", "value"), cases(BAD_OF_A_JOB | BAD_OF_A_CALL))
async def test_a_bad_argument_fails_its_own_call_and_sends_nothing(name, value):
    async with serving(answer(DONE)) as server, client(server.base_url) as prodia:
        bad, good = await asyncio.gather(
            prodia.run(TYPE, **{name: value}), prodia.run(TYPE), return_exceptions=True
        )
        assert type(bad) is InputError
        assert len(str(bad)) < 500
        assert bad.may_have_run is False
        assert good.outputs
        assert len(server.requests) == 1
        assert (prodia.stats().jobs, prodia.stats().failed) == (2, 1)


@pytest.mark.parametrize(("name", "value"), cases(BAD_OF_A_JOB))
async def test_a_bad_job_among_many_is_an_outcome_of_its_own(name, value):
    jobs = [Job("inference.ping.v1", custom_id=str(number)) for number in range(20)]
    jobs[7] = Job(TYPE, **{name: value})
    async with (
        Emulator(latency=0) as emulator,
        Prodia(base_url=emulator.base_url, token=emulator.token) as prodia,
        prodia.as_completed(jobs) as outcomes,
    ):
        errors = [outcome.error async for outcome in outcomes if outcome.error]
    assert [type(error) for error in errors] == [InputError]


@pytest.mark.parametrize("options", BAD_OF_A_CLIENT, ids=str)
def test_a_client_says_the_right_form(options):
    with pytest.raises(InputError) as caught:
        Prodia(**{"token": TOKEN} | options)
    assert next(iter(options)) in str(caught.value)


def test_a_copy_says_the_right_form():
    with pytest.raises(InputError, match=r"retry cannot be 3: it takes Retry\(\.\.\.\), such as"):
        Prodia(token=TOKEN).with_options(retry=3)


async def test_a_long_value_is_quoted_short():
    with pytest.raises(InputError) as caught:
        await Prodia(token=TOKEN).run(TYPE, mode="x" * 100_000)
    assert len(str(caught.value)) < 500


async def test_numbers_and_uuids_name_outputs_by_their_text(tmp_path):
    named = uuid.uuid4()
    async with serving(answer(DONE)) as server, client(server.base_url) as prodia:
        for custom_id in (7, named):
            result = await prodia.run(TYPE, custom_id=custom_id, to=tmp_path)
            assert result.outputs[0].path.stem == str(custom_id)


async def test_a_path_is_meant_from_where_it_was_said(tmp_path, monkeypatch):
    (tmp_path / "in.txt").write_bytes(b"here")
    monkeypatch.chdir(tmp_path)
    async with (
        Emulator(latency=0) as emulator,
        Prodia(base_url=emulator.base_url, token=emulator.token) as prodia,
    ):
        run = prodia.run("inference.emulator.echo.v1", inputs=["in.txt"], to="out/")
        monkeypatch.chdir("/")
        result = await run
    assert result.outputs[0].path.parent == tmp_path / "out"
    assert result.outputs[0].path.read_bytes() == b"here"
