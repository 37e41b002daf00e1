"""Headers of a call's own, on all of its requests; and those of a reply, on what became of it."""

from __future__ import annotations

import pytest
from support.expect import JOB
from support.leaks import TOKEN, client
from support.replies import DONE, JOB_ID, Reply, in_json, job
from support.servers import answer, serving

from prodia_async import InputError, Polling, Prodia

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
