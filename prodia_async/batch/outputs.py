"""Where a batch's outputs go, and which of them stand although their outcome was not seen yet."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from msgspec.structs import replace

from prodia_async._files.sinks import Budget, FolderSink

if TYPE_CHECKING:
    from pathlib import Path

    from prodia_async._files.sinks import Sink, Writer
    from prodia_async._models import Job, JobResult, OutputInfo


class Outputs:
    """Makes the sink of each attempt: `<out>/outputs/<hh>/<custom_id>.<ext>`.

    `hh` is the first byte of the SHA-256 of the custom_id in hex, which keeps folders small. `landed` holds
    the results of jobs whose outputs stand, until whoever writes them down takes them out.
    """

    def __init__(self, out: Path, collect: int) -> None:
        self.landed: dict[str, JobResult] = {}
        self._folder = out / "outputs"
        self._budget = Budget(collect)

    def sink(self, job: Job) -> Sink:
        """Return the sink for one attempt of a job with a custom_id."""
        custom_id = job.custom_id or ""
        digest = hashlib.sha256(custom_id.encode()).hexdigest()
        return _BatchSink(
            FolderSink(self._folder / digest[:2], custom_id, self._budget), custom_id, self.landed
        )


class _BatchSink:
    """A FolderSink that notes when its outputs stand: a cancellation may come before anybody is told."""

    def __init__(self, folder: FolderSink, custom_id: str, landed: dict[str, JobResult]) -> None:
        self._folder = folder
        self._custom_id = custom_id
        self._landed = landed
        self._writers: list[Writer] = []

    async def open(self, output: OutputInfo) -> Writer:
        writer = await self._folder.open(output)
        self._writers.append(writer)
        return writer

    async def commit(self, result: JobResult) -> None:
        try:
            await self._folder.commit(result)
        finally:
            paths = [getattr(writer, "path", None) for writer in self._writers]
            if None not in paths:
                pairs = zip(result.outputs, paths, strict=True)
                outputs = tuple(replace(output, path=path) for output, path in pairs)
                self._landed[self._custom_id] = replace(result, outputs=outputs)

    async def discard(self) -> None:
        await self._folder.discard()
