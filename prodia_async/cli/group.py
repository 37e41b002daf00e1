"""The group of commands; each is loaded when it is called."""

from __future__ import annotations

import importlib

import click

import prodia_async
from prodia_async.cli import door

_COMMANDS = {
    "run": "Run one job and store its outputs.",
    "collect": "Fetch the outputs of a job that was submitted before.",
    "batch": "Run all jobs of a manifest, or go on with them.",
    "results": "Print what became of batches, or write it anew.",
    "emulator": "Run a local server that behaves like the service.",
}


class _LazyGroup(door.Command, click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's interface
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click's
        if cmd_name not in _COMMANDS:
            return None
        module = importlib.import_module(f"prodia_async.cli.{'run' if cmd_name == 'collect' else cmd_name}")
        command: click.Command = module.collect if cmd_name == "collect" else module.command
        return command

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Take no arguments for a wish for help."""
        return super().parse_args(ctx, args or ["--help"])

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options, and list the commands without loading them."""
        super().format_options(ctx, formatter)
        with formatter.section("Commands"):
            formatter.write_dl(list(_COMMANDS.items()))


@click.command(
    cls=_LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog='Example: prodia-async run inference.flux-fast.schnell.txt2img.v2 -c prompt="a cat" -o cat.jpg',
)
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=door.show(lambda _: f"prodia-async, version {prodia_async.__version__}"),
    help="Show the version.",
)
def command() -> None:
    """Run jobs on the Prodia Inference API.

    The token comes from PRODIA_TOKEN, the base URL from PRODIA_BASE_URL. PRODIA_LOG=debug shows what
    happens. Exit codes: 0 all done, 1 some failed, 2 nothing ran: bad usage or manifest, 3 token refused,
    4 money spent, 5 gave up, 130 interrupted, 141 all done, but the reader of standard output has left.
    """
