"""A token that a function gives: asked before the first request, and once more for all that meet a 401."""

from __future__ import annotations

import asyncio
import pickle
import threading
import traceback

import pytest
from support.expect import JOB
from support.leaks import TOKEN, client
from support.replies import DONE, JOB_ID, Reply, in_json, job, shed
from support.servers import answer, serving

from prodia_async import AuthenticationError, ClientClosedError, Job, Polling, Prodia, ProdiaTimeoutError
from prodia_async._http import bearer

pytestmark = pytest.mark.usefixtures("nothing_left")

TYPE = "inference.test.v1"
OLD, NEW = f"{TOKEN}-1", f"{TOKEN}-2"


class Tokens:
    """Gives one token after another, and the last one for ever; each takes some time."""

    def __init__(self, *tokens, seconds=0.0):
        self.tokens = list(tokens)
        self.seconds = seconds
        self.threads = []

    def __call__(self):
        self.threads.append(threading.current_thread())
        return self.tokens.pop(0) if len(self.tokens) > 1 else self.tokens[0]

    async def later(self):
        await asyncio.sleep(self.seconds)
        return self()


class Gate:
    """Answers as the steps say to whom it knows, and 401 to all others; it repeats the token that it saw."""

    def __init__(self, *steps, knows=(NEW,)):
        self.steps = list(steps)
        self.knows = set(knows)
        self.refused = 0

    async def __call__(self, connection, request):
        token = request.headers.get("authorization", "").removeprefix("Bearer ")
        if token not in self.knows:
            self.refused += 1
            await answer(in_json(401, {"error": f"bad token {token}"}))(connection, request)
            return
        step = self.steps.pop(0) if len(self.steps) > 1 else self.steps[0]
        await step(connection, request)


@pytest.mark.parametrize("kind", ["plain", "async"])
async def test_it_is_asked_before_the_first_request_and_not_again(kind):
    tokens = Tokens(NEW)
    given = tokens if kind == "plain" else tokens.later
    async with serving(answer(DONE)) as server, client(server.base_url, token=given) as prodia:
        await asyncio.gather(*(prodia.run(JOB) for _ in range(5)))
        await prodia.with_options(price=True).run(JOB)
        assert {request.headers["authorization"] for request in server.requests} == {f"Bearer {NEW}"}
        assert len(server.requests) == 6
    assert len(tokens.threads) == 1
    assert (tokens.threads[0] is threading.main_thread()) == (kind == "async")


async def test_it_is_asked_again_on_a_401():
    tokens, gate = Tokens(OLD, NEW), Gate(answer(DONE))
    async with serving(gate) as server, client(server.base_url, token=tokens) as prodia:
        result = await prodia.run(JOB)
        assert [attempt.status for attempt in result.attempts] == [401, 200]
        assert TOKEN not in result.attempts[0].reason
        assert not result.attempts[0].may_have_run
        await prodia.run(JOB)
        assert (gate.refused, len(tokens.threads), prodia.stats().completed) == (1, 2, 2)


async def test_a_token_that_runs_out_again_is_asked_for_again():
    gate = Gate(answer(DONE), knows=())
    tokens = Tokens(*[f"{TOKEN}-{number}" for number in range(1, 41)])
    async with serving(gate) as server, client(server.base_url, token=tokens) as prodia:
        for number in range(2, 41):
            gate.knows = {f"{TOKEN}-{number}"}
            await prodia.run(JOB)
        assert gate.refused == 39
        assert prodia._options.redact(f"{TOKEN}-40 {TOKEN}-20") == "*** ***"


@pytest.mark.parametrize("second", [NEW, OLD])
async def test_a_second_401_is_final(second):
    tokens, gate = Tokens(OLD, second), Gate(answer(DONE), knows=())
    async with serving(gate) as server, client(server.base_url, token=tokens) as prodia:
        with pytest.raises(AuthenticationError) as caught:
            await prodia.run(JOB)
        assert caught.value.status == 401
        assert gate.refused == len(caught.value.attempts) == (2 if second == NEW else 1)
        assert len(tokens.threads) == 2
        assert TOKEN not in "".join(traceback.format_exception(caught.value))


async def test_a_token_that_is_a_text_is_not_tried_again():
    gate = Gate(answer(DONE))
    async with serving(gate) as server, client(server.base_url, token=OLD) as prodia:
        with pytest.raises(AuthenticationError):
            await prodia.run(JOB)
    assert gate.refused == 1


async def test_a_wave_asks_once():
    tokens, gate = Tokens(OLD, NEW, seconds=0.05), Gate(answer(DONE), knows=(OLD,))
    async with (
        serving(gate) as server,
        client(server.base_url, token=tokens.later, max_concurrency=64) as prodia,
    ):
        await prodia.run(JOB)
        gate.knows = {NEW}
        async with prodia.as_completed(Job(TYPE, custom_id=str(n)) for n in range(100)) as outcomes:
            results = [outcome.unwrap() async for outcome in outcomes]
        assert len(results) == 100
        assert gate.refused >= 1
        assert len(tokens.threads) == 2


