"""What callers give is checked where it is given: a bad value fails its own job, before anything is sent."""

from __future__ import annotations

import asyncio
import copy
import inspect
import logging
import math
import uuid

import pytest
from support.leaks import TOKEN, client
from support.replies import DONE
from support.servers import answer, serving

from prodia_async import (
    Adaptive,
    File,
    Fixed,
    InputError,
    Job,
    Limits,
    Polling,
    Prodia,
    Retry,
    Timeouts,
)
from prodia_async.batch import check_manifest, run_batch
from prodia_async.emulator import Emulator

TYPE = "inference.test.v1"
BAD_OF_A_JOB = {
    "priority": ["high", "5", 1.5, True, [], math.nan],
    "custom_id": [1.5, b"x", object(), ("a",), True],
    "mode": ["Async", "asnyc", 5, ["sync"]],
    "accept": [5, "png", b"image/png", ["image/png"]],
    "config": [5, "prompt", [1], {1: 2}, {"a": object()}, {"a": math.nan}],
    "extra": [5, "jobs", [1], {1: 2}, {"type": "t"}, {"config": {}}, {"jobs": [object()]}],
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
    {"session_options": {5: 5}},
    {"headers": {"X Y": "5"}},
    {"headers": {"X": "a\r\nb"}},
    {"user_agent": "a\nb"},
    {"on_event": asyncio.sleep},
    {"transport": "aiohttp"},
    {"clock": 5},
    {"ssl_context": "tls"},
    {"pickle_token": "yes"},
    {"allow_insecure": 1},
]
BAD_OF_A_BATCH = {
    "manifest": [5, None, b"m.jsonl", ""],
    "out": [5, None, b"out", "", "a\0b"],
    "prodia": [5, None, Prodia],
    "type": [5, b"t"],
    "config": [5, "prompt", {1: 2}, {"a": math.nan}],
    "accept": [5, "png"],
    "mode": ["Async", None, 5],
    "shard": [5, "3", "0/3", ("3", "10")],
    "allow_outside": ["yes", 2],
    "retry_failed": ["yes", 2],
    "only_failed": ["yes", 2],
    "price": ["yes", 2],
    "max_spend": ["5", -1, math.nan, math.inf, True],
    "prices": [5, {"t": "5"}, {5: 5}, {"t": -1}],
    "timeout": ["5", 0, math.nan],
    "resend_unknown": ["1", -1, 1.5, True],
    "give_up_after": ["5", 0, math.nan],
    "stop": [True, print],
    "on_progress": [5, asyncio.sleep],
    "on_problem": [5, asyncio.sleep],
}
BAD_OF_A_HANDLE = [
    ("state", {"timeout": "5"}),
    ("wait", {"timeout": 0}),
    ("outputs", {"timeout": math.nan}),
    ("result", {"to": 7}),
    ("result", {"price": "yes"}),
    ("result", {"timeout": True}),
    ("download", {"name": 5}),
    ("download", {"name": None}),
    ("download", {"name": "a", "to": b"x"}),
    ("download", {"name": "a", "timeout": "5"}),
]
BAD_SETTINGS = [
    (kind, name, value)
    for kind in (Retry, Timeouts, Polling, Limits, Adaptive, Fixed)
    for name in kind.__struct_fields__
    for value in ("5", True, [], -1)
]


async def coroutine_function(_):
    """Return no sink."""


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


@pytest.mark.parametrize("options", BAD_OF_A_CLIENT, ids=lambda options: next(iter(options)))
def test_a_client_says_the_right_form(options):
    with pytest.raises(InputError) as caught:
        Prodia(**{"token": TOKEN} | options)
    assert next(iter(options)) in str(caught.value)


@pytest.mark.parametrize(("name", "value"), cases(BAD_OF_A_BATCH))
async def test_a_batch_says_the_right_form_and_sends_nothing(tmp_path, name, value):
    manifest = tmp_path / "m.jsonl"
    manifest.write_text('{"type": "inference.test.v1"}\n')
    async with serving(answer(DONE)) as server, client(server.base_url) as prodia:
        given = {"manifest": manifest, "out": tmp_path / "out", "prodia": prodia} | {name: value}
        with pytest.raises(InputError) as caught:
            await run_batch(**given)
        assert len(str(caught.value)) < 500
        if name in inspect.signature(check_manifest).parameters:
            with pytest.raises(InputError):
                await check_manifest(**{"manifest": manifest, name: value})
        assert server.requests == []


