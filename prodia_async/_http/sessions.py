"""aiohttp as a `Transport`: one session for one event loop."""

from __future__ import annotations

import asyncio
import errno
import os
import re
import select
import socket
import ssl
import sys
import weakref
from collections.abc import Mapping
from typing import Any

import aiohttp
from msgspec import Struct, field
from yarl import URL

from prodia_async._http.payload import BodyPayload
from prodia_async._http.transport import CONTINUE, Fault, FaultKind, Progress, Reply, Request
from prodia_async._loops import shielded
from prodia_async._settings import Token

_NOTSENT_LOWAT = 256 * 1024
"""Bytes of unsent body that the kernel may hold: few, so that "handed over" means nearly sent."""

_QUOTE = re.compile(r"[:'\"\n]")

_OUT_OF_DESCRIPTORS = (errno.EMFILE, errno.ENFILE)


class _Response(aiohttp.ClientResponse):
    """A response that waits for a 100 only so long."""

    def __init__(self, *args: Any, continue100: asyncio.Future[bool] | None = None, **options: Any) -> None:
        super().__init__(*args, continue100=continue100, **options)
        if continue100 is not None:
            timer = asyncio.get_running_loop().call_later(CONTINUE, _go_on, continue100)
            continue100.add_done_callback(lambda _: timer.cancel())


def _go_on(continue100: asyncio.Future[bool]) -> None:
    if not continue100.done():
        continue100.set_result(True)


class _Connector(aiohttp.TCPConnector):
    """Gives no connection out again on which something has come since its last answer.

    aiohttp would take that for the answer to the next request: another job's result, or a proxy's late 408.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._given: weakref.WeakSet[object] = weakref.WeakSet()

    async def connect(self, *args: Any, **options: Any) -> aiohttp.connector.Connection:
        """Return a connection: a kept one only if nothing is left in it."""
        connection = await super().connect(*args, **options)
        while connection.protocol in self._given and _has_something(connection):
            connection.close()
            connection = await super().connect(*args, **options)
        self._given.add(connection.protocol)
        return connection


def _has_something(connection: aiohttp.connector.Connection) -> bool:
    """Tell whether bytes, or an end, have come on a connection that nobody uses."""
    protocol, transport = connection.protocol, connection.transport
    if protocol is None or transport is None or protocol.should_close:
        return True
    descriptor = transport.get_extra_info("socket").fileno()
    return descriptor < 0 or _is_readable(descriptor)


def _is_readable(descriptor: int) -> bool:
    if sys.platform == "win32":
        return bool(select.select([descriptor], [], [], 0)[0])
    poll = select.poll()  # select() takes no descriptor above 1023
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(0))


class ConnectionSettings(Struct, frozen=True):
    """How connections are made: `keepalive` in seconds, a proxy's URL, and aiohttp's own session options."""

    token: Token
    headers: Mapping[str, str]
    keepalive: float
    proxy: str | None = None
    ssl_context: ssl.SSLContext | None = None
    session_options: Mapping[str, Any] = field(default_factory=dict)


class AiohttpTransport:
    """A session and its connections. Make it in the loop that uses it."""

    def __init__(self, settings: ConnectionSettings) -> None:
        self._settings = settings
        self._sockets: weakref.WeakSet[socket.socket] = weakref.WeakSet()
        self._used: weakref.WeakSet[asyncio.BaseProtocol] = weakref.WeakSet()
        self._session = self._open_session()

    def _open_session(self) -> aiohttp.ClientSession:
        options: dict[str, Any] = {
            # The limiter bounds connections: a queue inside aiohttp would look to it like a slow service.
            "connector": _Connector(
                limit=0,
                keepalive_timeout=self._settings.keepalive,
                socket_factory=self._open_socket,
                # Not aiodns, where it is installed: its own sockets outlive a killed loop and a fork.
                resolver=aiohttp.ThreadedResolver(),
                ssl=self._settings.ssl_context or True,
            ),
            # Without the token: aiohttp sends a session's headers to a proxy too, when it asks for a tunnel.
            "headers": self._settings.headers,
            "cookie_jar": aiohttp.DummyCookieJar(),
            "timeout": aiohttp.ClientTimeout(total=None, connect=None, sock_connect=None, sock_read=None),
            "auto_decompress": False,
            "trust_env": False,
            "response_class": _Response,
        }
        return aiohttp.ClientSession(**(options | dict(self._settings.session_options)))

    def _open_socket(self, address: tuple[Any, ...]) -> socket.socket:
        family, kind, protocol, *_ = address
        opened = socket.socket(family, kind, protocol)
        opened.setblocking(False)
        if hasattr(socket, "TCP_NOTSENT_LOWAT"):
            opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, _NOTSENT_LOWAT)
        self._sockets.add(opened)
        return opened

    async def send(self, request: Request, progress: Progress) -> Reply:
        """Send the request and return the reply once its headers are there. Raises Fault or InputError."""
        payload = BodyPayload(request.body, progress)
        try:
            response = await self._ask(
                "POST",
                request.url,
                request.headers,
                payload=payload,
                expect100=request.expects,
            )
        except GeneratorExit:  # the loop was killed: nothing can be awaited any more
            raise
        except BaseException:
            _drop(payload)
            await shielded(payload.settled())
            raise
        if payload.protocol is not None:
            self._used.add(payload.protocol)
        return AiohttpReply(response, payload)

    async def get(self, url: str, headers: Mapping[str, str]) -> Reply:
        """Ask for `url`, whose path is encoded already, and return the reply. Raises Fault."""
        return AiohttpReply(await self._ask("GET", URL(url, encoded=True), headers), None)

    async def _ask(
        self,
        method: str,
        url: str | URL,
        headers: Mapping[str, str],
        *,
        payload: BodyPayload | None = None,
        expect100: bool = False,
    ) -> aiohttp.ClientResponse:
        if self._session.closed:
            raise Fault("connect", "the client was closed")
        try:
            return await self._session.request(
                method,
                url,
                data=payload,
                headers={**headers, "Authorization": self._settings.token.authorization()},
                allow_redirects=False,
                proxy=self._settings.proxy,
                expect100=expect100,
            )
        except (aiohttp.ClientError, OSError, ValueError) as error:
            failure = self._failure(error, payload)
        raise failure  # outside the handler: aiohttp's error, whose repr shows the token, must be no context

    def _failure(self, error: Exception, payload: BodyPayload | None) -> Exception:
        """Say what went wrong, without aiohttp's own error: its repr carries the request's headers."""
        if payload is None:
            return Fault(_kind_of(error), _describe(error))
        if payload.error is not None:
            return payload.error
        _mark_closed(payload.connection)
        reused = payload.protocol is not None and payload.protocol in self._used
        return Fault(_kind_of(error), _describe(error), stale=reused and payload.sent)

    async def aclose(self) -> None:
        """Close the session and its connections."""
        await self._session.close()

    def close_dead(self) -> None:
        """Close the sockets by descriptor: their loop is gone, and transports cannot be closed without it."""
        for opened in list(self._sockets):
            opened.close()

    def abandon(self) -> None:
        """Put the null device in the sockets' places: what this process does to them reaches nobody."""
        null = os.open(os.devnull, os.O_RDWR)
        for opened in list(self._sockets):
            if opened.fileno() >= 0:
                os.dup2(null, opened.fileno())
        os.close(null)


