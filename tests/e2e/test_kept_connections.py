"""What comes on a kept connection between two requests is the answer to neither."""

from __future__ import annotations

import asyncio

import pytest
from support.expect import JOB, until
from support.leaks import client
from support.replies import DONE, JOB_ID, PNG, Reply, in_json, job, job_part, multipart, output, shed
from support.servers import answer, serving

pytestmark = pytest.mark.usefixtures("nothing_left")

UNASKED = {
    "another result": multipart(job_part(job(id="another")), output(b"another")),
    "429": shed(300),
    "408": in_json(408, {"message": "you said nothing for long"}),
    "headers alone": Reply(200, b"", DONE.headers, length=1000),
    "102": Reply(102, b"", framing="close"),
    "no HTTP": Reply(200, b"", {"bad header\0": "x"}),
}


def kept(prodia):
    """Return the protocols of the connections that are kept for further requests."""
    connector = prodia._engines.peek().transport._session.connector
    return [protocol for group in connector._conns.values() for protocol, _ in group]


@pytest.mark.parametrize("what", UNASKED)
@pytest.mark.parametrize("read", [True, False])
async def test_an_answer_that_nobody_asked_for_is_taken_for_none(what, read):
    """It was read before the next request, or waits to be read."""
    done, sent = asyncio.Event(), asyncio.Event()

    async def twice(connection, request):
        await answer(DONE)(connection, request)
        await done.wait()
        await connection.write_reply(UNASKED[what])
        sent.set()

    async with serving(twice, answer(DONE)) as server, client(server.base_url) as prodia:
        await prodia.run(JOB)
        [protocol] = kept(prodia)
        if not read:
            protocol.transport.pause_reading()
        done.set()
        await sent.wait()
        if read:
            await until(lambda: protocol.should_close)
        else:
            protocol.transport.resume_reading()
        result = await prodia.run(JOB)
        assert len(server.requests) == server.connections == 2
    assert [attempt.verdict for attempt in result.attempts] == ["done"]
    assert (result.id, result.outputs[0].data) == (JOB_ID, PNG)


async def test_a_connection_on_which_nothing_came_is_used_again():
    async with serving(answer(DONE)) as server, client(server.base_url) as prodia:
        for _ in range(3):
            await prodia.run(JOB)
        assert (len(server.requests), server.connections) == (3, 1)
