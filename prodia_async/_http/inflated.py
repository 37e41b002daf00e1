"""A compressed reply, read as if it were not."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prodia_async._wire.inflate import Inflater, is_compressed

if TYPE_CHECKING:
    from prodia_async._http.transport import Reply
    from prodia_async._settings import Limits


def plain(reply: Reply, limits: Limits) -> Reply:
    """Return the reply, inflated while it is read where it is compressed.

    Raises MalformedReplyError for an encoding that is not known; so may reading.
    """
    compressed = is_compressed(reply.headers.get("Content-Encoding"))
    return InflatedReply(reply, limits.max_expansion) if compressed else reply


class InflatedReply:
    """Inflates what comes, in pieces of at most 256 KiB. Whoever has the reply itself closes it."""

    def __init__(self, reply: Reply, max_expansion: int) -> None:
        self.status = reply.status
        self.headers = reply.headers
        self._reply = reply
        self._inflater = Inflater(max_expansion)

    async def read(self) -> bytes:
        """Return the next piece of the body, b"" at its end. Raises Fault and MalformedReplyError."""
        while not (piece := self._inflater.take()):
            data = await self._reply.read()
            if not data:
                self._inflater.close()
                return b""
            self._inflater.feed(data)
        return piece

    async def aclose(self) -> None:
        """Close the reply."""
        await self._reply.aclose()
