"""One job whose outputs are handed out while they arrive; a slow reader slows the socket down."""

from __future__ import annotations

import asyncio
import contextlib
import warnings
from collections import deque
from types import TracebackType
from typing import Self

import anyio
from msgspec.structs import replace

from prodia_async._door import Call
from prodia_async._engine import Engines
from prodia_async._errors import InputError
from prodia_async._files.outputs import Sink, Writer
from prodia_async._models import Job, JobResult, OutputInfo
from prodia_async._run import Run
from prodia_async._wire.result import job_result


class _Handover:
    """Between the task that receives a reply and whoever reads it: at most one piece waits to be read.

    It is each attempt's sink, and the writer of its outputs. `has_begun` once there is something of an output
    to be read: from then on nothing is sent again, and the `timeout` of `run` is met.
    """

    def __init__(self) -> None:
        self.has_begun = False
        self.json: bytes | None = None
        self.run: Run | None = None
        self.items: deque[OutputInfo | bytes] = deque()
        """What is to be read: for each output its begin, its pieces, and an empty piece for its end."""
        self.news = asyncio.Event()

    # The receiving side

    def sink(self, _: Job) -> Sink:
        """Begin an attempt: what an earlier one brought was never seen."""
        self.items.clear()
        self.json = None
        return self

    def job_part(self, body: bytes) -> None:
        """Keep the job part: `Outputs` tells of it as soon as it has come."""
        self.json = body

    async def open(self, output: OutputInfo) -> Writer:
        self.items.append(output)
        self.news.set()
        return self

    async def write(self, data: bytes) -> None:
        """Hand over a piece, once the one before was taken."""
        while any(isinstance(item, bytes) and item for item in self.items):
            await self.changed()
        self._hand_over(data)

    async def close(self) -> None:
        self._hand_over(b"")

    def _hand_over(self, piece: bytes) -> None:
        self.items.append(piece)
        if self.run is not None and self.run.watch is not None:
            self.run.watch.lift_limit()
            self.run = None
        self.has_begun = True
        self.news.set()

    async def commit(self, result: JobResult) -> None:
        """Nothing is kept."""

    async def discard(self) -> None:
        """Nothing is kept; what was handed over may be read to its end before the error is raised."""

    # The reading side

    def take(self) -> None:
        """Take what is next, which makes room."""
        self.items.popleft()
        self.news.set()

    def ended(self, task: asyncio.Task[JobResult]) -> None:
        """Wake the reader. Where none is left, asyncio must not complain that nobody took the exception."""
        self.run = None
        if not task.cancelled():
            task.exception()
        self.news.set()

    async def changed(self) -> None:
        """Wait until there may be more to read, or room."""
        self.news.clear()
        await self.news.wait()


class StreamedOutput:
    """One output of a streamed job: `async for chunk in output` gives its bytes as they arrive, once.

    `filename` is the service's own name for it, never to be used as a path.
    """

    def __init__(self, stream: Stream, info: OutputInfo) -> None:
        self.index: int = info.index
        self.filename: str | None = info.filename
        self.content_type: str = info.content_type
        self._stream = stream
        self._ended = False

    def __aiter__(self) -> StreamedOutput:
        return self

    async def __anext__(self) -> bytes:
        """Return the next piece. Raises ProdiaError where the reply breaks off."""
        piece = b"" if self._ended else await self._stream._piece_of(self)  # noqa: SLF001 - the two are one
        if not piece:
            self._ended = True
            raise StopAsyncIteration
        return piece

    def __repr__(self) -> str:
        return f"StreamedOutput({self.filename!r}, {self.content_type!r})"


