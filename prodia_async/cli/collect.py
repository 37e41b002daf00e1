"""`prodia-async collect`: the outputs of a job that was submitted before."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

import prodia_async
from prodia_async.cli import loop
from prodia_async.cli.client import connected
from prodia_async.cli.options import debug_option
from prodia_async.cli.options import timeout as timeout_option
from prodia_async.cli.printing import print_result, printed_errors
from prodia_async.cli.terminal import Exit

if TYPE_CHECKING:
    import asyncio


@click.command(epilog="Example: prodia-async collect b15460fe-6f6c-4d2e-8d5e-6f1f3a0c9a51 -o waves.mp4")
@click.argument("job_id", metavar="ID")
@click.option(
    "-o", "--output", "out", metavar="PATH", help="A file or a folder. Default: the current folder."
)
@click.option("--price", is_flag=True, help="Ask what the job cost.")
@timeout_option("waiting until the job has ended")
@click.option("--json", "as_json", is_flag=True, help="Print the result as one JSON object.")
@debug_option
def command(
    *, job_id: str, out: str | None, price: bool, timeout: float | None, as_json: bool, debug: bool
) -> None:
    """Wait for a job of the asynchronous API, by its ID, and print the path of each output.

    `prodia-async run --mode async` tells the ID. The service forgets jobs some minutes after they have ended.
    """

    async def main(_stop: asyncio.Event) -> Exit:
        to = prodia_async.Folder(".") if out is None else out
        async with connected(None) as prodia:
            with printed_errors(as_json=as_json):
                result = await prodia.handle(job_id).result(to, price=price, timeout=timeout)
        print_result(result, out, as_json=as_json)
        return Exit.DONE

    sys.exit(loop.run(main, debug=debug))
