"""Handing requests on to a service, so that they can be recorded: the client's own token goes along."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import aiohttp
from yarl import URL

from prodia_async.emulator._answer import Answer, RefusedError, error_answer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from aiohttp import web

MOST_BYTES = 1024**3
_TIMEOUT = aiohttp.ClientTimeout(total=3600, sock_connect=30)
_PASSED = ("Authorization", "Accept", "Content-Type", "User-Agent")
_LEFT_OUT = re.compile("connection|content-(encoding|length|type)|date|keep-alive|server|transfer-encoding")


class Forwarder:
    """Asks a service what we are asked, one request for each."""

    def __init__(self, upstream: str) -> None:
        self._upstream = upstream.rstrip("/").removesuffix("/v2")
        self._session: aiohttp.ClientSession | None = None

    async def ask(self, request: web.Request, chunks: AsyncIterator[bytes]) -> Answer:
        """Return the service's answer. Raises RefusedError where there is none, or too much of it."""
        if self._session is None:
            self._session = aiohttp.ClientSession(timeout=_TIMEOUT, auto_decompress=True)
        body = bytearray()
        async for chunk in chunks:
            body += chunk
            if len(body) > MOST_BYTES:
                raise RefusedError(error_answer(413, f"at most {MOST_BYTES} bytes are handed on"))
        headers = {name: request.headers[name] for name in _PASSED if name in request.headers}
        url = URL(self._upstream + request.rel_url.raw_path_qs, encoded=True)
        try:
            async with self._session.request(
                request.method, url, data=bytes(body) or None, headers=headers, allow_redirects=False
            ) as reply:
                content = bytearray()
                async for chunk in reply.content.iter_any():
                    content += chunk
                    if len(content) > MOST_BYTES:
                        raise RefusedError(error_answer(504, f"the reply has more than {MOST_BYTES} bytes"))
        except (aiohttp.ClientError, TimeoutError) as error:
            raise RefusedError(
                error_answer(504, f"the service was not reached: {type(error).__name__}")
            ) from None
        kept = tuple(
            (name, value) for name, value in reply.headers.items() if not _LEFT_OUT.fullmatch(name.lower())
        )
        kind = reply.headers.get("Content-Type", "application/octet-stream")
        return Answer(reply.status, kind, (bytes(content),), kept)

    async def aclose(self) -> None:
        """Close the connections to the service."""
        if self._session is not None:
            await self._session.close()
