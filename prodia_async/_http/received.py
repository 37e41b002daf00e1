"""A reply as it is taken apart: outputs go to the sink, the job part is kept, and limits are watched."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

from prodia_async._errors import OutputError
from prodia_async._models import Output, OutputInfo
from prodia_async._wire.decoder import Event, JobPart, OutputEnd, OutputStart

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Iterable

    from prodia_async._files.sinks import Sink, Writer
    from prodia_async._models import JobResult
    from prodia_async._settings import Limits

log = logging.getLogger("prodia_async")

JobPartHook: TypeAlias = Callable[[bytes], None]
"""Hears of a reply's job part as soon as it has come."""


class NotKeptError(Exception):
    """The sink failed, or the outputs broke a limit of ours: the job ran, but its outputs are not kept."""

    def __init__(self, cause: Exception | None, reason: str) -> None:
        super().__init__(reason)
        self.cause = cause


class Received:
    """What one attempt has brought so far. `commit` or `discard` ends it."""

    def __init__(self, sink: Sink, limits: Limits, hook: JobPartHook | None = None) -> None:
        self.job_part: bytes | None = None
        self._hook = hook
        self._sink = sink
        self._max_bytes = limits.max_output_bytes
        self._infos: list[OutputInfo] = []
        self._writers: list[Writer] = []
        self._sizes: list[int] = []

    async def take(self, events: Iterable[Event]) -> None:
        """Deal with what the decoder made of a piece of the reply, in order. Raises NotKeptError."""
        try:
            for event in events:
                if isinstance(event, bytes):
                    self._count(len(event))
                    await self._writers[-1].write(event)
                elif isinstance(event, OutputStart):
                    info = OutputInfo(len(self._infos), event.filename, event.content_type)
                    self._infos.append(info)
                    self._sizes.append(0)
                    self._writers.append(await self._sink.open(info))
                elif isinstance(event, OutputEnd):
                    await self._writers[-1].close()
                elif isinstance(event, JobPart):
                    self.job_part = event.body
                    if self._hook is not None:
                        self._hook(event.body)
        except NotKeptError:
            raise
        except Exception as error:
            raise _not_kept(error) from error

    def _count(self, size: int) -> None:
        self._sizes[-1] += size
        if self._max_bytes is not None and sum(self._sizes) > self._max_bytes:
            raise NotKeptError(None, f"its outputs are larger than Limits.max_output_bytes={self._max_bytes}")

    async def commit(self, result: JobResult) -> None:
        """Keep the outputs. Raises NotKeptError."""
        try:
            await self._sink.commit(result)
        except Exception as error:
            raise _not_kept(error) from error

    @property
    def is_kept(self) -> bool:
        """Whether the sink says that all outputs stand, though its commit was interrupted."""
        return bool(getattr(self._sink, "is_committed", False))

    async def discard(self) -> None:
        """Drop what was received. A sink that cannot even do that is told of in the log only."""
        try:
            await self._sink.discard()
        except Exception:
            log.exception("a sink's discard() raised")

    def outputs(self) -> tuple[Output, ...]:
        """Describe the outputs; where they lie is known once they are committed."""
        return tuple(
            [
                Output(
                    info.filename,
                    info.content_type,
                    size,
                    getattr(writer, "path", None),
                    getattr(writer, "data", None),
                )
                for info, size, writer in zip(self._infos, self._sizes, self._writers, strict=True)
            ]
        )

    def written(self) -> tuple[pathlib.Path, ...]:
        """Return the files that stand already."""
        return tuple(output.path for output in self.outputs() if output.path is not None)


def _not_kept(error: Exception) -> NotKeptError:
    """Whatever a sink raises means that the outputs are not kept."""
    what = str(error) if isinstance(error, OutputError) else f"the sink failed: {error!r}"
    return NotKeptError(error, what)