class AiohttpReply:
    """A reply whose body is read as it arrives."""

    def __init__(self, response: aiohttp.ClientResponse, payload: BodyPayload | None) -> None:
        self._response = response
        self._payload = payload
        self.status = response.status
        self.headers: Mapping[str, str] = response.headers

    async def read(self) -> bytes:
        """Return the next piece, b"" at the end. Raises Fault, or InputError when the input failed."""
        try:
            return await self._response.content.readany()
        except (aiohttp.ClientError, OSError, ValueError) as error:
            bad_input = None if self._payload is None else self._payload.error
            failure = bad_input or Fault(_kind_of(error), _describe(error))
        raise failure  # outside the handler: aiohttp's error may show the token and must be no context

    async def aclose(self) -> None:
        """Keep the connection if the body was read to its end; drop it otherwise. Twice is well."""
        whole = self._response.content.at_eof()
        if whole:
            self._response.release()
        else:
            self._response.close()
        if self._payload is not None:
            if not whole:
                _mark_closed(self._payload.connection)
            _drop(self._payload)
            await self._payload.settled()


def _drop(payload: BodyPayload) -> None:
    """Break a connection whose upload is left unfinished.

    Closed in order, it would wait until its buffer is gone: for ever, where the server reads no more.
    """
    if payload.connection is not None and not payload.sent:
        payload.connection.abort()


def _mark_closed(connection: asyncio.BaseTransport | None) -> None:
    """Close a connection that broke: Python 3.10 does not do so itself for TLS, and warns of it later."""
    if sys.version_info < (3, 11) and connection is not None:
        connection.close()


def _kind_of(error: Exception) -> FaultKind:
    if isinstance(error, aiohttp.ClientConnectorError | aiohttp.ClientConnectorSSLError):
        cause = getattr(error, "os_error", None)
        return "descriptors" if getattr(cause, "errno", None) in _OUT_OF_DESCRIPTORS else "connect"
    if isinstance(error, aiohttp.ClientHttpProxyError | aiohttp.ServerFingerprintMismatch):
        return "connect"
    if isinstance(error, aiohttp.ClientResponseError | ValueError):
        return "protocol"
    return "lost"


def _describe(error: Exception) -> str:
    if isinstance(error, aiohttp.ClientResponseError):
        # Not what stands after that: it quotes the answer, cut anywhere, and so perhaps a part of the token.
        said = _QUOTE.split(error.message, maxsplit=1)[0].strip()
        return f"the answer cannot be read: {said[:200]}" if said else "the answer cannot be read"
    if isinstance(error, aiohttp.ClientOSError) and error.errno is None and error.__cause__ is not None:
        return f"the connection was lost while the request was sent: {error.__cause__}"[:300]
    if isinstance(error, aiohttp.ServerDisconnectedError):
        return "the server closed the connection without an answer"
    return f"{error}".splitlines()[0][:300] if f"{error}" else type(error).__name__
