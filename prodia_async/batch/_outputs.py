"""Where a batch's outputs go: `<out>/outputs/<hh>/<custom_id>.<ext>`, which the batch owns.

The journal tells of a job's files before they get their names. What a kill leaves between the two is given
its name by the next run, and no output is ever there that no row names.
"""

# ruff: noqa: PTH105, PTH108, PTH118 - pathlib costs as much as the system does
from __future__ import annotations

import contextlib
import hashlib
import os
import threading
from typing import TYPE_CHECKING, TypeAlias

from prodia_async._errors import InputError, OutputError, quoted, reason_of
from prodia_async._files.landing import name_of
from prodia_async._files.sinks import FolderSink
from prodia_async._files.threads import hop, start
from prodia_async.batch._records import is_url, relative

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from pathlib import Path

    from prodia_async._files.sinks import Budget, DiskWriter, WaitForRoom
    from prodia_async._models import Job, JobResult
    from prodia_async.batch._database import Reader
    from prodia_async.batch._schema import Row

OnWhole: TypeAlias = "Callable[[JobResult, LandingSink], Awaitable[None]]"
"""Writes down a job whose files are whole; awaited until its row is committed and `name_files` was called."""


class Outputs:
    """Makes the sink of each attempt.

    `hh` is the first byte of the SHA-256 of the custom_id in hex, which keeps folders small. `wait_for_room`
    is awaited by a sink that meets a full disk, before it tries again. `reader` tells which names are taken.
    """

    def __init__(self, out: Path, budget: Budget, wait_for_room: WaitForRoom, reader: Reader) -> None:
        self.out = out
        self._folders = {f"{byte:02x}": str(out / "outputs" / f"{byte:02x}") for byte in range(256)}
        self.budget = budget
        self.wait_for_room = wait_for_room
        self._reader = reader
        self._taken: set[str] = set()  # by jobs whose files have no names yet
        self._lock = threading.Lock()

    @property
    def is_busy(self) -> bool:
        """Whether a batch that ends early waits for outputs of jobs that are done: not for files."""
        return False

    def sink(self, job: Job, own: Sequence[str], on_whole: OnWhole) -> LandingSink:
        """Return the sink for one attempt of a job; `own`: the paths of outputs that it had before."""
        custom_id = job.custom_id or ""
        return LandingSink(self, self.folder(custom_id), custom_id, own=own, on_whole=on_whole)

    def folder(self, custom_id: str) -> str:
        """Return the folder of a job's files."""
        digest = hashlib.sha256(custom_id.encode("utf-8", "surrogatepass")).hexdigest()
        return self._folders[digest[:2]]

    def stand(self, row: Row) -> bool:
        """Whether all outputs of a job are there with their sizes. Blocks."""
        return all(self._stands(path, size) for path, size in row.outputs)

    def _stands(self, path: str, size: int) -> bool:
        try:
            return is_url(path) or os.stat(os.path.join(self.out, path)).st_size == size  # noqa: PTH116 - a million of them
        except (OSError, ValueError):
            return False

    def take(self, path: str, own: Sequence[str]) -> bool:
        """Take a name, in a thread; False if it is another job's. A file that no row tells of is replaced."""
        name = self.relative(path)
        key = name.lower()  # some file systems tell no difference
        with self._lock:
            if key in self._taken:
                return False
            self._taken.add(key)
        if name in own or not os.path.lexists(path) or not self._reader.tells_of(name):
            return True
        self._taken.discard(key)
        return False

    def give(self, path: str) -> None:
        """Take note that a name is in the journal, and its file in its place."""
        self._taken.discard(self.relative(path).lower())

    def relative(self, path: str) -> str:
        """Return the path of an output as journal and results have it: relative to the batch's folder."""
        return path if is_url(path) else relative(path, self.out)

    async def settle(self) -> None:
        """Give the files that a killed run has left the names that the journal tells, and remove all others.

        Raises InputError for a file that cannot get its name.
        """
        await hop(self._settle)

    def give_name(self, path: Path, name: str) -> None:
        """Give a file that a killed run has left its name."""
        if is_url(name):
            raise InputError(
                f"{quoted(str(path))} is still to be uploaded to {quoted(name)}: pass to= as that run had it"
            )
        path.replace(self.out / name)

    def _settle(self) -> None:
        left = {str(path.relative_to(self.out).as_posix()): path for path in self._parts()}
        for _, files in self._reader.parts() if left else ():
            for part, name, size in files:
                path = left.get(part)
                try:
                    if path is not None and path.stat().st_size == size:
                        self.give_name(path, name)
                        del left[part]
                except OSError as error:
                    raise InputError(
                        f"{quoted(str(path))} could not be renamed to {quoted(name)} ({reason_of(error)}): "
                        "correct that, and run the same command again"
                    ) from error
        for path in left.values():
            with contextlib.suppress(OSError):
                path.unlink()

    def _parts(self) -> list[Path]:
        return list((self.out / "outputs").glob("*/.prodia-*.part"))


class LandingSink(FolderSink):
    """A FolderSink whose files get their names once a row of the journal tells of them.

    `parts` are its complete temporary files, and `targets` the names that they get.
    """

    def __init__(
        self, outputs: Outputs, folder: str, custom_id: str, *, own: Sequence[str], on_whole: OnWhole
    ) -> None:
        super().__init__(folder, custom_id, outputs.budget, wait_for_room=outputs.wait_for_room)
        self.parts: list[str] = []
        self.targets: list[str] = []
        self._named = 0
        self._outputs = outputs
        self._own = own
        self._on_whole = on_whole

    async def commit(self, result: JobResult) -> None:
        """Make the files whole, have the journal tell of them, and give them their names.

        A cancellation that comes once they are whole changes nothing of that: the journal's thread goes on.
        """
        writers, stands = self._writers, None
        try:
            await super().commit(result)
        finally:
            if len(self.targets) == len(writers):
                stands = self._on_whole(result, self)
        while stands is not None:
            try:
                await stands
                stands = None
            except OutputError:
                raise
            except OSError as error:
                await self.has_room(error)
                stands = start(self.name_files).result()

    def name_files(self) -> None:
        """Give the files their names, in a thread, where it was left if it failed before.

        One that is gone, with its folder, is made again by the next run, as any output that was removed.
        """
        for part, target in list(zip(self.parts, self.targets, strict=True))[self._named :]:
            with contextlib.suppress(FileNotFoundError):
                os.replace(part, target)
            self._outputs.give(target)
            self._named += 1

    def _land(self, writers: Sequence[DiskWriter], stem: str) -> None:
        super()._land(writers, stem)
        if len(self.targets) == len(writers):
            for name in {*self._own} - {*map(self._outputs.relative, self.targets)}:
                with contextlib.suppress(OSError):
                    os.unlink(os.path.join(self._outputs.out, name))

    def _settle(self, writer: DiskWriter, stem: str) -> None:
        """Choose the name that a complete file gets."""
        number = self._number + 1
        while not self._outputs.take(
            target := f"{self.folder}{os.sep}{name_of(stem, writer.suffix, number)}", self._own
        ):
            number += 1
        self.parts.append(writer.temporary)
        self.targets.append(target)
        writer.temporary, writer.location, self._number = "", target, number
