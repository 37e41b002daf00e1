"""`prodia-async run`: one job."""

from __future__ import annotations

import json
import os
import sys
from typing import TYPE_CHECKING, BinaryIO

import click

import prodia_async
from prodia_async import emulator as emulators
from prodia_async._errors import ProdiaError
from prodia_async.cli import loop
from prodia_async.cli.client import connected
from prodia_async.cli.config import read_config
from prodia_async.cli.options import config_option, debug_option
from prodia_async.cli.options import timeout as timeout_option
from prodia_async.cli.terminal import Exit, say

if TYPE_CHECKING:
    import asyncio

    from prodia_async import Job, JobResult


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
        job = prodia_async.Job(job_type, config=values, inputs=inputs, accept=accept)
        to = prodia_async.Folder(".") if out is None else out
        async with connected(emulators.Emulator() if emulator else None) as prodia:
            try:
                result = await prodia.run(job, to=to, price=price, timeout=timeout)
            except ProdiaError as error:
                if as_json:
                    _print_json(error)
                raise
        if as_json:
            _print_json(result)
        else:
            _print_paths(result)
        _tell(job, result)
        return Exit.DONE

    sys.exit(loop.run(main, debug=debug))


def _print_paths(result: JobResult) -> None:
    for output in result.outputs:
        if output.path is not None:
            click.echo(os.fsencode(output.path))


def _print_json(end: JobResult | ProdiaError) -> None:
    from msgspec import to_builtins  # noqa: PLC0415 - not needed for `run --help`

    from prodia_async.batch import results  # noqa: PLC0415 - the same

    record = results.failed(None, end) if isinstance(end, ProdiaError) else results.done(None, end)
    del record["custom_id"]
    click.echo(json.dumps(to_builtins(record)))


def _tell(job: Job, result: JobResult) -> None:
    tries = f", {len(result.attempts)} attempts" if len(result.attempts) > 1 else ""
    price = f", ${result.price.dollars:g}" if result.price is not None else ""
    outputs = f"{len(result.outputs)} output{'' if len(result.outputs) == 1 else 's'}"
    say(f"{job.type}: done, {outputs}{tries}{price}")
    for warning in result.warnings:
        say(f"warning: {warning}")
