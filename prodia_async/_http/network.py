"""What a connection is made of: its socket, the addresses of its name, and whom it trusts."""

from __future__ import annotations

import contextlib
import os
import socket
import ssl
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from prodia_async._errors import TransportError
from prodia_async._files.threads import hop

if TYPE_CHECKING:
    from collections.abc import Callable

_CERTIFICATES = ("SSL_CERT_FILE", "SSL_CERT_DIR")

_SOCKET_OPTIONS = (
    ("SOL_SOCKET", "SO_KEEPALIVE", 1),
    ("IPPROTO_TCP", "TCP_KEEPIDLE", 60),
    ("IPPROTO_TCP", "TCP_KEEPALIVE", 60),  # macOS's name for it
    ("IPPROTO_TCP", "TCP_KEEPINTVL", 60),
    ("IPPROTO_TCP", "TCP_NOTSENT_LOWAT", 256 * 1024),
)
"""A job may be silent for minutes, and a gateway forgets such a connection: it is probed after 60 s.
The kernel holds few bytes of unsent body, so that "handed over" means nearly sent."""


def open_socket(address: tuple[Any, ...]) -> socket.socket:
    """Open a socket for one of the addresses that a name has."""
    opened = socket.socket(*address[:3])
    opened.setblocking(False)
    for level, name, value in _SOCKET_OPTIONS:
        with contextlib.suppress(AttributeError, OSError):  # a kernel may know the name and not the option
            opened.setsockopt(getattr(socket, level), getattr(socket, name), value)
    return opened


class Names:
    """Looks names up as an event loop does, each in a thread of its own: `aiohttp.ThreadedResolver(names)`.

    The loop's default executor is the program's: full, it would look like a dead network. aiodns, which
    aiohttp takes where it is installed, has sockets that outlive a killed loop and a fork.
    """

    async def getaddrinfo(self, host: str, port: int, *, family: int, type: int, flags: int) -> Any:  # noqa: A002
        """Return the addresses of a name. Raises OSError."""
        return await self._apart(socket.getaddrinfo, host, port, family, type, 0, flags)

    async def getnameinfo(self, address: tuple[Any, ...], flags: int) -> Any:
        """Return an address in full. Raises OSError."""
        return await self._apart(socket.getnameinfo, address, flags)

    async def _apart(self, function: Callable[..., Any], *args: Any) -> Any:
        try:
            return await hop(function, *args, abandon=True)
        except TransportError:  # as when the interpreter exits
            raise OSError(f"no thread could be started to look up {args[0]!r}") from None


class Trust(Struct, frozen=True):
    """Whom a client trusts: the context of its TLS connections, and what is to be `said` of one refused."""

    context: ssl.SSLContext
    said: str


def trust(given: ssl.SSLContext | None) -> Trust:
    """Trust whom `given` does or, read now, SSL_CERT_FILE, SSL_CERT_DIR or the system. It takes some time."""
    if given is not None:
        return Trust(given, "ssl_context= says whom to trust")
    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    named = [f"{name}={os.environ[name]:.200}" for name in _CERTIFICATES if os.environ.get(name)]
    if not named:
        return Trust(context, "trusted are those whom the system trusts, or SSL_CERT_FILE if it is set")
    if "FILE" in named[0] and not context.cert_store_stats()["x509_ca"]:  # a folder is read when it is needed
        named[0] += ", which holds no certificate,"
    return Trust(context, f"trusted are those of {' and '.join(named)}".rstrip(","))
