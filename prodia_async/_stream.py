"""One job whose outputs are handed out while they arrive; a slow reader slows the socket down."""

from __future__ import annotations

import asyncio
import contextlib
import warnings
from collections import deque
from typing import TYPE_CHECKING, TypeAlias

import anyio
from msgspec import Struct
from msgspec.structs import replace

from prodia_async._errors import InputError
from prodia_async._files.targets import Target
from prodia_async._models import Job, JobResult, OutputInfo
from prodia_async._run import Run
from prodia_async._wire.result import job_result

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from prodia_async._call import Call
    from prodia_async._engine import Connect
    from prodia_async._files.sinks import Sink, Writer


class _End(Struct, frozen=True):
    """The output that began last is whole."""


_END = _End()

_Item: TypeAlias = OutputInfo | bytes | _End


class _Handover:
    """Between the task that receives a reply and whoever reads it: at most one piece waits to be read.

    `has_begun` once there is something of an output to be read: from then on nothing is sent again.
    """

    def __init__(self) -> None:
        self.has_begun = False
        self.job_part: bytes | None = None
        self.on_begin: Callable[[], object] | None = None
        self._items: deque[_Item] = deque()
        self._is_full = False
        self._readable = asyncio.Event()
        self._room = asyncio.Event()

    # The receiving side

    def sink(self, _: Job) -> Sink:
        """Begin an attempt: what an earlier one brought was never seen."""
        self._items.clear()
        self._is_full = False
        self.job_part = None
        return _HandoverSink(self)

    def hear_job_part(self, body: bytes) -> None:
        """Keep the job part."""
        self.job_part = body

    def put(self, item: OutputInfo | _End) -> None:
        """Hand over what is no piece of an output."""
        self._items.append(item)
        if self.has_begun or item is _END:
            self._begin()

    async def put_piece(self, piece: bytes) -> None:
        """Hand over a piece, once the one before was taken."""
        while self._is_full:
            self._room.clear()
            await self._room.wait()
        self._is_full = True
        self._items.append(piece)
        self._begin()

    def _begin(self) -> None:
        self.has_begun = True
        on_begin, self.on_begin = self.on_begin, None
        if on_begin is not None:
            on_begin()
        self._readable.set()

    # The reading side

    def peek(self) -> _Item | None:
        """Return what is next, if it is there."""
        return self._items[0] if self._items else None

    def take(self) -> None:
        """Take what is next."""
        if isinstance(self._items.popleft(), bytes):
            self._is_full = False
            self._room.set()

    def ended(self, task: asyncio.Task[JobResult]) -> None:
        """Let the reader look at what came of it; where nobody reads any more, nobody wants to know."""
        if not task.cancelled():
            task.exception()
        self._readable.set()

    def clear(self) -> None:
        """Let go of what nobody will read."""
        self._items.clear()

    async def changed(self) -> None:
        """Wait until there may be more to read."""
        self._readable.clear()
        await self._readable.wait()


class _HandoverSink:
    """One attempt's outputs, on their way to the reader."""

    def __init__(self, handover: _Handover) -> None:
        self._handover = handover

    async def open(self, output: OutputInfo) -> Writer:
        self._handover.put(output)
        return self

    async def write(self, data: bytes) -> None:
        await self._handover.put_piece(data)

    async def close(self) -> None:
        self._handover.put(_END)

    async def commit(self, result: JobResult) -> None:
        """Nothing is kept."""

    async def discard(self) -> None:
        """Nothing is kept; what was handed over may be read to its end before the error is raised."""


