"""aiohttp as a transport, without a client around it."""

from __future__ import annotations

import collections
import copy
import errno
import inspect
import socket
import sys
import weakref

import aiohttp
import pytest
from support.leaks import TOKEN
from support.replies import DONE
from support.servers import answer, serving

from prodia_async._http.bearer import Bearer
from prodia_async._http.network import open_socket
from prodia_async._http.session import AiohttpTransport, BodyPayload
from prodia_async._http.transport import Body, Fault, Request
from prodia_async._settings import Token
from prodia_async._wire.job import Plan

pytestmark = pytest.mark.usefixtures("nothing_left")


class Silent:
    """Takes what a transport tells of its progress."""

    def __init__(self):
        self.told = []

    def __getattr__(self, name):
        return lambda: self.told.append(name)


def json_body(job):
    return Body(Plan("application/json", (), job, len(job)))


@pytest.fixture
async def transport():
    hidden = []
    opened = AiohttpTransport(Bearer(Token(TOKEN), hidden.append), {"User-Agent": "test"}, keepalive=10.0)
    yield opened
    await opened.aclose()


async def test_progress_is_told_in_order(transport):
    progress = Silent()
    async with serving(answer(DONE)) as server:
        reply = await transport.send(Request(server.base_url, {"x-own": "1"}, json_body(b"{}")), progress)
        assert (reply.status, reply.headers["content-type"]) == (200, DONE.headers["Content-Type"])
        body = b""
        while piece := await reply.read():
            body += piece
        await reply.aclose()
        assert body == DONE.body
        assert server.requests[0].headers["x-own"] == "1"
    assert progress.told == ["connected", "block_ready", "body_sent"]


async def at_once(connection, request):
    """Answer in one piece."""
    await connection.read_body(request)
    connection.writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")


class Frames:
    """Counts the Python functions that are entered, or resumed, by the package they belong to."""

    def __init__(self):
        self.entered = collections.Counter()

    def __enter__(self):
        sys.setprofile(self._note)
        return self

    def __exit__(self, *error):
        sys.setprofile(None)

    def _note(self, frame, event, argument):
        if event == "call":
            self.entered.update(part for part in PACKAGES if part in frame.f_code.co_filename)


PACKAGES = "/prodia_async/", "/aiohttp/", "/yarl/", "/weakref.py"


async def test_a_job_on_a_kept_connection_enters_few_frames(transport):
    """And but two of aiohttp's that a request of the same headers would not enter without us."""
    body = json_body(b'{"type": "inference.test.v1"}')
    async with serving(at_once) as server:
        request = Request(server.base_url, {"Accept": "*/*"}, body)
        for _ in range(3):
            with Frames() as ours:
                reply = await transport.send(request, Silent())
            assert await reply.read() == b"ok"
            with Frames() as end:
                assert reply.at_end
                await reply.aclose()
        headers = {"Accept": "*/*", "Authorization": "x", "Content-Type": body.plan.content_type}
        async with aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"User-Agent": "test"},
            timeout=aiohttp.ClientTimeout(total=None),
        ) as session:
            for _ in range(3):
                with Frames() as bare:
                    response = await session.post(server.base_url, data=body.plan.tail, headers=headers)
                await response.read()
    assert 0 < ours.entered["/prodia_async/"] <= 9
    assert ours.entered["/weakref.py"] <= 1
    assert ours.entered["/aiohttp/"] <= bare.entered["/aiohttp/"] + 2  # the look at a kept connection
    assert ours.entered["/yarl/"] <= bare.entered["/yarl/"]
    assert end.entered["/prodia_async/"] <= 2


async def test_a_closed_transport_sends_nothing(transport):
    await transport.aclose()
    async with serving(answer(DONE)) as server:
        with pytest.raises(Fault, match="the client was closed") as caught:
            await transport.send(Request(server.base_url, {}, json_body(b"{}")), Silent())
        assert server.connections == 0
    assert (caught.value.kind, caught.value.stale) == ("connect", False)


async def test_a_body_is_described_and_stays_one():
    payload = BodyPayload(json_body(b"{}"), Silent())
    assert payload.decode() == "<application/json, 2 bytes>"
    assert copy.deepcopy({"data": payload})["data"] is payload


async def test_what_is_asked_of_aiohttp_is_still_there(transport):
    """Not all of it is documented; _http/session.py uses each of these names."""
    asked = []

    class Connector(type(transport._session.connector)):
        async def connect(self, req, *args, **options):
            connection = await super().connect(req, *args, **options)
            protocol = connection.protocol
            asked.append((type(req.body), protocol.should_close, protocol.transport.is_closing()))
            return connection

    class Written(BodyPayload):
        async def write_with_length(self, writer, content_length):
            asked.append(writer.transport.is_closing())
            await super().write_with_length(writer, content_length)

    async with serving(at_once) as server, aiohttp.ClientSession(connector=Connector()) as session:
        response = await session.post(server.base_url, data=Written(json_body(b"{}"), Silent()))
        assert await response.content.readany() == b"ok"
        assert response.content.at_eof()
        assert response.closed
    assert asked == [(Written, False, False), False]
    parameters = list(inspect.signature(aiohttp.TCPConnector.connect).parameters)
    assert parameters[:2] == ["self", "req"]


def test_a_kernel_that_refuses_to_hold_less_is_no_obstacle(monkeypatch):
    def refuse(*_):
        raise OSError(errno.ENOPROTOOPT, "Protocol not available")

    class Socket(socket.socket):
        setsockopt = refuse

    monkeypatch.setattr(socket, "socket", Socket)
    opened = open_socket(weakref.WeakSet(), (socket.AF_INET, socket.SOCK_STREAM, 0, "", ()))
    opened.close()


async def test_a_chunk_that_cannot_be_read_is_told_as_such(transport):
    """Also by aiohttp's parser in Python, which raises its own error where it comes after the headers."""
    error = aiohttp.http.HttpProcessingError(message="of the answer, with a token")

    async with serving(at_once) as server:
        reply = await transport.send(Request(server.base_url, {}, json_body(b"{}")), Silent())
        assert await reply.read() == b"ok"
        reply._response.content.set_exception(error)
        with pytest.raises(Fault, match=r"^the answer cannot be read$") as caught:
            await reply.read()
        await reply.aclose()
    assert caught.value.kind == "protocol"
