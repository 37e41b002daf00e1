"""Where a batch's outputs go: `<out>/outputs/<hh>/<custom_id>.<ext>`."""

from __future__ import annotations

import contextlib
import hashlib
from typing import TYPE_CHECKING, TypeAlias

from prodia_async._files.sinks import FolderSink

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from prodia_async._files.sinks import Budget, WaitForRoom
    from prodia_async._models import Job, JobResult

OnLanded: TypeAlias = "Callable[[JobResult, Sequence[str]], object]"
"""Hears of the result and the paths of its outputs, as text: a pathlib.Path costs as much as a file."""


class Outputs:
    """Makes the sink of each attempt.

    `hh` is the first byte of the SHA-256 of the custom_id in hex, which keeps folders small. `wait_for_room`
    is awaited by a sink that meets a full disk, before it tries again.
    """

    def __init__(self, out: Path, budget: Budget, wait_for_room: WaitForRoom) -> None:
        self._folder = out / "outputs"
        self._folders = {f"{byte:02x}": str(self._folder / f"{byte:02x}") for byte in range(256)}
        self._budget = budget
        self._wait_for_room = wait_for_room

    def sink(self, job: Job, on_landed: OnLanded) -> LandingSink:
        """Return the sink for one attempt of a job; `on_landed` hears when its outputs stand."""
        custom_id = job.custom_id or ""
        digest = hashlib.sha256(custom_id.encode("utf-8", "surrogatepass")).hexdigest()
        folder = self._folders[digest[:2]]
        return LandingSink(
            folder, custom_id, self._budget, wait_for_room=self._wait_for_room, on_landed=on_landed
        )

    def sweep(self) -> None:
        """Remove the temporary files that a killed run has left. Blocks."""
        for path in self._folder.glob("*/.prodia-*.part"):
            with contextlib.suppress(OSError):
                path.unlink()


class LandingSink(FolderSink):
    """A FolderSink that tells of its outputs the moment they stand: a cancellation may come next."""

    def __init__(
        self,
        folder: str,
        custom_id: str,
        budget: Budget,
        *,
        wait_for_room: WaitForRoom,
        on_landed: OnLanded,
    ) -> None:
        super().__init__(folder, custom_id, budget, wait_for_room=wait_for_room)
        self._on_landed = on_landed

    async def commit(self, result: JobResult) -> None:
        """Make the outputs stand, and tell."""
        writers = self._writers
        try:
            await super().commit(result)
        finally:
            paths = [writer.location for writer in writers]
            landed = [path for path in paths if path is not None]
            if len(landed) == len(paths):
                self._on_landed(result, landed)
