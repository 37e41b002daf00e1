"""The proxy that the environment asks for, read once for a client."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from prodia_async._errors import InputError

if TYPE_CHECKING:
    from prodia_async._wire.address import Address


def proxy_for(address: Address) -> str | None:
    """Return the proxy's URL for the service, or None. This computer itself is never reached through a proxy.

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
