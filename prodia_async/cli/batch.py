"""`prodia-async batch`: all jobs of a manifest; its contact sheet, and `--check`."""

from __future__ import annotations

import asyncio
import itertools
from functools import partial
from typing import TYPE_CHECKING, Any, BinaryIO

import click

from prodia_async import batch as batches
from prodia_async import emulator as emulators
from prodia_async.cli import config as configs
from prodia_async.cli import door, loop, options, progress, terminal
from prodia_async.cli.door import section
from prodia_async.cli.options import LocalPath, ManifestPath
from prodia_async.cli.terminal import Exit, count, say, short, short_words, tell

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from prodia_async import Prodia
    from prodia_async.batch import BatchReport, Problem

_MOST_PROBLEMS = 20
"""How many bad lines are shown; the summary counts all."""

_OF_A_CHECK = "type", "config", "accept", "mode", "repeat", "vary", "first", "shard", "allow_outside"
"""Options that a check has, too, beside `prices` and `on_problem`."""

_jobs = section("The jobs")
_running = section("Running them")
_again = section("Running the same command again")
_money = section("Money")
_shown = section("What is shown")
_trying = section("Trying it without the service")

_EPILOG = """Exit codes: 0 all done, 1 some jobs failed or lines were bad, 2 nothing ran: bad usage or no good
line, 3 token refused, 4 money spent, 5 gave up, 130 interrupted, 141 standard output has no reader.

\b
Example: prodia-async batch jobs.jsonl --out results --max-spend 5.00
         prodia-async batch photos/ --out oil --type TYPE -c prompt="in oil" -c image={name}
         prodia-async batch 'photos/**/*.png' --out all --type TYPE -c image={name} --first 20
         prodia-async batch prompts.txt --out cats --type TYPE --repeat 4 --vary steps=2,4
"""


