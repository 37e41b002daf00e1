"""`prodia-async run`: one job; `prodia-async collect`: the outputs of one that was submitted before."""

from __future__ import annotations

import contextlib
import math
import os
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

import prodia_async
from prodia_async import emulator as emulators
from prodia_async.cli import config as configs
from prodia_async.cli import door, loop, options, progress, terminal
from prodia_async.cli.options import LocalPath, debug_option, json_option
from prodia_async.cli.terminal import Exit, count, dollars, duration, put, say, short

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Awaitable, Callable

    from prodia_async import JobResult, Prodia
    from prodia_async._files.outputs import To
    from prodia_async.emulator import EmulatorProcess

_BLOCK = 1024 * 1024


@click.command(
    cls=door.Command,
    epilog="Example: prodia-async run inference.flux.schnell.img2img.v1 "
    '-c prompt="as an oil painting" -c image=@in.jpg -c steps=4 -o out.png',
)
@click.argument("job_type", metavar="TYPE")
@options.config_option(
    "A value of the job's config; repeatable. A prompt is text, another value JSON where it is JSON, else "
    "text. KEY=@FILE adds a picture, film or sound as an input, and reads any other FILE as text; KEY:=JSON "
    "is JSON; KEY=@@TEXT is text that begins with @."
)
@click.option(
    *("--config", "config_file"),
    type=LocalPath(allow_dash=True),
    metavar="FILE",
    help="A JSON file with the config; -c goes over it.",
)
@click.option(
    *("-i", "--input", "inputs"),
    type=LocalPath(allow_dash=True),
    multiple=True,
    metavar="FILE",
    help="An input file; - is standard input; repeatable.",
)
@click.option(
    *("--extra", "extra"),
    multiple=True,
    metavar="KEY=VALUE",
    help="A further field of the job, beside its type and config, such as a workflow's jobs; as -c; "
    "repeatable.",
)
@options.output_option
@click.option("--accept", metavar="TYPE", help="The media type wanted for the first output: image/png.")
@options.mode("The API that runs the job")
@click.option("--price", is_flag=True, help="Ask what the job costs.")
@options.timeout("the job, waiting included")
@json_option
@click.option("--emulator", is_flag=True, help="Run the job on a local emulator instead of the service.")
@debug_option
def command(*, job_type: str, out: str | None, as_json: bool, emulator: bool, **given: Any) -> Exit:
    """Run one job of TYPE and print the path of each output.

    -c image=@photos/in.jpg adds that file as an input, and names it in the config; so do
    -i photos/in.jpg -c image=in.jpg.
    """
    files, pairs, file = given["inputs"], given["config"], given["config_file"]
    configs.use_stdin_once((*pairs, *given["extra"]), *files, file)
    ask = {"price": given["price"], "timeout": given["timeout"]}

    async def main(prodia: Prodia, to: To) -> JobResult:
        if job.mode == "sync":
            return await prodia.run(job, to=to, **ask)
        began = time.monotonic()
        handle = await prodia.submit(job, **ask)
        if not emulator:  # what the service keeps can be collected later, whatever happens to this command
            say(f"submitted; to collect it later: prodia-async collect {handle.id}")
        if ask["timeout"] is not None:
            ask["timeout"] = max(0.001, ask["timeout"] - (time.monotonic() - began))
        return await handle.result(to, **ask)

    with configs.Inputs(files) as inputs:
        config = configs.read_config(pairs, file, inputs)
        extra = configs.read_extra(given["extra"])
        how = {"accept": given["accept"], "mode": given["mode"]}
        job = prodia_async.Job(job_type, config=config, inputs=inputs.items, extra=extra, **how)
        server = emulators.EmulatorProcess() if emulator else None
        return _deliver(main, job_type, out, as_json=as_json, server=server)


@click.command(
    cls=door.Command, epilog="Example: prodia-async collect b15460fe-6f6c-4d2e-8d5e-6f1f3a0c9a51 -o waves.mp4"
)
@click.argument("job_id", metavar="ID")
@options.output_option
@click.option("--price", is_flag=True, help="Ask what the job cost.")
@options.timeout("waiting until the job has ended")
@json_option
@debug_option
def collect(*, job_id: str, out: str | None, price: bool, timeout: float | None, as_json: bool) -> Exit:
    """Wait for a job of the asynchronous API, by its ID, and print the path of each output.

    `prodia-async run --mode async` tells the ID. The service forgets jobs some minutes after they have ended.
    """

    async def main(prodia: Prodia, to: To) -> JobResult:
        return await prodia.handle(job_id).result(to, price=price, timeout=timeout)

    return _deliver(main, job_id, out, as_json=as_json)


