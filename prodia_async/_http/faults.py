"""What an error of aiohttp's means: whose fault it is, and whether trying again can help."""

from __future__ import annotations

import errno
import re
import ssl
from typing import TYPE_CHECKING

import aiohttp
from aiohttp.http import HttpProcessingError

from prodia_async._http.transport import Fault, FaultKind

if TYPE_CHECKING:
    from prodia_async._wire.address import Proxy

ERRORS = (aiohttp.ClientError, HttpProcessingError, OSError, ValueError)

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
    number = getattr(getattr(error, "os_error", None), "errno", None)
    return Fault("descriptors" if number in (errno.EMFILE, errno.ENFILE) else "connect", reason, final=final)


def _name(proxy: Proxy | None) -> str:
    return "the proxy" if proxy is None else f"the proxy {proxy.url:.200} of {proxy.name}"
