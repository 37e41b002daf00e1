"""`prodia-async batch`: all jobs of a manifest."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Literal

import click

import prodia_async
from prodia_async import batch as batches
from prodia_async._files.hops import hop
from prodia_async.batch.manifest import count_jobs
from prodia_async.cli import loop, progress, terminal
from prodia_async.cli.client import connected
from prodia_async.cli.summary import Bench, as_object, as_text, exit_code
from prodia_async.cli.terminal import Exit, say

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

    from prodia_async import Prodia
    from prodia_async.batch import BatchReport, Problem

_MOST_PROBLEMS = 20
"""How many bad lines are shown; the summary counts all."""


@click.command(epilog="Example: prodia-async batch jobs.jsonl --out results --max-concurrency 16")
@click.argument("manifest", type=click.Path(exists=True, dir_okay=False, allow_dash=True))
@click.option("--out", required=True, type=click.Path(file_okay=False), help="The folder for the results.")
@click.option(
    "--max-concurrency", type=click.IntRange(min=1), help="How many jobs at once; default: the client's own."
)
@terminal.price_option
@terminal.seconds("each job")
@click.option("--json", "as_json", is_flag=True, help="Print the summary as one JSON object.")
@click.option("--emulator", is_flag=True, help="Run on a local emulator instead of the service.")
@click.option(
    "--capacity", type=click.IntRange(min=1), help="The emulator's: how many jobs run at once; default: 8."
)
@click.option(
    "--latency", type=click.FloatRange(min=0), help="The emulator's: seconds that a job takes; default: 0.5."
)
@click.option(
    "--free-at",
    type=click.Choice(["headers", "end"]),
    help="The emulator's: when a slot is idle again; default: headers.",
)
@terminal.debug_option
def command(
    *,
    manifest: str,
    out: str,
    max_concurrency: int | None,
    price: bool,
    timeout: float | None,
    as_json: bool,
    emulator: bool,
    capacity: int | None,
    latency: float | None,
    free_at: Literal["headers", "end"] | None,
    debug: bool,
) -> None:
    """Run all jobs of MANIFEST, a file of JSON lines; - is standard input.

    A line is {"custom_id": "a1", "type": "...", "config": {...}, "inputs": ["a.jpg"], "accept": "image/png"};
    only the type is needed. Inputs are relative to the manifest's folder. Outputs go to OUT/outputs, and
    OUT/results.jsonl gets a line for each job. Ctrl-C lets the jobs in flight finish; twice stops at once.
    """
    given = {"--capacity": capacity, "--latency": latency, "--free-at": free_at}
    misplaced = [name for name, value in given.items() if value is not None and not emulator]
    if misplaced:
        raise click.UsageError(f"{' and '.join(misplaced)}: only with --emulator")
    bench = Bench(capacity or 8, 0.5 if latency is None else latency, free_at or "headers")
    run = _Run(manifest, bench if emulator else None)

    async def main(stop: asyncio.Event) -> Exit:
        async with run.client(max_concurrency) as prodia:
            report = await run.batch(prodia, out, stop, price=price, timeout=timeout)
        click.echo(run.summary(report, as_json=as_json))
        if report.reason is not None:
            say(f"prodia-async: {report.reason}")
        return exit_code(report)

    sys.exit(loop.run(main, debug=debug, on_stop=run.announce_stop))


class _Run:
    """One batch: its emulator, if any, and what is shown of it."""

    def __init__(self, manifest: str, bench: Bench | None) -> None:
        self._manifest = manifest
        self._bench = bench
        self._server = None if bench is None else bench.emulator()
        self._state = progress.State()
        self._problems = 0

    def client(self, max_concurrency: int | None) -> AbstractAsyncContextManager[Prodia]:
        # A job whose answer was lost is sent once more, as its output is wanted; its attempts tell so.
        retry = prodia_async.Retry(resend_unknown=1)
        return connected(self._server, max_concurrency=max_concurrency, retry=retry)

    async def batch(
        self, prodia: Prodia, out: str, stop: asyncio.Event, *, price: bool, timeout: float | None
    ) -> BatchReport:
        counting = asyncio.create_task(self._count())
        try:
            with progress.display(self._state):
                return await batches.run_batch(
                    _source(self._manifest),
                    out,
                    prodia=prodia,
                    price=price,
                    timeout=timeout,
                    stop=stop,
                    on_progress=self._state.update,
                    on_problem=self._show,
                )
        except asyncio.CancelledError:
            self._announce_cut()
            raise
        finally:
            counting.cancel()

    def summary(self, report: BatchReport, *, as_json: bool) -> str:
        account = None if self._server is None else self._server.stats()
        return (as_object if as_json else as_text)(report, self._bench, account)

    def announce_stop(self) -> None:
        say(f"stopping: {self._state.in_flight} jobs in flight finish, no others begin; again: stop now")

    def _announce_cut(self) -> None:
        if self._state.in_flight:
            say(f"stopped: {self._state.in_flight} jobs were in flight: they may have run and been billed")

    def _show(self, problem: Problem) -> None:
        self._problems += 1
        if self._problems <= _MOST_PROBLEMS:
            name = "standard input" if self._manifest == "-" else self._manifest
            say(f"{name} line {problem.line}: {problem.reason}")
        elif self._problems == _MOST_PROBLEMS + 1:
            say("further bad lines are only counted")

    async def _count(self) -> None:
        """Count the jobs, for the time left; a pipe has no second reading."""
        path = Path(self._manifest)
        with contextlib.suppress(OSError):
            if await hop(path.is_file):
                self._state.total = await hop(count_jobs, path, abandon=True)


def _source(manifest: str) -> str | BinaryIO:
    """Return what `run_batch` takes; standard input unbuffered, so that lines are seen as they come."""
    return manifest if manifest != "-" else open(0, "rb", buffering=0, closefd=False)
