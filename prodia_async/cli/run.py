"""`prodia-async run`: one job; `prodia-async collect`: the outputs of one that was submitted before."""

from __future__ import annotations

import contextlib
import json
import math
import os
import shutil
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

import prodia_async
from prodia_async import emulator as emulators
from prodia_async.cli import config as configs
from prodia_async.cli import door, loop, options, progress, terminal
from prodia_async.cli.loop import connected
from prodia_async.cli.options import LocalPath, debug_option, json_option
from prodia_async.cli.terminal import Exit, put, say, short, tell
from prodia_async.cli.words import count, dollars, duration

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Awaitable, Callable

    from prodia_async import Event, Job, JobResult, Prodia
    from prodia_async._files.outputs import To
    from prodia_async._models import Mode

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
    "--config",
    "config_file",
    type=LocalPath(allow_dash=True),
    metavar="FILE",
    help="A JSON file with the config; -c goes over it.",
)
@click.option(
    "-i",
    "--input",
    "inputs",
    type=LocalPath(allow_dash=True),
    multiple=True,
    metavar="FILE",
    help="An input file; - is standard input; repeatable.",
)
@options.output()
@click.option("--accept", metavar="TYPE", help="The media type wanted for the first output: image/png.")
@options.mode("The API that runs the job")
@click.option("--price", is_flag=True, help="Ask what the job costs.")
@options.timeout("the job, waiting included")
@json_option
@click.option("--emulator", is_flag=True, help="Run the job on a local emulator instead of the service.")
@debug_option
def command(
    *,
    job_type: str,
    config: tuple[str, ...],
    config_file: str | None,
    inputs: tuple[str, ...],
    out: str | None,
    accept: str | None,
    mode: Mode,
    price: bool,
    timeout: float | None,
    as_json: bool,
    emulator: bool,
) -> Exit:
    """Run one job of TYPE and print the path of each output.

    -c image=@photos/in.jpg adds that file as an input, and names it in the config; so do
    -i photos/in.jpg -c image=in.jpg.
    """
    configs.use_stdin_once(*inputs, *configs.files_of(config), config_file)
    _check_out(out, as_json=as_json)
    waiting = _Waiting(job_type)

    async def main(_: asyncio.Event) -> Exit:
        server = emulators.EmulatorProcess() if emulator else None
        async with connected(server, on_event=waiting.hear) as prodia:

            async def run(to: To) -> JobResult:
                with progress.display(waiting, every=None):
                    return await _run(prodia, job, to, price=price, timeout=timeout, is_kept=not emulator)

            return await _deliver(run, out, as_json=as_json)

    with contextlib.closing(configs.Inputs(inputs)) as files:
        values = configs.read_config(config, config_file, files)
        job = prodia_async.Job(job_type, config=values, inputs=files.items, accept=accept, mode=mode)
        return loop.run(main, on_cut=waiting.cut)


@click.command(
    cls=door.Command, epilog="Example: prodia-async collect b15460fe-6f6c-4d2e-8d5e-6f1f3a0c9a51 -o waves.mp4"
)
@click.argument("job_id", metavar="ID")
@options.output()
@click.option("--price", is_flag=True, help="Ask what the job cost.")
@options.timeout("waiting until the job has ended")
@json_option
@debug_option
def collect(*, job_id: str, out: str | None, price: bool, timeout: float | None, as_json: bool) -> Exit:
    """Wait for a job of the asynchronous API, by its ID, and print the path of each output.

    `prodia-async run --mode async` tells the ID. The service forgets jobs some minutes after they have ended.
    """
    _check_out(out, as_json=as_json)

    async def main(_: asyncio.Event) -> Exit:
        async with connected(None) as prodia:
            handle = prodia.handle(job_id)
            return await _deliver(
                lambda to: handle.result(to, price=price, timeout=timeout), out, as_json=as_json
            )

    return loop.run(main)


async def _run(
    prodia: Prodia, job: Job, to: To, *, price: bool, timeout: float | None, is_kept: bool
) -> JobResult:
    """Run the job; what the service keeps can be collected by another command, whatever happens to this."""
    if job.mode == "sync":
        return await prodia.run(job, to=to, price=price, timeout=timeout)
    began = time.monotonic()
    handle = await prodia.submit(job, price=price, timeout=timeout)
    if is_kept:
        say(f"submitted; to collect it later: prodia-async collect {handle.id}")
    left = None if timeout is None else max(0.001, timeout - (time.monotonic() - began))
    return await handle.result(to, price=price, timeout=left)


