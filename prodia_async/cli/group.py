"""The group of commands; each is loaded when it is called."""

from __future__ import annotations

import importlib

import click

import prodia_async

_COMMANDS = {
    "run": "Run one job and store its outputs.",
    "collect": "Fetch the outputs of a job that was submitted before.",
    "batch": "Run all jobs of a manifest, or go on with them.",
    "results": "Print what became of batches, or write it anew.",
    "emulator": "Run a local server that behaves like the service.",
}


class _LazyGroup(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's interface
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click's
        if cmd_name not in _COMMANDS:
            return None
        command: click.Command = importlib.import_module(f"prodia_async.cli.{cmd_name}").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - click's
        """List the commands without loading them."""
        with formatter.section("Commands"):
            formatter.write_dl(list(_COMMANDS.items()))


@click.command(
    cls=_LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog='Example: prodia-async run inference.flux-fast.schnell.txt2img.v2 -c prompt="a cat" -o cat.jpg',
)
@click.version_option(prodia_async.__version__, prog_name="prodia-async")
def command() -> None:
    """Run jobs on the Prodia Inference API.

    The token comes from PRODIA_TOKEN, the base URL from PRODIA_BASE_URL. PRODIA_LOG=debug shows what
    happens. Exit codes: 0 all done, 1 some failed, 2 bad usage or manifest, 3 token refused,
    4 money spent, 5 gave up, 130 interrupted.
    """
