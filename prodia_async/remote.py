"""`Remote`: an input that is fetched from the web, only where a program says so, and within bounds."""

from __future__ import annotations

import contextlib
import ipaddress
import re
import socket
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.resolver import ThreadedResolver
from msgspec import Struct
from yarl import URL

from prodia_async._errors import InputError
from prodia_async._files.readers import Reader, Source
from prodia_async._settings import MiB, require

_HEAD = 512
_BLOCK = 256 * 1024
_CONNECT, _IDLE = 10.0, 60.0
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_MARKS = ("ETag", "Last-Modified", "Content-Length")
_QUERY = re.compile(r"\?\S*")
_NAT64 = ipaddress.ip_network("64:ff9b::/96")


class Remote(Struct, frozen=True):
    """`inputs=[Remote("https://example.com/photo.jpg")]`: an input that is fetched while it is sent.

    A text is never taken for it: a program that passes on what strangers give it fetches nothing for them.
    It is asked for once to learn its size, and fetched anew for each attempt; one that changes in between
    (its ETag, date or size tells) is an InputError. Its name is the last part of the URL's path.

    `max_bytes`: its largest size. `timeout`: seconds for one fetch of it, the time that the service takes
    for it included. `redirects`: how many are followed. Only https and public addresses are asked, at each
    redirect too; `allow_private=True` allows http, and the addresses of private networks and this computer.

    Nothing of the client goes there: no token, no headers, no proxy. Messages show the URL without its
    query, which may hold a signature.
    """

    url: str
    max_bytes: int = 256 * MiB
    timeout: float = 300.0
    redirects: int = 3
    allow_private: bool = False

    def __post_init__(self) -> None:
        require(isinstance(self.url, str), "Remote", self.url)
        require(self.max_bytes > 0, "Remote.max_bytes", self.max_bytes)
        require(self.timeout > 0, "Remote.timeout", self.timeout)
        require(self.redirects >= 0, "Remote.redirects", self.redirects)
        self._check(_parsed(self.url))

    def __repr__(self) -> str:
        return f"Remote({_shown(self.url)!r})"

    @property
    def name(self) -> str:
        """Its file name; empty where the URL has none."""
        return _parsed(self.url).name

    async def prodia_source(self, label: str) -> Source:
        """Ask for it, and return what is sent of it."""
        async with self._fetched(label) as reply:
            size, marks = reply.content_length, _marks(reply)
            head = await reply.content.read(_HEAD)
        return Source(label, lambda source: Reader(source, items=_Reading(self, label, marks)), size, head)

    async def blocks(self, label: str, marks: tuple[str | None, ...]) -> AsyncGenerator[bytes]:
        """Fetch it, if it is what it was."""
        left = self.max_bytes
        async with self._fetched(label) as reply:
            if _marks(reply) != marks:
                raise InputError(f"{label} changed while it was sent: run the job again")
            async for block in reply.content.iter_chunked(_BLOCK):
                left -= len(block)
                if left < 0:
                    raise self._too_large(label)
                yield block

    @contextlib.asynccontextmanager
    async def _fetched(self, label: str) -> AsyncIterator[aiohttp.ClientResponse]:
        """Get the answer, at the end of its redirects, whose body is still to come."""
        try:
            async with contextlib.AsyncExitStack() as stack:
                yield await self._answer(label, stack)
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            # Several errors of aiohttp show a whole URL.
            said = _QUERY.sub("", str(error)) or f"not done within {self.timeout:g} s"
            found = InputError(f"{label}: {_shown(self.url)} could not be fetched: {said}")
            raise found from None

    async def _answer(self, label: str, stack: contextlib.AsyncExitStack) -> aiohttp.ClientResponse:
        resolver = ThreadedResolver() if self.allow_private else _Public()
        session = await stack.enter_async_context(
            aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(resolver=resolver),
                timeout=aiohttp.ClientTimeout(self.timeout, sock_connect=_CONNECT, sock_read=_IDLE),
                headers={"Accept-Encoding": "identity"},
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
            )
        )
        url = _parsed(self.url)
        for _ in range(self.redirects + 1):
            self._check(url)
            reply = await stack.enter_async_context(session.get(url, allow_redirects=False))
            if reply.status not in _REDIRECTS:
                self._judge(label, reply)
                return reply
            reply.close()
            url = url.join(_parsed(reply.headers.get("Location", "")))
        raise InputError(f"{label}: {_shown(self.url)} redirects more than {self.redirects} times")

    def _judge(self, label: str, reply: aiohttp.ClientResponse) -> None:
        what = f"{label}: {_shown(self.url)}"
        if reply.status != 200:  # noqa: PLR2004 - HTTP's
            raise InputError(f"{what} answered with status {reply.status}: check the URL")
        if reply.headers.get("Content-Encoding", "identity") != "identity":
            raise InputError(f"{what} comes compressed, though that was not asked for")
        if (reply.content_length or 0) > self.max_bytes:
            raise self._too_large(label)

    def _too_large(self, label: str) -> InputError:
        return InputError(
            f"{label}: {_shown(self.url)} is larger than {self.max_bytes} bytes: allow more with max_bytes="
        )

    def _check(self, url: URL) -> None:
        """Raise InputError for a URL that is not to be asked."""
        shown = _shown(str(url))
        if not url.host or url.scheme not in ("http", "https"):
            raise InputError(f"Remote cannot fetch {shown}: pass a URL such as https://example.com/photo.jpg")
        if url.user is not None or url.password is not None:
            raise InputError(f"Remote fetches without passwords: take that of {shown} out")
        if self.allow_private:
            return
        if url.scheme != "https":
            raise InputError(f"Remote fetches over https, and not {shown}, unless allow_private=True")
        address = _address(url.host)
        if address is not None:  # aiohttp resolves no address
            _require_public(url.host, address)


