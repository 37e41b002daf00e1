"""Headers of a call's own, on all of its requests; and those of a reply, on what became of it."""

from __future__ import annotations

import copy
import pickle
from dataclasses import replace

import msgspec
import pytest
from support.expect import JOB
from support.leaks import TOKEN, client
from support.replies import DONE, JOB_ID, Reply, in_json, job, job_part, multipart, shed
from support.servers import answer, serving

from prodia_async import InputError, Job, JobResult, Polling, Prodia, ProdiaError, ProdiaTimeoutError, Retry
from prodia_async._plain import ReplyHeaders

pytestmark = pytest.mark.usefixtures("nothing_left")

TYPE = "inference.test.v1"
TAKEN = in_json(202, job("processing"))
ANSWERS = [
    TAKEN,
    Reply(body=b"processed"),
    in_json(200, job("completed")),
    Reply(body=b'["a.png"]'),
    Reply(body=b"x"),
]


async def ways(prodia, headers):
    """Have a job sent in each way there is."""
    yield await prodia.run(TYPE, headers=headers)
    async with prodia.stream(TYPE, headers=headers) as reply:
        async for output in reply:
            async for _ in output:
                pass
    yield reply.result
    async with prodia.as_completed([JOB, JOB], headers=headers) as outcomes:
        async for outcome in outcomes:
            yield outcome.unwrap()


async def test_headers_of_a_call_go_with_each_way_to_run_a_job():
    own = {"X-Team": "art", "x-all": "mine"}
    async with (
        serving(answer(DONE)) as server,
        client(server.base_url, headers={"X-All": "client", "X-Other": "1"}) as prodia,
    ):
        assert [result.id async for result in ways(prodia, own)] == [JOB_ID] * 4
        for request in server.requests:
            heard = request.headers
            assert (heard["x-team"], heard["x-all"], heard["x-other"]) == ("art", "mine", "1")
        assert len(server.requests) == 4
        await prodia.run(JOB)
        assert "x-team" not in server.requests[-1].headers
        assert server.requests[-1].headers["x-all"] == "client"


@pytest.mark.parametrize("way", ["handle", "run"])
async def test_headers_of_an_asynchronous_job_go_with_its_questions(way):
    polling = Polling(interval=0.01)
    async with (
        serving(*map(answer, ANSWERS)) as server,
        client(server.base_url, polling=polling) as prodia,
    ):
        own = {"X-Team": "art"}
        if way == "run":
            await prodia.run(TYPE, mode="async", headers=own)
        else:
            await (await prodia.submit(TYPE, headers=own)).result()
        assert [request.headers.get("x-team") for request in server.requests] == ["art"] * 5


OWNED = [
    "Authorization",
    "Accept",
    "content-type",
    "CONTENT-LENGTH",
    "Host",
    "Transfer-Encoding",
    "Connection",
]


@pytest.mark.parametrize(
    ("headers", "says"),
    [
        *[({name: "x"}, f"the header {name} is the client's own") for name in OWNED],
        ({"Authorization": "x"}, "use token="),
        ({"X": "a\r\nB: c"}, "cannot be sent"),
        ({"X": "a\0"}, "cannot be sent"),
        ({"X Y": "1"}, "cannot be sent"),
        ({"": "1"}, "cannot be sent"),
        ({"X": 1}, "headers cannot be of type dict: it takes a mapping"),
        ("X: secret-value", "headers cannot be of type str: it takes a mapping"),
    ],
)
async def test_headers_that_cannot_be_are_refused_before_anything_is_sent(headers, says):
    async with serving(answer(DONE)) as server, client(server.base_url) as prodia:
        for call in (
            lambda: prodia.run(TYPE, headers=headers),
            lambda: prodia.stream(TYPE, headers=headers).open(),
            lambda: prodia.submit(TYPE, headers=headers),
        ):
            with pytest.raises(InputError, match=says) as caught:
                await call()
            assert "secret" not in str(caught.value)
        for make in (
            lambda: prodia.as_completed([JOB], headers=headers),
            lambda: Prodia(token=TOKEN, headers=headers),
            lambda: prodia.with_options(headers=headers),
        ):
            with pytest.raises(InputError, match=says):
                make()
        assert server.connections == 0


