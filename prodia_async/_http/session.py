"""aiohttp as a `Transport`: one session for one event loop, its sockets, bodies and faults."""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
import weakref
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any

import aiohttp
from aiohttp.payload import Payload
from yarl import URL

from prodia_async._errors import InputError
from prodia_async._http.bearer import Bearer, Hidden
from prodia_async._http.network import ERRORS, NAMES, Trust, fault_of, open_socket
from prodia_async._http.transport import Body, Fault, Reply, Request
from prodia_async._http.watch import CONTINUE
from prodia_async._loops import shielded

if TYPE_CHECKING:
    import socket
    from collections.abc import Mapping

    from aiohttp.abc import AbstractStreamWriter

    from prodia_async._http.watch import Watch
    from prodia_async._wire.address import Proxy

_url = lru_cache(maxsize=64)(URL)


class BodyPayload(Payload):
    """One attempt's body: writes it into aiohttp's connection, tells of it, and keeps a bad source's error.

    aiohttp cancels its writer without waiting for it, so `drop` is there to wait for.
    """

    def __init__(self, body: Body, progress: Watch) -> None:
        super().__init__(body, content_type=body.plan.content_type)
        self._size = body.plan.size
        self._body = body
        self._progress = progress
        self._over: asyncio.Future[None] | None = None
        self.sent = False
        self.error: InputError | None = None
        self.connection: asyncio.WriteTransport | None = None
        self.reused = False
        """Whether the connection, which the connector tells of, has carried a request before."""

    def __deepcopy__(self, memo: object) -> BodyPayload:
        """Stay one: tools that record requests copy their arguments, and would copy the loop with it."""
        return self

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:  # noqa: ARG002 - aiohttp's signature
        """Say what it is: a body that streams has no text."""
        return f"<{self.content_type}, {self.size} bytes>"

    async def write(self, writer: AbstractStreamWriter, content_length: int | None = None) -> None:  # noqa: ARG002
        """Write the whole body. Its size is exact: nothing is ever to be cut."""
        body, progress = self._body, self._progress
        over = self._over = asyncio.get_running_loop().create_future()
        self.connection = self.connection or getattr(writer, "transport", None)
        progress.connected()
        try:
            if not body.sources:
                progress.block_ready()
                await writer.write(body.plan.tail)
            else:

                async def emit(block: bytes) -> None:
                    progress.block_ready()
                    await writer.write(block)
                    progress.block_taken()

                await body.write(emit)
            self.sent = True
            progress.body_sent()
        except InputError as error:
            self.error = error
            raise OSError("the input failed") from error
        finally:
            over.set_result(None)

    write_with_length = write

    async def drop(self) -> None:
        """Break a connection whose upload is left unfinished; wait until the writer has closed its source.

        Closed in order, it would wait until its buffer is gone: for ever, where the server reads no more.
        """
        if self.connection is not None and not self.sent:
            self.connection.abort()
        if self._over is not None:
            await asyncio.wait([self._over])


class _Response(aiohttp.ClientResponse):
    """A response that waits for a 100 only so long."""

    def __init__(self, *args: Any, continue100: asyncio.Future[bool] | None = None, **options: Any) -> None:
        super().__init__(*args, continue100=continue100, **options)
        if continue100 is not None:

            def go_on() -> None:
                if not continue100.done():
                    continue100.set_result(True)

            timer = asyncio.get_running_loop().call_later(CONTINUE, go_on)
            continue100.add_done_callback(lambda _: timer.cancel())


