"""Where the service is: base URLs as users write them, which hosts are this computer, and the way there."""

from __future__ import annotations

import os
import re
from base64 import b64encode
from contextlib import suppress
from ipaddress import ip_address, ip_network
from urllib.parse import SplitResult, unquote, unquote_to_bytes, urlsplit, urlunsplit
from urllib.request import getproxies, proxy_bypass

from msgspec import Struct

from prodia_async._errors import InputError
from prodia_async._settings import Secret

DEFAULT_BASE_URL = "https://inference.prodia.com"

_LEAST_HIDDEN = 4
"""Characters of a password that is looked for in texts: a shorter one would be found in every word."""

_HOST = re.compile(r"[\w.:%~-]+")
_EXEMPT = re.compile(r"(?:\[(.*)\]|([^:]*))(?::([0-9]+))?")


class Address(Struct, frozen=True):
    """A base URL, taken apart: `url` ends without `/v2` and without a slash."""

    url: str
    scheme: str
    host: str
    port: int

    @property
    def is_loopback(self) -> bool:
        """Whether the host is this computer; 0.0.0.0 is, where a server that listens there is meant."""
        with suppress(ValueError):
            found = ip_address(self.host)
            return found.is_loopback or found.is_unspecified
        return f".{self.host}".endswith(".localhost")

    def check_offline(self) -> None:
        """Raise InputError where PRODIA_OFFLINE=1 and the host is another computer."""
        if not self.is_loopback and os.environ.get("PRODIA_OFFLINE", "") not in ("", "0"):
            raise InputError(f"PRODIA_OFFLINE is set: {self.url} is on another computer, and is not reached")


def parse(base_url: str) -> Address:
    """Read a base URL, with or without `/v2` and a trailing slash. Raises InputError for anything else."""
    parts = _taken_apart(base_url.strip())
    if parts is None:
        raise InputError(f"the base URL must be like {DEFAULT_BASE_URL}")
    if parts.username is not None or parts.query or parts.fragment:
        raise InputError("the base URL takes no user, query or fragment: the token goes in Prodia(token=...)")
    path = parts.path.rstrip("/").removesuffix("/v2").rstrip("/")
    port = parts.port or (443 if parts.scheme == "https" else 80)
    url = urlunsplit((parts.scheme, parts.netloc, path, "", ""))
    return Address(url, parts.scheme, (parts.hostname or "").lower(), port)


def _taken_apart(url: str) -> SplitResult | None:
    """Take a URL of HTTP apart, if there can be such a host and port; its own error might show a password."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
        host.encode("idna")
        is_good = parts.scheme in ("http", "https") and _HOST.fullmatch(host) and parts.port != 0
    except ValueError:
        return None
    return parts if is_good else None


class Proxy(Struct, frozen=True):
    """A proxy that speaks HTTP: its `url` without user and password, and the variable that `name`s it.

    `tunnels`: whether it only carries bytes to a service that speaks TLS, and is asked for that first.
    """

    url: str
    name: str
    tunnels: bool
    login: Secret | None = None


def proxy_for(address: Address) -> Proxy | None:
    """Return the proxy that the environment names for the service, by what curl, Go and requests share.

    This computer itself is never reached through a proxy. Read once, when a client is made: aiohttp's
    `trust_env` reads files for each request, and lets a `.netrc` line for the host refuse every request that
    has an Authorization header. Raises InputError for a proxy that cannot work; it shows no password.
    """
    found = None if address.is_loopback else _named(address)
    if isinstance(found, InputError):  # it was made, not raised, where a traceback's variables have passwords
        raise found
    return found


def _named(address: Address) -> Proxy | InputError | None:
    settings = getproxies()
    if is_exempt(address, settings.get("no", "")) or proxy_bypass(address.host):  # which knows more on macOS
        return None
    for kind in (address.scheme, "all"):
        if value := settings.get(kind, "").strip():
            names = (name for name in os.environ if name.lower() == f"{kind}_proxy" and os.environ[name])
            return _read(next(names, f"the system's {kind} proxy"), value, address.scheme == "https")
    return None


def _read(name: str, value: str, tunnels: bool) -> Proxy | InputError:
    scheme, mark, _ = value.lower().partition("://")
    if mark and scheme.startswith("socks"):
        return InputError(f"{name} names a {scheme[:7]} proxy, which is not supported: use an HTTP proxy")
    parts = _taken_apart(value if mark else f"http://{value.lstrip('/')}") if value.isprintable() else None
    if parts is None or "@" in parts.path + parts.query + parts.fragment:
        return InputError(
            f"the proxy of {name} cannot be read: it must be like http://user:password@host:3128, with every "
            "character of user and password that means something in a URL percent-encoded, as # / ? are by "
            "%23 %2F %3F"
        )
    url = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
    user, password = parts.username or "", parts.password or ""
    login = unquote_to_bytes(user) + b":" + unquote_to_bytes(password)
    if login == b":":
        return Proxy(url, name, tunnels)
    coded = b64encode(login).decode()
    hidden = [each for each in (coded, password, unquote(password)) if len(each) >= _LEAST_HIDDEN]
    return Proxy(url, name, tunnels, Secret(f"Basic {coded}", *hidden))


def is_exempt(address: Address, listed: str) -> bool:
    """Tell whether `NO_PROXY` lists the service: its name, a domain above it, its address, a network, or "*".

    Each may have a port. Commas and white space part them; case, and a dot before a name or after it, count
    for nothing, and "*." leaves the name itself out. What cannot be read means nothing, as everywhere.
    """
    host = address.host.rstrip(".")
    for entry in listed.lower().replace(",", " ").split():
        found = _EXEMPT.fullmatch(entry)
        name, only = (found[1] or found[2], found[3]) if found else (entry, None)
        if only is not None and only != str(address.port):
            continue
        with suppress(ValueError):
            if ip_address(host) in ip_network(name, strict=False):
                return True
        bare = name.lstrip("*").strip(".")
        is_below = bare and f".{host}".endswith(f".{bare}")
        if name == "*" or (is_below and (host != bare or name[0] != "*")):
            return True
    return False