class _Waiting(progress.Shown):
    """What a terminal shows while a job runs: how long it does, or why it is tried again, and when."""

    _reason = ""
    _again = 0.0
    _was_sent = False

    def __init__(self, name: str) -> None:
        self._name = short(name, 60)
        self._began = time.monotonic()

    def hear(self, event: prodia_async.Event) -> None:
        """Take note of what happened to the job; called in another thread."""
        attempt = event.attempt
        self._reason = ""
        if event.kind == "sent":
            self._was_sent = True
        elif attempt is not None and event.kind in ("shed", "retried"):
            self._reason = "the service is full" if event.kind == "shed" else attempt.reason
            self._again = time.monotonic() + (attempt.retry_after or 0.0)

    def cut(self) -> None:
        """Say what Ctrl-C has cut."""
        if self._was_sent and not self._reason:
            say("stopped: the job may have run and been billed")

    def text(self) -> str:
        """Describe it in a line."""
        now = time.monotonic()
        if not self._reason:
            return f"{self._name}: {duration(now - self._began)}"
        left = math.ceil(self._again - now)
        return f"{self._reason}: trying again" + (f" in {duration(left)}" if left > 0 else "")


def _deliver(
    main: Callable[[Prodia, To], Awaitable[JobResult]],
    name: str,
    out: str | None,
    *,
    as_json: bool,
    server: EmulatorProcess | None = None,
) -> Exit:
    """Run a job, and print the paths of its outputs, the whole result, or with `-o -` its only output."""
    _check_out(out, as_json=as_json)
    waiting = _Waiting(name)
    # An output is paid for: it must not hang on a pipe.
    folder = Path(tempfile.mkdtemp(prefix="prodia-async-") if out == "-" else out or ".")
    to = out if out not in (None, "-") else prodia_async.Folder(folder)

    async def run(_: asyncio.Event) -> Exit:
        async with loop.connected(server, on_event=waiting.hear) as prodia:
            with progress.display(waiting, every=None):
                result = await main(prodia, to)
        tries = f", {len(result.attempts)} attempts" if len(result.attempts) > 1 else ""
        price = "" if result.price is None else f", {dollars(result.price.dollars)}"
        say(f"{short(result.type)}: done, {count(len(result.outputs), 'output')}{tries}{price}")
        for warning in result.warnings:
            say(f"warning: {warning}")
        if out == "-":
            return _move_to_stdout([Path(str(output.path)) for output in result.outputs])
        return _print(result, is_absolute=folder.is_absolute(), as_json=as_json)

    try:
        return loop.run(run, on_cut=waiting.cut)
    finally:
        if out == "-":
            with contextlib.suppress(OSError):  # what is kept in it stays
                folder.rmdir()


def _check_out(out: str | None, *, as_json: bool) -> None:
    """Raise UsageError where `-o -` cannot mean anything, before a job is paid for."""
    if out == "-" and as_json:
        raise click.UsageError(
            "-o - writes the output to standard output, and so does --json: use one of them"
        )
    if out == "-" and sys.stdout is None:
        raise click.UsageError("-o - writes to standard output, which is closed")
    if out == "-" and sys.stdout.isatty():
        raise click.UsageError("-o - would write binary data to the terminal: use a pipe, > FILE or -o FILE")


def _print(result: JobResult, *, is_absolute: bool, as_json: bool) -> Exit:
    from prodia_async.batch import _records as records

    record = records.done(None, result)
    for output in record["outputs"]:
        if output["path"] is not None and not is_absolute:
            output["path"] = os.path.relpath(output["path"])
        if output["path"] is not None and not as_json:
            put(os.fsencode(output["path"]) + b"\n")
    if as_json:
        door.tell_record(record)
    return Exit.DONE


def _move_to_stdout(paths: list[Path]) -> Exit:
    reason = f"{len(paths)} outputs came, and -o - takes one"
    if len(paths) == 1:
        reason = "standard output did not take the output"
        with paths[0].open("rb") as file:
            is_taken = all(put(block) for block in iter(partial(file.read, _BLOCK), b""))
        if is_taken:
            paths[0].unlink()
            return Exit.DONE
    if paths:
        say(f"prodia-async: {reason}: kept as {', '.join(map(str, paths))}")
    return Exit.FAILED if paths and not terminal.reader_has_left() else Exit.DONE
