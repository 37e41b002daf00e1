"""Where the service is: base URLs as users write them, which hosts are this computer, and the way there."""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit, urlunsplit
from urllib.request import getproxies, proxy_bypass

from msgspec import Struct

from prodia_async._errors import InputError

DEFAULT_BASE_URL = "https://inference.prodia.com"


class Address(Struct, frozen=True):
    """A base URL, taken apart: `url` ends without `/v2` and without a slash."""

    url: str
    scheme: str
    host: str

    @property
    def is_loopback(self) -> bool:
        """Whether the host is this computer."""
        if self.host == "localhost" or self.host.endswith(".localhost"):
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False


def parse(base_url: str) -> Address:
    """Read a base URL, with or without `/v2` and a trailing slash. Raises InputError for anything else."""
    try:
        parts = urlsplit(base_url.strip())
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise InputError(f"the base URL cannot be read: {error}") from None
    if parts.scheme not in ("http", "https") or not host:
        raise InputError(f"the base URL must be like {DEFAULT_BASE_URL}")
    if parts.username is not None or parts.query or parts.fragment:
        raise InputError("the base URL takes no user, query or fragment: the token goes in Prodia(token=...)")
    path = parts.path.rstrip("/").removesuffix("/v2").rstrip("/")
    return Address(urlunsplit((parts.scheme, parts.netloc, path, "", "")), parts.scheme, host.lower())


def proxy_for(address: Address) -> str | None:
    """Return the URL of the proxy that the environment names for the service, or None.

    This computer itself is never reached through a proxy.
    Read here and once, since aiohttp's `trust_env` reads files for each request and lets a `.netrc` line
    for the host refuse every request that has an Authorization header. Raises InputError for a proxy that
    does not speak HTTP.
    """
    if address.is_loopback or proxy_bypass(address.host):
        return None
    proxies = getproxies()
    proxy = proxies.get(address.scheme) or proxies.get("all")
    if not proxy:
        return None
    proxy = proxy if "://" in proxy else f"http://{proxy}"
    scheme = urlsplit(proxy).scheme
    if scheme not in ("http", "https"):
        raise InputError(
            f"the environment names a {scheme} proxy, which is not supported: unset it or use an HTTP proxy"
        )
    return proxy
