"""One run of `prodia-async batch`, its contact sheet, and `--check`."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from prodia_async import batch as batches
from prodia_async._errors import ProdiaError
from prodia_async._files.threads import hop
from prodia_async.batch.manifest import Shard, count_jobs
from prodia_async.cli import progress, terminal
from prodia_async.cli.loop import connected
from prodia_async.cli.summary import as_object, as_text, check_as_object, check_as_text, exit_code, reasons_of
from prodia_async.cli.terminal import Exit, say, short, short_words, tell
from prodia_async.cli.words import count

if TYPE_CHECKING:
    from prodia_async import Prodia
    from prodia_async.batch import BatchReport, Problem
    from prodia_async.cli.summary import Bench

_MOST_PROBLEMS = 20
"""How many bad lines are shown; the summary counts all."""


class BatchRun:
    """A batch on the command line: `main` runs it; `stop` and `cut` are called by the first two signals.

    `given` has the options of the command under the names that `run_batch` has for them, and
    `max_concurrency` and `no_report`.
    """

    def __init__(
        self,
        manifest: str,
        out: str,
        given: dict[str, Any],
        *,
        bench: Bench | None,
        as_json: bool,
    ) -> None:
        self._manifest = manifest
        self._out = out
        self._given = given
        self._page = not given.pop("no_report")
        self._max_concurrency = given.pop("max_concurrency")
        self._bench = bench
        self._server = None if bench is None else bench.emulator()
        self._as_json = as_json
        self._state = progress.State()
        self._writing: asyncio.Task[Path | None] | None = None

    async def main(self, stop: asyncio.Event) -> Exit:
        """Run the batch, write its page, print its summary."""
        async with connected(self._server, max_concurrency=self._max_concurrency) as prodia:
            report = await self._run(prodia, stop)
        page = await self._write_page(report)
        account = None if self._server is None else self._server.stats()
        reasons = await hop(reasons_of, report.results) if report.failed else []
        tell((as_object if self._as_json else as_text)(report, page, self._bench, account, reasons))
        if report.reason is not None:
            say(f"prodia-async: {report.reason}")
        return exit_code(report)

    def stop(self) -> None:
        """Say what the first signal does: no more jobs begin; if only the page is left, leave it."""
        if self._writing is not None:
            self._writing.cancel()
            return
        jobs = count(self._state.in_flight, "job")
        self._state.stop()
        say(f"stopping: no more jobs begin, {jobs} in flight may finish; again: stop now")

    def cut(self) -> None:
        """Say what the second signal has cut."""
        if self._writing is None:
            jobs = count(self._state.in_flight, "job was", "jobs were")
            billed = ": they may have run and been billed" if self._state.in_flight else ""
            say(f"stopped: {jobs} in flight{billed}")
            say("to go on: the same command again")

    async def _run(self, prodia: Prodia, stop: asyncio.Event) -> BatchReport:
        given = dict(self._given)
        given["shard"] = shard = None if given["shard"] is None else Shard.parse(given["shard"])
        given["prices"] = dict(given["prices"])
        given["price"] = given["price"] or None  # None: as --max-spend needs it
        counting = asyncio.create_task(self._count(1 if shard is None else shard.of))
        try:
            with progress.display(self._state):
                return await batches.run_batch(
                    _source(self._manifest),
                    self._out,
                    prodia=prodia,
                    stop=stop,
                    on_progress=self._state.update,
                    on_problem=Complaints(self._manifest).add,
                    **given,
                )
        finally:
            counting.cancel()

    async def _write_page(self, report: BatchReport) -> Path | None:
        if not self._page or not (report.done or report.failed):
            return None
        self._writing = asyncio.create_task(try_page(report.out))
        return await self._writing  # which ends by itself when it is cancelled: the summary is still printed

    async def _count(self, parts: int) -> None:
        """Count the jobs, for the time left; a pipe is read once, and --only-failed runs but some."""
        path = Path(self._manifest)
        if self._manifest == "-" or self._given["only_failed"]:
            return
        with contextlib.suppress(OSError):
            if await hop(path.is_file):
                self._state.expect(await hop(count_jobs, path, abandon=True), parts)


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


class Complaints:
    """Shows the first bad lines of a manifest."""

    def __init__(self, manifest: str) -> None:
        self._name = "standard input" if manifest == "-" else short(manifest)
        self._count = 0

    def add(self, problem: Problem) -> None:
        """Show a bad line, or that further ones are not shown."""
        self._count += 1
        if self._count <= _MOST_PROBLEMS:
            say(f"{self._name} line {problem.line}: {short_words(problem.reason)}")
        elif self._count == _MOST_PROBLEMS + 1:
            say("further bad lines are only counted")


async def check_jobs(manifest: str, jobs: dict[str, Any], *, as_json: bool) -> Exit:
    """Read a manifest, and print what is in it; `jobs` are options of `check_manifest`."""
    check = await batches.check_manifest(_source(manifest), on_problem=Complaints(manifest).add, **jobs)
    tell(check_as_object(check) if as_json else check_as_text(check))
    return Exit.USAGE if check.problem_count else Exit.DONE


def _source(manifest: str) -> str | BinaryIO:
    """Return what `run_batch` takes; standard input unbuffered, so that lines are seen as they come."""
    return manifest if manifest != "-" else open(0, "rb", buffering=0, closefd=False)