class Stream:
    """A job's outputs while they arrive, from `Prodia.stream`.

        async with prodia.stream("inference....", {...}) as reply:
            async for output in reply:
                async for chunk in output:
                    ...
            reply.result

    Instead of `async with`, `await reply.open()` and `await reply.aclose()` will do: a web handler can look
    at `reply.output.content_type`, answer an error properly, and leave the closing to its response.

    A job is sent again, as `Retry` says, until the first bytes of an output are there, which is when `open`
    returns; never after. Going to the next output discards the rest of the one before. Whoever leaves early
    frees the connection at once; the service may still finish, and bill, the job. While nobody reads, nothing
    is received: bound the time that your own reader may take.
    """

    def __init__(self, engines: Engines, call: Call) -> None:
        self.output: StreamedOutput | None = None
        """The output that is being read; before the first one is, that one. None where there are none."""
        self._engines = engines
        self._handover = handover = _Handover()
        self._call = replace(call, to=handover.sink, has_begun=lambda: handover.has_begun)
        self._task: asyncio.Task[JobResult] | None = None
        self._closed = False

    @property
    def result(self) -> JobResult | None:
        """The job result, once its part has come; its `outputs` are known once all was received."""
        task = self._task
        if task is not None and task.done() and not task.cancelled() and task.exception() is None:
            return task.result()
        part = self._handover.json
        return None if part is None else job_result(part, self._call.job, redact=self._call.options.redact)

    async def open(self) -> Stream:
        """Send the job, and return once the first bytes of an output are there, or the whole reply.

        Raises what `Prodia.run` raises for a job that brings no output, and InputError for a stream that was
        closed.
        """
        self._require_open()
        handover = self._handover
        if self._task is None:
            handover.run = Run(self._engines, self._call)
            self._task = asyncio.create_task(handover.run.result(), name="prodia-async stream")
            self._task.add_done_callback(handover.ended)
        task = self._task
        try:
            while not (handover.has_begun or task.done() or self._closed):
                await handover.changed()
            self._require_open()
            if not handover.has_begun:
                task.result()  # an error, or no outputs
        except BaseException:
            await self.aclose()
            raise
        if self.output is None and handover.items and isinstance(handover.items[0], OutputInfo):
            self.output = StreamedOutput(self, handover.items[0])
        return self

    def _require_open(self) -> None:
        if self._closed:
            raise InputError("this stream was closed: make another with prodia.stream(...)")

    def __aiter__(self) -> Stream:
        return self

    async def __anext__(self) -> StreamedOutput:
        """Go to the next output. Raises what became of the job after the last one, if it is an error."""
        while isinstance(item := await self._next(), bytes):
            self._handover.take()
        if item is None:
            raise StopAsyncIteration
        self._handover.take()
        if self.output is None or self.output.index != item.index:
            self.output = StreamedOutput(self, item)
        return self.output

    async def _piece_of(self, output: StreamedOutput) -> bytes:
        """Return an output's next piece, an empty one after the last and for one that was left behind."""
        if output is not self.output:
            return b""
        item = await self._next()
        if isinstance(item, OutputInfo) and item.index == output.index:  # `open` has only looked at it
            self._handover.take()
            item = await self._next()
        if not item or not isinstance(item, bytes) or output is not self.output:
            return b""  # it is over, or another reader went on
        self._handover.take()
        return item

    async def _next(self) -> OutputInfo | bytes | None:
        """Return what is to be read next, and leave it there; None when all was read."""
        self._require_open()
        if self._task is None:
            raise InputError("this stream is not open: read it inside `async with`, or await open() before")
        while not self._handover.items:
            if self._task.done():
                self._task.result()
                return None
            await self._handover.changed()
            self._require_open()
        return self._handover.items[0]

    async def aclose(self) -> None:
        """Free the connection and the place in line, at once if the reply is not whole yet. Twice is well."""
        self._give_up()
        task = self._task
        if task is not None and task.get_loop() is asyncio.get_running_loop():
            with anyio.CancelScope(shield=True):  # a native cancel() passes it: then the task ends by itself
                await asyncio.wait([task])

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is GeneratorExit:  # a generator is closed, or the loop was killed: nothing can be awaited
            self._give_up()
        else:
            await self.aclose()

    def _give_up(self) -> None:
        """Have it closed soon, from wherever this is called."""
        self._closed = True
        self._handover.items.clear()
        if self._task is not None:
            with contextlib.suppress(RuntimeError):  # its loop is closed
                self._task.get_loop().call_soon_threadsafe(self._task.cancel)

    def __del__(self) -> None:
        if self._task is not None and not (self._closed or self._task.done()):
            said = f"unclosed {self!r}: use `async with`, or await aclose()"
            self._give_up()  # first: a warning may be an error
            warnings.warn(said, ResourceWarning, 2, source=self)

    def __repr__(self) -> str:
        state = "closed" if self._closed else "open" if self._task is not None else "not open"
        return f"Stream({self._call.job.type!r}, {state}, output={self.output!r})"