@click.command(cls=door.Command, epilog=_EPILOG)
@click.argument("manifest", type=ManifestPath(exists=True, allow_dash=True))
@click.argument("others", nargs=-1, metavar="")
@_jobs(
    "--out",
    type=LocalPath(file_okay=False),
    help="The folder for the results; needed but for --check.",
)
@_jobs(
    "--to",
    type=options.lasting_store,
    metavar="URL",
    help="Where outputs go on to: s3://bucket/prefix/; gs, az, file as well.",
)
@_jobs(
    "--check", is_flag=True, help="Only tell what is in MANIFEST and, with --price, its cost. Sends nothing."
)
@_jobs(
    "--write-manifest",
    "write_to",
    type=LocalPath(dir_okay=False),
    metavar="FILE",
    help="Only write what would run, as JSON lines. Sends nothing.",
)
@_jobs("--first", type=click.IntRange(min=1), metavar="N", help="Run the first N jobs only, as a sample.")
@_jobs("--type", metavar="TYPE", help="The type of jobs whose line has none.")
@options.config_option(
    "A value of every job's config where its line says nothing else, as in `run`. For pictures it may have "
    "{name}, {stem} and {folder} in it, for prompts {prompt}; a brace is written {{.",
    _jobs,
)
@_jobs("--repeat", type=click.IntRange(min=1), metavar="N", help="Run each job with N seeds, from 1 upward.")
@_jobs(
    "--vary",
    multiple=True,
    metavar="KEY=A,B",
    help="Run each job with each of these values in its config, or in braces of -c; repeatable: with all "
    "combinations.",
)
@_jobs("--accept", metavar="TYPE", help="The media type wanted, where a line says nothing else: image/png.")
@options.mode("The API for jobs whose line names none", _jobs)
@_jobs("--shard", metavar="N/M", help="Run only the Nth of M parts: each machine a part, and an --out.")
@_jobs("--allow-outside", is_flag=True, help="Allow inputs outside of the manifest's folder.")
@_running(
    "--max-concurrency", type=click.IntRange(min=1), metavar="N", help="The most jobs at once; default: 256."
)
@options.timeout("each job, from its first attempt on", _running)
@_running(
    "--give-up-after",
    type=options.seconds,
    metavar="SECONDS",
    help="End the batch when nothing could be done for so long: 90, 30m, 3h; default: never.",
)
@_again("--retry-failed", is_flag=True, help="Run the jobs that failed again, too.")
@_again("--only-failed", is_flag=True, help="Run only the jobs that failed, or were cut, again.")
@_money(
    "--max-spend",
    type=options.dollars,
    metavar="DOLLARS",
    help="The most that all runs of this batch may cost. Asks for prices; counts what may have been billed.",
)
@_money(
    "--price",
    "prices",
    type=options.type_price,
    multiple=True,
    metavar="TYPE=DOLLARS",
    help="What a job of a type costs, so that --max-spend need not find out, and for --check; repeatable.",
)
@_money("--ask-price", "price", is_flag=True, help="Ask what each job costs, and sum it up.")
@_shown("--json", "as_json", is_flag=True, help="Print the summary, or the error, as one JSON object.")
@_shown("--no-report", is_flag=True, help="Write no contact sheet, report.html.")
@_shown("--debug", is_flag=True, expose_value=False, help="Show the whole log, and tracebacks.")
@_trying("--emulator", is_flag=True, help="Run on a local emulator.")
@_trying(
    "--capacity", type=click.IntRange(min=1), metavar="N", help="How many jobs it runs at once; default: 8."
)
@_trying(
    "--latency", type=click.FloatRange(min=0), metavar="S", help="Seconds that a job takes; default: 0.5."
)
@_trying("--free-at", type=click.Choice(["headers", "end"]), help="When a slot is idle; default: headers.")
def command(
    *,
    manifest: str,
    others: tuple[str, ...],
    out: str | None,
    check: bool,
    write_to: str | None,
    as_json: bool,
    emulator: bool,
    no_report: bool,
    max_concurrency: int | None,
    **given: Any,
) -> Exit:
    """Run all jobs of MANIFEST: JSON lines, or CSV if its name ends so; - is standard input.

    Without a manifest, name a folder of pictures or a pattern in quotes (a job for each picture, which is
    its input), or a .txt of prompts, one a line.

    A line is {"custom_id": "a1", "type": "...", "config": {...}, "inputs": ["a.jpg"], "accept": "image/png"};
    only the type is needed, and --type gives that too. Inputs are relative to the manifest's folder.
    "mode": "async" runs it through the asynchronous API. CSV has the columns custom_id, type, prompt, input,
    mode and config.*.

    Outputs go to OUT/outputs, or with --to into a bucket; what became of each job to OUT/results.jsonl, and a
    contact sheet to OUT/report.html. The same command again goes on where the last one ended, however that
    was: what is done is not run again. Ctrl-C lets the jobs in flight finish; twice stops at once.
    """
    if others:
        raise click.UsageError(
            "name one manifest; for a job for each of many files, a folder or a pattern in quotes: 'in/*.png'"
        )
    if write_to == "-":
        raise click.UsageError("--write-manifest takes the name of a file, such as jobs.jsonl, not -")
    if given["retry_failed"] and given["only_failed"]:
        raise click.UsageError("--retry-failed and --only-failed exclude each other")
    configs.use_stdin_once(given["config"], manifest)
    given["config"], given["vary"] = configs.read_config(given["config"]), configs.read_vary(given["vary"])
    given["prices"], given["on_problem"] = dict(given["prices"]), _complaints(manifest)
    names = "capacity", "latency", "free_at"
    bench = {name: value for name in names if (value := given.pop(name)) is not None}
    if bench and not emulator:
        misplaced = " and ".join(f"--{name.replace('_', '-')}" for name in bench)
        raise click.UsageError(f"{misplaced}: only with --emulator")
    if check or write_to is not None:
        jobs = {name: given[name] for name in (*_OF_A_CHECK, "prices", "on_problem")}
        return loop.run(lambda _: _check(manifest, jobs, write_to, as_json=as_json))
    if out is None:
        raise click.UsageError("Missing option '--out': the folder for the results.")
    used = {"capacity": 8, "latency": 0.5} | bench if emulator else None
    run = BatchRun(manifest, out, given, bench=used, as_json=as_json, page=not no_report)
    return loop.run(partial(run.main, max_concurrency), on_stop=run.stop, on_cut=run.cut)