@pytest.mark.parametrize(("method", "given"), BAD_OF_A_HANDLE, ids=str)
async def test_a_handle_says_the_right_form_and_asks_nothing(method, given):
    async with serving(answer(DONE)) as server, client(server.base_url) as prodia:
        with pytest.raises(InputError):
            await getattr(prodia.handle("an-id"), method)(**given)
        assert server.requests == []


@pytest.mark.parametrize(
    "given", [{"job_id": 5}, {"job_id": " "}, {"job_id": "a", "custom_id": 1.5}], ids=str
)
def test_a_handle_is_made_of_text(given):
    with pytest.raises(InputError):
        Prodia(token=TOKEN).handle(**given)


@pytest.mark.parametrize(("kind", "name", "value"), BAD_SETTINGS)
def test_a_setting_of_another_kind_is_refused_where_it_is_made(kind, name, value):
    with pytest.raises(InputError, match=rf"{kind.__name__}\.{name} cannot be "):
        kind(**{name: value})


@pytest.mark.parametrize("to", [File("x.png"), "x.png", coroutine_function, 7, b"out", ""])
def test_what_cannot_take_many_jobs_outputs_is_refused_at_once(to):
    with pytest.raises(InputError):
        Prodia(token=TOKEN).as_completed([], to=to)


@pytest.mark.parametrize("made", [None, 5, "out", object(), print, []])
async def test_a_factory_that_makes_no_sink_is_told_before_anything_is_sent(made):
    async with serving(answer(DONE)) as server, client(server.base_url) as prodia:
        with pytest.raises(InputError, match=r"no sink: it needs open\(\), commit\(\) and discard\(\)"):
            await prodia.run(TYPE, to=lambda _: made)
        assert server.requests == []


class FailingTransport:
    async def send(self, request, progress):
        raise KeyError("a bug of the user's own")

    async def aclose(self):
        pass

    def close_dead(self):
        pass

    abandon = close_dead


async def test_what_a_users_transport_raises_is_recorded_as_what_it_was():
    attempts = []
    async with Prodia(
        token=TOKEN, transport=FailingTransport, on_event=lambda e: attempts.append(e.attempt)
    ) as prodia:
        with pytest.raises(KeyError):
            await prodia.run(TYPE)
    assert (attempts[-1].verdict, attempts[-1].may_have_run) == ("not_sent", False)
    assert "a bug of the user's own" in attempts[-1].reason


async def test_a_transport_that_cannot_be_made_is_told_as_a_bad_argument():
    with pytest.raises(InputError, match="the transport could not be made"):
        await Prodia(token=TOKEN, transport=lambda: {}["x"]).run(TYPE)


class FailingHandler(logging.Handler):
    def emit(self, record):
        raise OSError("the disk is full")


async def test_a_log_handler_that_fails_undoes_nothing(tmp_path):
    handler, log = FailingHandler(logging.DEBUG), logging.getLogger("prodia_async")
    log.addHandler(handler)
    log.setLevel(logging.DEBUG)
    try:
        async with serving(answer(DONE)) as server, client(server.base_url) as prodia:
            result = await prodia.run(TYPE, to=tmp_path)
            assert result.outputs[0].path.exists()
            assert prodia.stats().completed == 1
    finally:
        log.removeHandler(handler)
        log.setLevel(logging.NOTSET)


async def test_a_folder_for_many_is_meant_from_where_it_was_said(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    async with serving(answer(DONE)) as server, client(server.base_url) as prodia:
        many = prodia.as_completed([Job(TYPE)], to="out/")
        monkeypatch.chdir("/")
        async with many as outcomes:
            [outcome] = [outcome async for outcome in outcomes]
    assert outcome.result.outputs[0].path.parent == tmp_path / "out"


def test_a_copy_says_the_right_form():
    with pytest.raises(InputError, match=r"retry cannot be 3: it takes Retry\(\.\.\.\), such as"):
        Prodia(token=TOKEN).with_options(retry=3)


@pytest.mark.parametrize("made", [copy.copy, copy.deepcopy])
async def test_a_copy_of_a_client_is_a_client_that_shares_what_it_has(made):
    async with serving(answer(DONE)) as server, client(server.base_url) as prodia:
        copied = made({"a": prodia})["a"] if made is copy.deepcopy else made(prodia)
        assert (await copied.run(TYPE)).outputs
        assert prodia.stats().completed == 1
        await copied.aclose()
        assert (await prodia.run(TYPE)).outputs


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
