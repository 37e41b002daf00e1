"""Request bodies: what is planned in `_wire.encode` and read from `_files.sources`, as aiohttp writes it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from aiohttp.payload import Payload

from prodia_async._errors import InputError
from prodia_async._loops import OnExit

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aiohttp.abc import AbstractStreamWriter

    from prodia_async._files.sources import Source
    from prodia_async._http.transport import Body, Emit, Progress
    from prodia_async._wire.job import Plan


class JsonBody:
    """A job without inputs."""

    content_type = "application/json"
    replayable = True

    def __init__(self, job: bytes) -> None:
        self.size: int | None = len(job)
        self._job = job

    async def write(self, emit: Emit) -> None:
        """Hand the job over in one block."""
        await emit(self._job)


class MultipartBody:
    """A job with inputs: the plan's bytes around the sources' bytes, each source opened anew."""

    def __init__(self, plan: Plan, sources: Sequence[Source]) -> None:
        self.content_type = plan.content_type
        self.size = plan.size
        self.replayable = all(source.replayable for source in sources)
        self._plan = plan
        self._sources = sources

    async def write(self, emit: Emit) -> None:
        """Hand the parts over in order. Raises InputError where a source fails or changed."""
        for prelude, source in zip(self._plan.preludes, self._sources, strict=True):
            reader = await source.open()
            async with OnExit(reader.close):
                await emit(prelude)
                while block := await reader.read():
                    await emit(block)
        await emit(self._plan.tail)


class BodyPayload(Payload):
    """Writes a body into aiohttp's connection, reports its progress and keeps the error of a bad source.

    aiohttp cancels its writer without waiting for it, so `settled` is there to wait for.
    """

    def __init__(self, body: Body, progress: Progress) -> None:
        super().__init__(body, content_type=body.content_type)
        self._size = body.size
        self._body = body
        self._progress = progress
        self._writes = False
        self._over: asyncio.Event | None = None
        self.connection: asyncio.WriteTransport | None = None
        self.protocol: asyncio.BaseProtocol | None = None
        """The connection's own: unlike a transport of uvloop's for TLS, it takes weak references."""
        self.error: InputError | None = None
        self.sent = False

    def __deepcopy__(self, memo: object) -> BodyPayload:
        """Stay one: tools that record requests copy their arguments, and would copy the loop with it."""
        return self

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:  # noqa: ARG002 - aiohttp's signature
        """Say what it is: a body that streams has no text."""
        return f"<{self._body.content_type}, {self._size} bytes>"

    async def write(self, writer: AbstractStreamWriter) -> None:
        """Write the whole body."""
        await self.write_with_length(writer, None)

    async def write_with_length(
        self,
        writer: AbstractStreamWriter,
        content_length: int | None,  # noqa: ARG002 - the size is exact: nothing is ever to be cut
    ) -> None:
        """Write the whole body."""

        async def emit(block: bytes) -> None:
            self._progress.block_ready()
            await writer.write(block)
            self._progress.block_taken()

        self._writes = True
        self.connection = getattr(writer, "transport", None)
        self.protocol = getattr(writer, "protocol", None)
        self._progress.connected()
        try:
            await self._body.write(emit)
            self.sent = True
            self._progress.body_sent()
        except InputError as error:
            self.error = error
            raise OSError("the input failed") from error
        finally:
            self._writes = False
            over, self._over = self._over, None
            if over is not None:
                over.set()

    async def settled(self) -> None:
        """Wait until the writer let go of every source."""
        while self._writes:
            self._over = self._over or asyncio.Event()
            await self._over.wait()
