"""Where a batch's outputs go: `<out>/outputs/<hh>/<custom_id>.<ext>`."""

from __future__ import annotations

import contextlib
import hashlib
from typing import TYPE_CHECKING, TypeAlias

from msgspec.structs import replace

from prodia_async._files.sinks import FolderSink

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from prodia_async._files.sinks import Budget, WaitForRoom, Writer
    from prodia_async._models import Job, JobResult, OutputInfo

OnLanded: TypeAlias = "Callable[[JobResult], object]"


class Outputs:
    """Makes the sink of each attempt.

    `hh` is the first byte of the SHA-256 of the custom_id in hex, which keeps folders small. `wait_for_room`
    is awaited by a sink that meets a full disk, before it tries again.
    """

    def __init__(self, out: Path, budget: Budget, wait_for_room: WaitForRoom) -> None:
        self._folder = out / "outputs"
        self._folders = {f"{byte:02x}": self._folder / f"{byte:02x}" for byte in range(256)}
        self._budget = budget
        self._wait_for_room = wait_for_room

    def sink(self, job: Job, on_landed: OnLanded) -> LandingSink:
        """Return the sink for one attempt of a job; `on_landed` gets the result whose outputs stand."""
        custom_id = job.custom_id or ""
        digest = hashlib.sha256(custom_id.encode("utf-8", "surrogatepass")).hexdigest()
        folder = FolderSink(
            self._folders[digest[:2]], custom_id, self._budget, wait_for_room=self._wait_for_room
        )
        return LandingSink(folder, on_landed)

    def sweep(self) -> None:
        """Remove the temporary files that a killed run has left. Blocks."""
        for path in self._folder.glob("*/.prodia-*.part"):
            with contextlib.suppress(OSError):
                path.unlink()


class LandingSink:
    """A FolderSink that tells of its outputs the moment they stand: a cancellation may come next."""

    def __init__(self, folder: FolderSink, on_landed: OnLanded) -> None:
        self._folder = folder
        self._on_landed = on_landed
        self._writers: list[Writer] = []

    async def open(self, output: OutputInfo) -> Writer:
        """Begin an output."""
        writer = await self._folder.open(output)
        self._writers.append(writer)
        return writer

    async def commit(self, result: JobResult) -> None:
        """Make the outputs stand, and tell."""
        try:
            await self._folder.commit(result)
        finally:
            paths = [getattr(writer, "path", None) for writer in self._writers]
            if None not in paths:
                pairs = zip(result.outputs, paths, strict=True)
                outputs = tuple(replace(output, path=path) for output, path in pairs)
                self._on_landed(replace(result, outputs=outputs))

    async def discard(self) -> None:
        """Leave nothing."""
        await self._folder.discard()
