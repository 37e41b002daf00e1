"""The seam between one attempt and the HTTP library: a request goes in, a reply or a `Fault` comes out."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Literal, Protocol, TypeAlias

from msgspec import Struct

from prodia_async._files.readers import Source
from prodia_async._http.watch import Watch
from prodia_async._loops import OnExit, PerLoopValue
from prodia_async._wire.job import Plan


class Body(Struct, frozen=True):
    """A request body: the plan's bytes around the sources' bytes, each source opened anew.

    It can be written again for each attempt, unless a source can be read only once.
    """

    plan: Plan
    sources: Sequence[Source] = ()

    @property
    def replayable(self) -> bool:
        """Whether all sources can be read again."""
        return all(source.replayable for source in self.sources)

    async def write(self, emit: Callable[[bytes], Awaitable[None]]) -> None:
        """Hand it over in order. Raises InputError where a source fails or changed."""
        for prelude, source in zip(self.plan.preludes, self.sources, strict=True):
            reader = source.open()
            async with OnExit(reader.close):
                await emit(prelude)
                while block := await reader.read():
                    await emit(block)
        await emit(self.plan.tail)


class Request(Struct, frozen=True):
    """One attempt's request, a POST; or, without a body, a question: a GET, whose path is encoded already.

    `expects` has the server say whether it wants the body before it is sent (RFC 9110, section 10.1.1).
    """

    url: str
    headers: Mapping[str, str]
    body: Body | None = None
    expects: bool = False


class Reply(Protocol):
    """The service's answer; its body comes in pieces.

    It may have `at_end`: true once nothing is left to be read, so that nobody has to ask for it.
    """

    status: int
    headers: Mapping[str, str]
    """Whatever the case of their names."""

    async def read(self) -> bytes:
        """Return the next piece of the body, b"" at its end. Raises Fault."""

    async def aclose(self) -> None:
        """Give the connection back if the body was read to its end; drop it otherwise. Twice is well."""


FaultKind: TypeAlias = Literal["connect", "lost", "protocol"]


class Fault(Exception):  # noqa: N818 - not an error for users: `exchange` turns it into a verdict
    """The request or its reply broke on the way: `stale` if a reused connection broke before any answer.

    `final`: it will break again, as with a certificate that is refused.
    """

    def __init__(self, kind: FaultKind, message: str, *, stale: bool = False, final: bool = False) -> None:
        super().__init__(message)
        self.kind = kind
        self.stale = stale
        self.final = final


class Transport(PerLoopValue, Protocol):
    """What carries requests. `Prodia(transport=...)` takes one, for tests and simulations."""

    async def send(self, request: Request, progress: Watch) -> Reply:
        """Send the request and return the reply once its headers are there. Raises Fault.

        With `Request.expects` the body goes once the server has said 100, or has said nothing for a second.
        `progress` is told when the request has its connection (`connected`), when a block of the body was
        read (`block_ready`) and taken by the server's side (`block_taken`; a body of one block has none to
        wait for), and when the last byte was handed over (`body_sent`): deadlines and the limiter go by it.
        """