class _Connector(aiohttp.TCPConnector):
    """Gives no connection out again on which something has come since its last answer.

    aiohttp would take that for the answer to the next request: another job's result, or a proxy's late 408.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._given: weakref.WeakKeyDictionary[object, int] = weakref.WeakKeyDictionary()
        """The connections that have carried a request, by their protocols, and their descriptors."""

    async def connect(self, req: aiohttp.ClientRequest, *args: Any, **options: Any) -> Any:
        """Return a connection, a kept one only if nothing is left in it, and tell the body which."""
        while True:
            connection = await super().connect(req, *args, **options)
            protocol: Any = connection.protocol
            descriptor = self._given.get(protocol)
            if descriptor is None:
                self._given[protocol] = protocol.transport.get_extra_info("socket").fileno()
                break
            if not (protocol.should_close or _is_readable(descriptor)):
                break
            connection.close()
        body = req.body
        if type(body) is BodyPayload:  # isinstance() asks the abstract class, in Python
            body.connection, body.reused = protocol.transport, descriptor is not None
        return connection


def _is_readable(descriptor: int) -> bool:
    """Tell whether bytes, or an end, have come."""
    if not hasattr(select, "poll"):  # pragma: no cover - Windows
        return bool(select.select([descriptor], [], [], 0)[0])
    poll = select.poll()  # select() takes no descriptor above 1023
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(0))


class AiohttpTransport:
    """A session and its connections. Make it in the loop that uses it.

    `keepalive` is in seconds; `trust`: None where no TLS is spoken; `session_options` are aiohttp's own.
    """

    def __init__(
        self,
        bearer: Bearer,
        headers: Mapping[str, str],
        keepalive: float,
        *,
        proxy: Proxy | None = None,
        trust: Trust | None = None,
        session_options: Mapping[str, Any] | None = None,
    ) -> None:
        self._secrets = bearer.headers
        self._for_proxy = Hidden()  # what it hears before a tunnel stands
        if proxy is not None and proxy.login is not None:
            heard = self._for_proxy if proxy.tunnels else self._secrets
            heard["Proxy-Authorization"] = proxy.login.header
        self._proxy = proxy
        self._trusted = "" if trust is None else trust.said
        self._sockets: weakref.WeakSet[socket.socket] = weakref.WeakSet()
        self._is_closed = False
        self._loop = asyncio.get_running_loop()
        options: dict[str, Any] = {
            # The limiter bounds connections: a queue inside aiohttp would look to it like a slow service.
            "connector": _Connector(
                limit=0,
                keepalive_timeout=keepalive,
                socket_factory=partial(open_socket, self._sockets),
                resolver=aiohttp.ThreadedResolver(NAMES),
                ssl=True if trust is None else trust.context,
            ),
            # Without the token: aiohttp sends a session's headers to a proxy too, when it asks for a tunnel.
            "headers": headers,
            "cookie_jar": aiohttp.DummyCookieJar(),
            "timeout": aiohttp.ClientTimeout(),  # none
            "auto_decompress": False,
            "proxy": None if proxy is None else proxy.url,
            "response_class": _Response,
        }
        self._session = aiohttp.ClientSession(**(options | dict(session_options or {})))

    async def send(self, request: Request, progress: Watch) -> Reply:
        """Send the request and return the reply once its headers are there. Raises Fault or InputError."""
        if self._is_closed:
            raise Fault("connect", "the client was closed")
        if request.body is None:
            method, url, payload = "GET", URL(request.url, encoded=True), None
        else:
            method, url, payload = "POST", _url(request.url), BodyPayload(request.body, progress)
        try:
            response = await self._session.request(
                method,
                url,
                data=payload,
                headers={**request.headers, **self._secrets},
                proxy_headers=self._for_proxy,
                allow_redirects=False,
                expect100=request.expects,
            )
            return AiohttpReply(response, payload)
        except GeneratorExit:  # the loop was killed: nothing can be awaited any more
            raise
        except ERRORS as error:
            stale = payload is not None and payload.reused and payload.sent
            broken = payload and payload.error
            failure = broken or fault_of(error, self._proxy, self._trusted, stale=stale)
        except BaseException:
            if payload is not None:
                await shielded(payload.drop())
            raise
        if payload is not None:
            await shielded(payload.drop())
        raise failure  # outside the handler: aiohttp's error, whose repr shows the token, must be no context

    async def aclose(self) -> None:
        """Close the session and its connections."""
        self._is_closed = True
        await self._session.close()

    def close_dead(self) -> None:
        """Close what a loop that is gone has left, so that nothing warns of it when it is freed.

        asyncio's transports cannot be closed without their loop, except through a private method.
        """
        transports = getattr(self._loop, "_transports", {})
        for opened in list(self._sockets):
            transport = transports.get(opened.fileno())
            with contextlib.suppress(RuntimeError):  # whoever waited is told by the loop, which is closed
                if transport is not None:
                    transport._call_connection_lost(None)  # noqa: SLF001
            opened.close()
        with contextlib.suppress(StopIteration):
            self._session.close().send(None)  # its connector knows that the loop is closed: it awaits nothing

    def abandon(self) -> None:
        """Put the null device in the places of the sockets, which are still the parent's connections."""
        null = os.open(os.devnull, os.O_RDWR)
        for opened in list(self._sockets):
            if opened.fileno() >= 0:
                os.dup2(null, opened.fileno())
        os.close(null)


class AiohttpReply:
    """A reply whose body is read as it arrives."""

    def __init__(self, response: aiohttp.ClientResponse, payload: BodyPayload | None = None) -> None:
        self._response = response
        self._payload = payload
        self.status = response.status
        self.headers: Mapping[str, str] = response.headers

    @property
    def at_end(self) -> bool:
        """Whether nothing is left to be read."""
        return self._response.content.at_eof()

    async def read(self) -> bytes:
        """Return the next piece, b"" at the end. Raises Fault, or InputError when the input failed."""
        try:
            return await self._response.content.readany()
        except ERRORS as error:
            failure = (self._payload and self._payload.error) or fault_of(error)
        raise failure  # outside the handler: aiohttp's error may show the token and must be no context

    async def aclose(self) -> None:
        """Keep the connection if the reply came to its end and the body went out; drop it otherwise."""
        if not self._response.closed:
            self._response.close()
        if self._payload is not None and not self._payload.sent:
            await self._payload.drop()