SAID = {"X-Shard": "eu-1", "x-echo": f"Bearer {TOKEN}", TOKEN: "1"}


def saying(reply):
    return replace(reply, headers={**reply.headers, **SAID})


def assert_told(headers):
    assert headers["x-SHARD"] == "eu-1"
    assert (headers["X-Echo"], headers["***"]) == ("Bearer ***", "1")
    assert TOKEN not in f"{headers!r} {list(headers.items())}"


async def test_a_result_has_its_reply_s_headers():
    async with serving(answer(saying(DONE))) as server, client(server.base_url) as prodia:
        async for result in ways(prodia, None):
            assert_told(result.headers)


async def test_the_result_of_an_asynchronous_job_has_those_of_its_own_reply():
    answers = [*ANSWERS[:2], saying(ANSWERS[2]), *ANSWERS[3:]]
    async with (
        serving(*map(answer, answers)) as server,
        client(server.base_url, polling=Polling(interval=0.01)) as prodia,
    ):
        assert_told((await prodia.run(TYPE, mode="async")).headers)


@pytest.mark.parametrize(
    "reply",
    [
        in_json(400, {"error": "no"}),
        in_json(401, {"error": "no"}),
        shed(500),
        Reply(500),
        Reply(302),
        multipart(job_part(job("failed"))),
        Reply(body=b"a page", headers={"Content-Type": "text/html"}),
        replace(DONE, body=DONE.body[:-500], length=len(DONE.body)),
    ],
    ids=lambda reply: f"{reply.status}-{len(reply.body)}",
)
async def test_an_error_has_the_headers_of_the_reply_that_ended_the_job(reply):
    async with (
        serving(answer(saying(reply), then="close")) as server,
        client(server.base_url, retry=Retry(max_errors=0)) as prodia,
    ):
        with pytest.raises(ProdiaError) as caught:
            await prodia.run(TYPE)
    assert_told(caught.value.headers)
    found = getattr(caught.value, "result", None)
    if found is not None:
        assert_told(found.headers)
    for back in (pickle.loads(pickle.dumps(caught.value)), copy.deepcopy(caught.value)):
        assert_told(back.headers)
        assert TOKEN not in f"{vars(back)}"
    assert TOKEN not in f"{vars(caught.value)}"


async def test_an_error_without_a_reply_has_none(tmp_path):
    async with serving(answer(DONE)) as server, client(server.base_url) as prodia:
        for call in (prodia.run(TYPE, inputs=[tmp_path / "none"]), prodia.run("")):
            with pytest.raises(InputError) as caught:
                await call
            assert dict(caught.value.headers) == {}
    assert dict(ProdiaTimeoutError("late").headers) == {}


async def test_headers_are_made_when_they_are_looked_at_and_travel_without_the_token():
    async with serving(answer(saying(DONE))) as server, client(server.base_url) as prodia:
        result = await prodia.run(TYPE)
    kept = [value for value in result.__reduce__()[1] if isinstance(value, ReplyHeaders)]
    assert [TOKEN in headers.given() for headers in kept] == [True]  # as they came
    data = pickle.dumps(result)
    assert TOKEN.encode() not in data
    back = pickle.loads(data)
    assert_told(back.headers)
    assert (back, copy.deepcopy(result), copy.copy(result)) == (result, result, result)
    assert back != replace_headers(result)
    assert dict(JobResult("t", {}).headers) == {}
    assert TOKEN not in repr(kept)


def replace_headers(result):
    return msgspec.structs.replace(result, headers=ReplyHeaders({"a": "b"}))


async def test_headers_that_came_twice_are_both_there():
    async def twice(connection, request):
        await connection.read_body(request)
        connection.writer.write(b"HTTP/1.1 400 No\r\nX-A: 1\r\nx-a: 2\r\nContent-Length: 0\r\n\r\n")

    async with serving(twice) as server, client(server.base_url) as prodia:
        with pytest.raises(ProdiaError) as caught:
            await prodia.run(Job(TYPE))
    assert caught.value.headers.getall("X-A") == ["1", "2"]