class _Reading:
    """One attempt's reading."""

    def __init__(self, remote: Remote, label: str, marks: tuple[str | None, ...]) -> None:
        self._given = remote, label, marks

    async def __aiter__(self) -> AsyncIterator[bytes]:
        remote, label, marks = self._given
        async with contextlib.aclosing(remote.blocks(label, marks)) as blocks:
            async for block in blocks:
                yield block


class _Public(AbstractResolver):
    """Resolves names to public addresses; it is these that are then connected to."""

    def __init__(self) -> None:
        self._resolver = ThreadedResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        found = await self._resolver.resolve(host, port, family)
        for each in found:
            _require_public(host, ipaddress.ip_address(each["host"]))
        return found

    async def close(self) -> None:
        await self._resolver.close()


def _require_public(host: str, address: Any) -> None:
    """Raise InputError for an address that is not public, or stands for one (RFC 4291, 3056, 6052)."""
    inner = getattr(address, "ipv4_mapped", None) or getattr(address, "sixtofour", None)
    if isinstance(address, ipaddress.IPv6Address) and address in _NAT64:
        inner = ipaddress.ip_address(int(address) & 0xFFFFFFFF)
    real = inner or address
    if not real.is_global or real.is_multicast:
        raise InputError(f"{host} is at {address}, which is not public: allow it with allow_private=True")


def _address(host: str) -> Any:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def _parsed(text: str) -> URL:
    """Return a URL as it stands where that can be sent: a signature may count each of its escapes."""
    try:
        return URL(text, encoded=text.isascii() and text.isprintable() and " " not in text)
    except ValueError:
        return URL()


def _shown(text: str) -> str:
    return _QUERY.sub("", text.rpartition("@")[2] if "@" in text else text)[:200]


def _marks(reply: aiohttp.ClientResponse) -> tuple[str | None, ...]:
    return tuple(reply.headers.get(name) for name in _MARKS)