class BatchRun:
    """A batch on the command line: `main` runs it; `stop` and `cut` are called by the first two signals.

    `given` has the options of the command under the names that `run_batch` has for them, `bench` those of the
    emulator, where it is wanted.
    """

    def __init__(
        self,
        manifest: str,
        out: str,
        given: dict[str, Any],
        *,
        bench: dict[str, Any] | None,
        as_json: bool,
        page: bool,
    ) -> None:
        self._manifest, self._out, self._given = manifest, out, given
        self._bench, self._as_json, self._page = bench, as_json, page
        self._state = progress.State(is_rough=given.get("shard") is not None)
        self._writing: asyncio.Task[Path | None] | None = None

    async def main(self, max_concurrency: int | None, stop: asyncio.Event) -> Exit:
        """Run the batch, write its page, print its summary."""
        from prodia_async._files.threads import hop
        from prodia_async.cli import summary

        server = None if self._bench is None else emulators.EmulatorProcess(**self._bench)
        async with loop.connected(server, max_concurrency=max_concurrency) as prodia:
            report = await self._run(prodia, stop)
        page = await self._write_page(report)
        account = None if server is None else server.stats()
        reasons = await hop(summary.reasons_of, report.results) if report.failed else []
        ended = summary.Summary(
            *(report, page, self._bench or {}, account, reasons), self._given["first"], self._given["to"]
        )
        tell(ended.json() if self._as_json else ended.text())
        if report.reason is not None:
            say(f"prodia-async: {report.reason}")
        return ended.exit_code

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
        given["price"] = given["price"] or None  # None: as --max-spend needs it
        with progress.display(self._state):
            return await batches.run_batch(
                _source(self._manifest),
                self._out,
                prodia=prodia,
                stop=stop,
                on_progress=self._state.update,
                **given,
            )

    async def _write_page(self, report: BatchReport) -> Path | None:
        if not self._page or not (report.done or report.failed):
            return None
        self._writing = asyncio.create_task(try_page(report.out))
        return await self._writing  # which ends by itself when it is cancelled: the summary is still printed


class Seen(progress.Shown):
    """How many outputs were looked at for the page."""

    def update(self, seen: int, of: int) -> None:
        """Take note of how many were seen."""
        self.finished: int = seen
        self.total: int | None = of

    def text(self) -> str:
        """Describe the progress in a line."""
        of = "" if self.total is None else f" of {self.total:,}"
        return f"report.html: {self.finished:,}{of} outputs seen"


async def write_page(*folders: Path, to: str | None = None) -> Path:
    """Write FOLDER/report.html, or `to` of them all; return its path. Raises what `write_report` raises."""
    seen = Seen()
    with progress.display(seen):
        path: Path = await batches.write_report(*folders, to=to, on_progress=seen.update)
        return path


async def try_page(folder: Path) -> Path | None:
    """Write FOLDER/report.html; None, and a line that says why, where that fails or is cancelled."""
    try:
        return await write_page(folder)
    except asyncio.CancelledError:
        reason = "it was interrupted"
    except Exception as error:  # noqa: BLE001 - a fault of the page never hides how the batch ended
        terminal.log.debug("no report.html", exc_info=True)
        reason = getattr(error, "message", None) or f"{type(error).__name__}: {error}"
    say(f"no report.html: {reason.rstrip('.')}; to write it: prodia-async results {folder} --report")
    return None


def _complaints(manifest: str) -> Callable[[Problem], None]:
    """Return what shows the first bad lines of a manifest."""
    from prodia_async.batch._pictures import is_pictures

    name, number = "standard input" if manifest == "-" else short(manifest), itertools.count(1)
    has_lines = not is_pictures(manifest)

    def show(problem: Problem) -> None:
        if (seen := next(number)) <= _MOST_PROBLEMS:
            line = f" line {problem.line}" if has_lines else ""
            say(f"{name}{line}: {short_words(problem.reason)}")
        elif seen == _MOST_PROBLEMS + 1:
            say("further bad lines are only counted")

    return show


async def _check(manifest: str, jobs: dict[str, Any], write_to: str | None, *, as_json: bool) -> Exit:
    """Read a manifest, and print what is in it; `jobs` are options of `check_manifest`."""
    from prodia_async.cli.summary import check_as_object, check_as_text

    check = await batches.check_manifest(_source(manifest), write_to=write_to, **jobs)
    tell(check_as_object(check) if as_json else check_as_text(check))
    if write_to is not None:
        say(f"written: {write_to}")
    return Exit.USAGE if check.problem_count else Exit.DONE


def _source(manifest: str) -> str | BinaryIO:
    """Return what `run_batch` takes; standard input unbuffered, so that lines are seen as they come."""
    return manifest if manifest != "-" else open(0, "rb", buffering=0, closefd=False)
