"""The contact sheet of a batch, as commands write it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from prodia_async import batch as batches
from prodia_async._errors import ProdiaError
from prodia_async.cli import progress, terminal
from prodia_async.cli.terminal import say

if TYPE_CHECKING:
    from pathlib import Path


class Seen(progress.Shown):
    """How many outputs were looked at for the page."""

    def update(self, seen: int, of: int) -> None:
        """Take note of how many were seen."""
        self.finished, self.total = seen, of

    def text(self) -> str:
        """Describe the progress in a line."""
        of = "" if self.total is None else f" of {self.total:,}"
        return f"report.html: {self.finished:,}{of} outputs seen"


async def write_page(folder: Path) -> Path:
    """Write FOLDER/report.html and return its path. Raises what `write_report` raises."""
    seen = Seen()
    with progress.display(seen):
        path: Path = await batches.write_report(folder, on_progress=seen.update)
        return path


async def try_page(folder: Path) -> Path | None:
    """Write FOLDER/report.html; None, and a line that says why, where that fails or is cancelled."""
    reason = "it was interrupted"
    try:
        return await write_page(folder)
    except asyncio.CancelledError:
        pass
    except Exception as error:  # noqa: BLE001 - a fault of the page never hides how the batch ended
        if terminal.debug():
            terminal.say_traceback()
        reason = error.message if isinstance(error, ProdiaError) else f"{type(error).__name__}: {error}"
    say(f"no report.html: {reason.rstrip('.')}; to write it: prodia-async results {folder} --report")
    return None
