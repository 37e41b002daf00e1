"""aiohttp as a transport, without a client around it."""

from __future__ import annotations

import copy

import pytest
from support.leaks import TOKEN
from support.replies import DONE
from support.servers import answer, serving

from prodia_async._http.payload import BodyPayload, JsonBody
from prodia_async._http.sessions import AiohttpTransport, ConnectionSettings
from prodia_async._http.transport import Fault, Request
from prodia_async._settings import Token

pytestmark = pytest.mark.usefixtures("nothing_left")


class Silent:
    """Takes what a transport tells of its progress."""

    def __init__(self):
        self.told = []

    def __getattr__(self, name):
        return lambda: self.told.append(name)


@pytest.fixture
async def transport():
    opened = AiohttpTransport(ConnectionSettings(Token(TOKEN), {"User-Agent": "test"}, keepalive=10.0))
    yield opened
    await opened.aclose()


async def test_progress_is_told_in_order(transport):
    progress = Silent()
    async with serving(answer(DONE)) as server:
        reply = await transport.send(Request(server.base_url, {"x-own": "1"}, JsonBody(b"{}")), progress)
        assert (reply.status, reply.headers["content-type"]) == (200, DONE.headers["Content-Type"])
        body = b""
        while piece := await reply.read():
            body += piece
        await reply.aclose()
        assert body == DONE.body
        assert server.requests[0].headers["x-own"] == "1"
    assert progress.told == ["connected", "block_ready", "block_taken", "body_sent"]


async def test_a_closed_transport_sends_nothing(transport):
    await transport.aclose()
    async with serving(answer(DONE)) as server:
        with pytest.raises(Fault, match="the client was closed") as caught:
            await transport.send(Request(server.base_url, {}, JsonBody(b"{}")), Silent())
        assert server.connections == 0
    assert (caught.value.kind, caught.value.stale) == ("connect", False)


async def test_a_body_is_described_and_stays_one():
    payload = BodyPayload(JsonBody(b"{}"), Silent())
    assert payload.decode() == "<application/json, 2 bytes>"
    assert copy.deepcopy({"data": payload})["data"] is payload
