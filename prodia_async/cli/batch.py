"""`prodia-async batch`: all jobs of a manifest."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from prodia_async.cli import config as configs
from prodia_async.cli import door, loop, options
from prodia_async.cli.door import section
from prodia_async.cli.options import LocalPath

if TYPE_CHECKING:
    from prodia_async.cli.summary import Bench
    from prodia_async.cli.terminal import Exit

_jobs = section("The jobs")
_running = section("Running them")
_again = section("Running the same command again")
_money = section("Money")
_shown = section("What is shown")
_trying = section("Trying it without the service")

_EPILOG = """Exit codes: 0 all done, 1 some jobs failed or lines were bad, 2 nothing ran: bad usage or no good
line, 3 token refused, 4 money spent, 5 gave up, 130 interrupted, 141 standard output has no reader.

\b
Example: prodia-async batch jobs.jsonl --out results
         prodia-async batch prompts.csv --out results --type TYPE -c steps=4
         prodia-async batch jobs.jsonl --out results --max-spend 5.00
"""


@click.command(cls=door.Command, epilog=_EPILOG)
@click.argument("manifest", type=LocalPath(exists=True, dir_okay=False, allow_dash=True))
@_jobs(
    "--out",
    type=LocalPath(is_read=False, file_okay=False),
    help="The folder for the results; needed but for --check.",
)
@_jobs("--check", is_flag=True, help="Only read all of MANIFEST, and tell what is in it. Sends nothing.")
@_jobs("--type", metavar="TYPE", help="The type of jobs whose line has none.")
@options.config_option("A value of every job's config where its line says nothing else, as in `run`.", _jobs)
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
    help="What a job of a type costs, so that --max-spend need not find out; repeatable.",
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
    out: str | None,
    check: bool,
    as_json: bool,
    emulator: bool,
    **given: Any,
) -> Exit:
    """Run all jobs of MANIFEST: JSON lines, or CSV if its name ends so; - is standard input.

    A line is {"custom_id": "a1", "type": "...", "config": {...}, "inputs": ["a.jpg"], "accept": "image/png"};
    only the type is needed, and --type gives that too. Inputs are relative to the manifest's folder.
    "mode": "async" runs it through the asynchronous API. CSV has the columns custom_id, type, prompt, input,
    mode and config.*.

    Outputs go to OUT/outputs, what became of each job to OUT/results.jsonl, and a contact sheet to
    OUT/report.html. The same command again goes on where the last one ended, however that was: what is done
    is not run again. Ctrl-C lets the jobs in flight finish; twice stops at once.
    """
    # Loaded here: `--help` needs none of it.
    from prodia_async.cli.batch_run import BatchRun, check_jobs  # noqa: PLC0415 - as above

    if given["retry_failed"] and given["only_failed"]:
        raise click.UsageError("--retry-failed and --only-failed exclude each other")
    configs.use_stdin_once(manifest, *configs.files_of(given["config"]))
    given["config"] = configs.read_config(given["config"])
    bench = _bench(given, emulator=emulator)
    if check:
        jobs = {name: given[name] for name in ("type", "config", "accept", "shard", "allow_outside")}
        return loop.run(lambda _: check_jobs(manifest, jobs, as_json=as_json))
    if out is None:
        raise click.UsageError("Missing option '--out': the folder for the results.")
    run = BatchRun(manifest, out, given, bench=bench, as_json=as_json)
    return loop.run(run.main, on_stop=run.stop, on_cut=run.cut)


def _bench(given: dict[str, Any], *, emulator: bool) -> Bench | None:
    """Take the emulator's options out of `given`. Raises UsageError if they are there without it."""
    from prodia_async.cli.summary import Bench  # noqa: PLC0415 - `--help` needs none of it

    options = {name: given.pop(name) for name in ("capacity", "latency", "free_at")}
    misplaced = [f"--{name.replace('_', '-')}" for name, value in options.items() if value is not None]
    if misplaced and not emulator:
        raise click.UsageError(f"{' and '.join(misplaced)}: only with --emulator")
    return Bench.of(**options) if emulator else None
