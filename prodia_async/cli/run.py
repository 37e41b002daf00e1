"""`prodia-async run`: one job."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, BinaryIO

import click

import prodia_async
from prodia_async import emulator as emulators
from prodia_async.cli import loop
from prodia_async.cli.client import connected
from prodia_async.cli.config import read_config
from prodia_async.cli.options import config_option, debug_option
from prodia_async.cli.options import mode as mode_option
from prodia_async.cli.options import timeout as timeout_option
from prodia_async.cli.printing import print_result, printed_errors
from prodia_async.cli.terminal import Exit, say

if TYPE_CHECKING:
    import asyncio

    from prodia_async import Job, JobResult, Prodia
    from prodia_async._files.outputs import To
    from prodia_async._models import Mode


@click.command(
    epilog="Example: prodia-async run inference.flux.schnell.img2img.v1 "
    '-c prompt="as an oil painting" -c image=in.jpg -c steps=4 -i in.jpg -o out.png'
)
@click.argument("job_type", metavar="TYPE")
@config_option("A value of the job's config: JSON where it is JSON, else text; repeatable.")
@click.option(
    "--config", "config_file", type=click.File("rb"), help="A JSON file with the config; -c goes over it."
)
@click.option("-i", "--input", "inputs", multiple=True, metavar="FILE", help="An input file; repeatable.")
@click.option(
    "-o",
    "--output",
    "out",
    metavar="PATH",
    help="A file, whose suffix also asks for the type, or a folder. Default: the current folder.",
)
@click.option("--accept", metavar="TYPE", help="The media type wanted for the first output: image/png.")
@mode_option("The API that runs the job")
@click.option("--price", is_flag=True, help="Ask what the job costs.")
@timeout_option("the job, waiting included")
@click.option("--json", "as_json", is_flag=True, help="Print the result as one JSON object.")
@click.option("--emulator", is_flag=True, help="Run the job on a local emulator instead of the service.")
@debug_option
def command(
    *,
    job_type: str,
    config: tuple[str, ...],
    config_file: BinaryIO | None,
    inputs: tuple[str, ...],
    out: str | None,
    accept: str | None,
    mode: Mode,
    price: bool,
    timeout: float | None,
    as_json: bool,
    emulator: bool,
    debug: bool,
) -> None:
    """Run one job of TYPE and print the path of each output.

    Inputs are referred to by their file names in the config: -i photos/in.jpg -c image=in.jpg.
    """
    values = read_config(config, config_file)

    async def main(_stop: asyncio.Event) -> Exit:
        job = prodia_async.Job(job_type, config=values, inputs=inputs, accept=accept, mode=mode)
        to = prodia_async.Folder(".") if out is None else out
        async with connected(emulators.Emulator() if emulator else None) as prodia:
            with printed_errors(as_json=as_json):
                result = await _run(prodia, job, to, price=price, timeout=timeout, is_kept=not emulator)
        print_result(result, out, as_json=as_json)
        return Exit.DONE

    sys.exit(loop.run(main, debug=debug))


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
