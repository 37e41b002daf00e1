"""What a connection is made of (socket, addresses, whom it trusts), and what aiohttp's errors say of it."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import socket
import ssl
from functools import partial
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import aiohttp
from aiohttp.http import HttpProcessingError
from msgspec import Struct

from prodia_async._errors import TransportError
from prodia_async._files.threads import hop
from prodia_async._http.transport import Fault, FaultKind

if TYPE_CHECKING:
    import weakref

    from prodia_async._wire.address import Proxy

ERRORS = (aiohttp.ClientError, HttpProcessingError, OSError, ValueError)

_SOCKET_OPTIONS = (
    ("SOL_SOCKET", "SO_KEEPALIVE", 1),
    ("IPPROTO_TCP", "TCP_KEEPIDLE", 60),
    ("IPPROTO_TCP", "TCP_KEEPALIVE", 60),  # macOS's name for it
    ("IPPROTO_TCP", "TCP_KEEPINTVL", 60),
    ("IPPROTO_TCP", "TCP_NOTSENT_LOWAT", 256 * 1024),
)
"""A job may be silent for minutes, and a gateway forgets such a connection: it is probed after 60 s.
The kernel holds few bytes of unsent body, so that "handed over" means nearly sent."""


def open_socket(sockets: weakref.WeakSet[socket.socket], address: tuple[Any, ...]) -> socket.socket:
    """Open a socket for one of the addresses that a name has, and add it to the `sockets`."""
    opened = socket.socket(*address[:3])
    opened.setblocking(False)
    for level, name, value in _SOCKET_OPTIONS:
        with contextlib.suppress(AttributeError, OSError):  # a kernel may know the name and not the option
            opened.setsockopt(getattr(socket, level), getattr(socket, name), value)
    sockets.add(opened)
    return opened


async def _look_up(function: str, what: object, *args: Any, **options: Any) -> Any:
    """Ask for the addresses of a name, or the name of an address, in a thread of its own. Raises OSError.

    The loop's default executor is the program's: full, it would look like a dead network. aiodns, which
    aiohttp takes where it is installed, has sockets that outlive a killed loop and a fork.
    """
    try:
        return await hop(partial(getattr(socket, function), what, *args, **options), abandon=True)
    except TransportError:  # as when the interpreter exits
        raise OSError(f"no thread could be started to look up {what!r}") from None


NAMES: Any = SimpleNamespace(
    getaddrinfo=partial(_look_up, "getaddrinfo"), getnameinfo=partial(_look_up, "getnameinfo")
)
"""What aiohttp's resolver asks of an event loop."""


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
    names = ("SSL_CERT_FILE", "SSL_CERT_DIR")
    named = [f"{name}={os.environ[name]:.200}" for name in names if os.environ.get(name)]
    if not named:
        return Trust(context, "trusted are those whom the system trusts, or SSL_CERT_FILE if it is set")
    if "FILE" in named[0] and not context.cert_store_stats()["x509_ca"]:  # a folder is read when it is needed
        named[0] += ", which holds no certificate,"
    return Trust(context, f"trusted are those of {' and '.join(named)}".rstrip(","))


_PASSING = frozenset((408, 429, 500, 502, 503, 504))
"""What a proxy says while it cannot reach the service; anything else it will say again."""

_NO_TLS = frozenset(("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE"))
"""OpenSSL's names for an answer in plain text."""

_UNREADABLE = "the answer cannot be read"


def fault_of(
    error: Exception, proxy: Proxy | None = None, trusted: str = "", *, stale: bool = False
) -> Fault:
    """Say what broke, without what an answer said: it may quote the token. `trusted`: whom we trust."""
    kind: FaultKind = "lost"
    text, cause = f"{error}", error.__cause__
    reason = text.splitlines()[0][:300] if text else type(error).__name__
    if isinstance(error, HttpProcessingError) or (
        isinstance(cause, HttpProcessingError) and f"{cause}" == text
    ):  # aiohttp's parser in Python gave up: its error comes bare, or repeated by another
        kind, reason = "protocol", _UNREADABLE
    elif isinstance(error, aiohttp.ClientResponseError):
        # Not what stands after a quote, which is cut anywhere, and so perhaps a part of the token.
        said = re.split(r"[:'\"\n]", error.message, maxsplit=1)[0].strip()[:200]
        if error.request_info.method == "CONNECT":
            refused = isinstance(error, aiohttp.ClientHttpProxyError)
            what = f"it refuses with {error.status} {said}".rstrip() if refused else _UNREADABLE
            final = not refused or error.status not in _PASSING
            return Fault("connect", f"{_name(proxy)}: {what}", final=final)
        kind, reason = "protocol", f"{_UNREADABLE}: {said}" if said else _UNREADABLE
    elif isinstance(error, aiohttp.ClientConnectorError | aiohttp.ServerFingerprintMismatch):
        return _unconnected(error, reason, proxy, trusted)
    elif isinstance(error, ValueError):
        kind = "protocol"
    elif isinstance(error, aiohttp.ClientOSError) and error.errno is None and cause is not None:
        reason = f"the connection was lost while the request was sent: {cause}"[:300]
    elif isinstance(error, aiohttp.ServerDisconnectedError):
        reason = "the server closed the connection without an answer"
    return Fault(kind, reason, stale=stale)


def _unconnected(error: Exception, reason: str, proxy: Proxy | None, trusted: str) -> Fault:
    """Say why there is no connection; a certificate that is refused, or a proxy without address, stays so."""
    cause, final = error.__cause__, isinstance(error, aiohttp.ServerFingerprintMismatch)
    host, port = getattr(error, "host", ""), getattr(error, "port", None)
    if isinstance(cause, ssl.SSLCertVerificationError):
        said = f"certificate verify failed: {cause.verify_message.rstrip('.')}"
        reason, final = f"the certificate of {host}:{port} is refused: {said}; {trusted}", True
    elif isinstance(cause, ssl.SSLError) and cause.reason in _NO_TLS:
        reason = f"{host}:{port} speaks no TLS: is it http:// instead of https://?"
    if proxy is not None and f"{proxy.url}/".endswith((f"/{host}:{port}/", f"/[{host}]:{port}/")):
        final = final or isinstance(error, aiohttp.ClientConnectorDNSError | ssl.SSLError)
        reason = f"{_name(proxy)}: {reason}"
    if getattr(getattr(error, "os_error", None), "errno", None) in (errno.EMFILE, errno.ENFILE):
        reason = "no file descriptor is left for a connection: raise `ulimit -n` or lower max_concurrency"
    return Fault("connect", reason, final=final)


def _name(proxy: Proxy | None) -> str:
    return "the proxy" if proxy is None else f"the proxy {proxy.url:.200} of {proxy.name}"