class _Waiting(progress.Shown):
    """What a terminal shows while a job runs: how long it does, or why it is tried again, and when."""

    def __init__(self, job_type: str) -> None:
        self._type = short(job_type, 60)
        self._began = time.monotonic()
        self._reason = ""
        self._again = 0.0
        self._was_sent = False

    def hear(self, event: Event) -> None:
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
            return f"{self._type}: {duration(now - self._began)}"
        left = math.ceil(self._again - now)
        return f"{self._reason}: trying again" + (f" in {duration(left)}" if left > 0 else "")


def _check_out(out: str | None, *, as_json: bool) -> None:
    """Raise UsageError where `-o -` cannot mean anything, before a job is paid for."""
    if out != "-":
        return
    if as_json:
        raise click.UsageError(
            "-o - writes the output to standard output, and so does --json: use one of them"
        )
    if sys.stdout is None:
        raise click.UsageError("-o - writes to standard output, which is closed")
    if sys.stdout.isatty():
        raise click.UsageError("-o - would write binary data to the terminal: use a pipe, > FILE or -o FILE")


async def _deliver(run: Callable[[To], Awaitable[JobResult]], out: str | None, *, as_json: bool) -> Exit:
    """Run a job, and print the paths of its outputs, the whole result, or with `-o -` its only output."""
    if out != "-":
        result = await run(prodia_async.Folder(".") if out is None else out)
        if not Path(out or ".").is_absolute():
            result = _relative(result)
        if as_json:
            _print_json(result)
        else:
            for output in result.outputs:
                if output.path is not None:
                    put(os.fsencode(output.path) + b"\n")
        _say_how(result)
        return Exit.DONE
    folder = Path(
        tempfile.mkdtemp(prefix="prodia-async-")
    )  # an output is paid for: it must not hang on a pipe
    try:
        result = await run(prodia_async.Folder(folder))
        _say_how(result)
        code = _copy_to_stdout(result)
        if code == Exit.DONE and not terminal.reader_has_left():
            shutil.rmtree(folder, ignore_errors=True)
        return code
    finally:
        with contextlib.suppress(OSError):
            folder.rmdir()  # noqa: ASYNC240 - once, at the end; what is kept in it stays


def _copy_to_stdout(result: JobResult) -> Exit:
    paths = [Path(str(output.path)) for output in result.outputs]
    reason = f"{len(paths)} outputs came, and -o - takes one"
    if len(paths) == 1:
        with paths[0].open("rb") as file:
            if all(put(block) for block in iter(partial(file.read, _BLOCK), b"")):
                return Exit.DONE
        reason = "standard output did not take the output"
    elif not paths:
        return Exit.DONE
    say(f"prodia-async: {reason}: kept as {', '.join(map(str, paths))}")
    return Exit.DONE if terminal.reader_has_left() else Exit.FAILED


def _relative(result: JobResult) -> JobResult:
    """Return the result with paths as they are from the current folder."""
    from msgspec.structs import replace  # noqa: PLC0415 - not needed for `run --help`

    outputs = [
        prodia_async.Output(
            output.filename, output.content_type, output.size, output.path and os.path.relpath(output.path)
        )
        for output in result.outputs
    ]
    return replace(result, outputs=tuple(outputs))


def _print_json(result: JobResult) -> None:
    from msgspec import to_builtins  # noqa: PLC0415 - not needed for `run --help`

    from prodia_async.batch import results  # noqa: PLC0415 - the same

    record = results.done(None, result)
    del record["custom_id"]
    tell(json.dumps(to_builtins(record)))


def _say_how(result: JobResult) -> None:
    tries = f", {len(result.attempts)} attempts" if len(result.attempts) > 1 else ""
    price = f", {dollars(result.price.dollars)}" if result.price is not None else ""
    say(f"{short(result.type)}: done, {count(len(result.outputs), 'output')}{tries}{price}")
    for warning in result.warnings:
        say(f"warning: {warning}")