class StreamedOutput:
    """One output of a streamed job: `async for chunk in output` gives its bytes as they arrive, once.

    `filename` is the service's own name for it, never to be used as a path.
    """

    def __init__(self, stream: Stream, info: OutputInfo) -> None:
        self.index = info.index
        self.filename = info.filename
        self.content_type = info.content_type
        self._stream = stream
        self._ended = False

    def __aiter__(self) -> StreamedOutput:
        return self

    async def __anext__(self) -> bytes:
        """Return the next piece. Raises ProdiaError where the reply breaks off."""
        if not self._ended:
            piece = await self._stream._piece_of(self)  # noqa: SLF001 - the two are one
            if piece is not None:
                return piece
            self._ended = True
        raise StopAsyncIteration

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

    def __init__(self, connect: Connect, call: Call) -> None:
        self.output: StreamedOutput | None = None
        """The output that is being read; before the first one is, that one. None where there are none."""
        self._connect = connect
        self._call = call
        self._handover = _Handover()
        self._redact: Callable[[str], str] = str
        self._task: asyncio.Task[JobResult] | None = None
        self._closed = self._peeked = False

    @property
    def result(self) -> JobResult | None:
        """The job result, once its part has come; its `outputs` are known once all was received."""
        task = self._task
        if task is not None and task.done() and not task.cancelled() and task.exception() is None:
            return task.result()
        part = self._handover.job_part
        if part is None:
            return None
        return job_result(part, self._call.job, redact=self._redact)

    async def open(self) -> Stream:
        """Send the job, and return once the first bytes of an output are there, or the whole reply.

        Raises what `Prodia.run` raises for a job that brings no output, and InputError for a stream that was
        closed.
        """
        self._require_open()
        try:
            await self._begun(self._task or await self._send())
        except BaseException:
            await self.aclose()
            raise
        return self

    async def _send(self) -> asyncio.Task[JobResult]:
        handover = self._handover
        engine, options = await self._connect()
        self._redact = options.redact
        run = Run(engine, options, self._received_by(handover))
        handover.on_begin = run.lift_timeout
        self._task = asyncio.create_task(run.result(), name="prodia-async stream")
        self._task.add_done_callback(handover.ended)
        return self._task

    async def _begun(self, task: asyncio.Task[JobResult]) -> None:
        handover = self._handover
        while not (handover.has_begun or self._closed):
            if task.done():
                task.result()  # an error, or no outputs
                return
            await handover.changed()
        self._require_open()
        first = handover.peek()
        if self.output is None and isinstance(first, OutputInfo):
            self._go_to(first)
            self._peeked = True

    def _require_open(self) -> None:
        if self._closed:
            raise InputError("this stream was closed: make another with prodia.stream(...)")

    def _received_by(self, handover: _Handover) -> Call:
        return replace(
            self._call,
            target=Target(accept=None, single=False, sink=handover.sink),
            job_part=handover.hear_job_part,
            has_begun=lambda: handover.has_begun,
        )

    def _go_to(self, info: OutputInfo) -> StreamedOutput:
        self._handover.take()
        self.output = StreamedOutput(self, info)
        return self.output

    def __aiter__(self) -> Stream:
        return self

    async def __anext__(self) -> StreamedOutput:
        """Go to the next output. Raises what became of the job after the last one, if it is an error."""
        if self._peeked and self.output is not None:
            self._peeked = False
            return self.output
        while True:
            item = await self._next()
            if isinstance(item, OutputInfo):
                return self._go_to(item)
            if item is None:
                raise StopAsyncIteration
            self._handover.take()

    async def _piece_of(self, output: StreamedOutput) -> bytes | None:
        """Return the next piece of an output, None after the last one and for one that was left behind."""
        if output is not self.output:
            return None
        self._peeked = False
        item = await self._next()
        if not isinstance(item, bytes) or output is not self.output:  # another reader may have gone on
            return None
        self._handover.take()
        return item

    async def _next(self) -> _Item | None:
        """Return what is to be read next, and leave it there; None when all was read."""
        task = self._task
        while True:
            self._require_open()
            if task is None:
                raise InputError(
                    "this stream is not open: read it inside `async with`, or await open() before"
                )
            item = self._handover.peek()
            if item is not None:
                return item
            if task.done():
                task.result()
                return None
            await self._handover.changed()

    async def aclose(self) -> None:
        """Free the connection and the place in line, at once if the reply is not whole yet. Twice is well."""
        self._closed = True
        task = self._task
        if task is None:
            return
        if task.get_loop() is not asyncio.get_running_loop():
            self._give_up()
            return
        task.cancel()
        self._handover.clear()
        with anyio.CancelScope(shield=True):  # a native cancel() passes it: then the task ends by itself
            await asyncio.wait([task])

    async def __aenter__(self) -> Stream:  # noqa: PYI034 - typing.Self needs Python 3.11
        return await self.open()

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