async def test_a_job_that_leaves_takes_the_token_from_nobody():
    tokens = Tokens(NEW, seconds=0.2)
    async with serving(answer(DONE)) as server, client(server.base_url, token=tokens.later) as prodia:
        first = asyncio.create_task(prodia.run(JOB))
        await asyncio.sleep(0.05)
        others = [asyncio.create_task(prodia.run(JOB)) for _ in range(3)]
        await asyncio.sleep(0.05)
        first.cancel()
        await asyncio.gather(*others)
        with pytest.raises(asyncio.CancelledError):
            await first
        async with Prodia(base_url=server.base_url, token=Tokens(NEW, seconds=5).later) as late:
            with pytest.raises(ProdiaTimeoutError):
                await late.run(JOB, timeout=0.05)
    assert len(tokens.threads) == 1


async def test_questions_of_an_asynchronous_job_ask_again_too():
    tokens = Tokens(OLD, NEW)
    gate = Gate(
        answer(in_json(202, job("processing"))),
        answer(Reply(body=b"processed")),
        answer(in_json(200, job("completed"))),
        answer(Reply(body=b'["a.png"]')),
        answer(Reply(body=b"x")),
        knows=(OLD,),
    )
    polling = Polling(interval=0.01)
    async with serving(gate) as server, client(server.base_url, token=tokens, polling=polling) as prodia:
        handle = await prodia.submit(TYPE)
        gate.knows = {NEW}
        result = await handle.result()
        assert (result.id, result.outputs[0].data) == (JOB_ID, b"x")
        assert (gate.refused, len(tokens.threads)) == (1, 2)
        gate.knows = set()
        with pytest.raises(AuthenticationError):
            await prodia.handle("j").state()
        assert gate.refused == 2


def broken():
    raise OSError("the vault is sealed")


async def hanging():
    await asyncio.Event().wait()


async def cancelled():
    raise asyncio.CancelledError


@pytest.mark.parametrize(
    ("function", "says"),
    [
        (broken, "the vault is sealed"),
        (lambda: None, "must be text, not NoneType"),
        (lambda: b"x", "must be text, not bytes"),
        (lambda: "", "the token is empty"),
        (lambda: f"{TOKEN}\n{TOKEN}", "characters that cannot stand in a header"),
        (lambda: f"Bearer {TOKEN}", "copy it again, without 'Bearer'"),
        (lambda _: "x", "missing 1 required positional argument"),
        (hanging, "nothing within 0.05 s"),
        (cancelled, "it was cancelled"),
    ],
)
async def test_a_function_that_gives_none_fails_the_job_before_anything_is_sent(function, says, monkeypatch):
    if function is hanging:
        monkeypatch.setattr(bearer, "_MOST_TIME", 0.05)
    async with serving(answer(DONE)) as server, client(server.base_url, token=function) as prodia:
        for _ in range(2):
            with pytest.raises(AuthenticationError, match=says) as caught:
                await prodia.run(JOB)
            assert str(caught.value).startswith(f"{TYPE}")
            assert (caught.value.status, caught.value.may_have_run) == (None, False)
            assert TOKEN not in "".join(traceback.format_exception(caught.value))
        assert server.connections == 0
        assert prodia.stats().failed == 2


async def test_a_client_that_is_closed_waits_for_no_token():
    async with serving(answer(DONE)) as server:
        prodia = Prodia(base_url=server.base_url, token=hanging)
        task = asyncio.create_task(prodia.run(JOB))
        await asyncio.sleep(0.05)
        [unfinished] = await asyncio.wait_for(prodia.aclose(), 5)
        assert isinstance(unfinished.error, ClientClosedError)
        with pytest.raises(ClientClosedError):
            await task


async def test_a_job_that_waits_in_line_for_hours_may_ask_more_than_once():
    tokens = Tokens(*[f"{TOKEN}-{number}" for number in range(4)])
    gate = Gate(answer(shed(0)), answer(DONE), knows=(f"{TOKEN}-1",))

    async def step(connection, request):
        await gate(connection, request)
        if len(gate.steps) == 1:
            gate.knows = {f"{TOKEN}-2"}

    async with serving(step) as server, client(server.base_url, token=tokens) as prodia:
        result = await prodia.run(JOB)
    assert [attempt.status for attempt in result.attempts] == [401, 429, 401, 200]


def given():
    return NEW


async def test_a_function_is_pickled_and_shown_as_no_token():
    async with serving(answer(DONE)) as server:
        prodia = pickle.loads(pickle.dumps(Prodia(base_url=server.base_url, token=given)))
        assert NEW not in repr(prodia)
        async with prodia:
            await prodia.run(JOB)
            assert server.requests[0].headers["authorization"] == f"Bearer {NEW}"
