"""The seam between one attempt and the HTTP library: a request goes in, a reply or a `Fault` comes out."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Literal, Protocol, TypeAlias

from msgspec import Struct

Emit: TypeAlias = Callable[[bytes], Awaitable[None]]


class Body(Protocol):
    """A request body that can be written again for each attempt, unless a source can be read only once."""

    content_type: str
    size: int | None
    """Bytes, or None where an input's size is unknown; the body is then sent chunked."""
    replayable: bool

    async def write(self, emit: Emit) -> None:
        """Hand the whole body to `emit`, block by block."""


class Progress(Protocol):
    """What a transport tells while it sends, so that deadlines and the limiter know where it stands."""

    def connected(self) -> None:
        """Say that the request has its connection and begins to be written."""

    def block_ready(self) -> None:
        """Say that a block of the body was read: from now on we wait for the server to take it."""

    def block_taken(self) -> None:
        """Say that the server's side took the block: from now on we wait for our own source."""

    def body_sent(self) -> None:
        """Say that the last byte of the body was handed to the transport."""


class Request(Struct, frozen=True):
    """One attempt's request: always a POST.

    `expects` has the server say whether it wants the body before it is sent (RFC 9110, section 10.1.1).
    """

    url: str
    headers: Mapping[str, str]
    body: Body
    expects: bool = False


CONTINUE = 1.0
"""Seconds for which a server may say whether it wants a body, as with curl; then it gets it unasked."""


class Reply(Protocol):
    """The service's answer; its body comes in pieces."""

    @property
    def status(self) -> int:
        """The HTTP status."""

    @property
    def headers(self) -> Mapping[str, str]:
        """The headers, whatever the case of their names."""

    async def read(self) -> bytes:
        """Return the next piece of the body, b"" at its end. Raises Fault."""

    async def aclose(self) -> None:
        """Give the connection back if the body was read to its end; drop it otherwise. Twice is well."""


FaultKind: TypeAlias = Literal["connect", "lost", "protocol", "descriptors"]


class Fault(Exception):  # noqa: N818 - not an error for users: `exchange` turns it into a verdict
    """The request or its reply broke on the way: `stale` if a reused connection broke before any answer."""

    def __init__(self, kind: FaultKind, message: str, *, stale: bool = False) -> None:
        super().__init__(message)
        self.kind = kind
        self.stale = stale


class Transport(Protocol):
    """What carries requests. `Prodia(transport=...)` takes one, for tests and simulations."""

    async def send(self, request: Request, progress: Progress) -> Reply:
        """Send the request and return the reply once its headers are there. Raises Fault.

        With `Request.expects` the body goes once the server has said 100, or has said nothing for a second.
        """

    async def get(self, url: str, headers: Mapping[str, str]) -> Reply:
        """Ask for `url`, whose path is encoded already, and return the reply. Raises Fault."""

    async def aclose(self) -> None:
        """Close every connection."""

    def close_dead(self) -> None:
        """Release the descriptors of a loop that is closed."""

    def abandon(self) -> None:
        """Let go of the descriptors in a forked child, so that nothing done there reaches the parent's."""
