"""How a command is called: help under headings, and every error as a line, a JSON object and an exit code."""

from __future__ import annotations

import json
import sys
from functools import partial
from typing import TYPE_CHECKING, Any, NoReturn

import click

from prodia_async.cli import terminal
from prodia_async.cli.terminal import Exit, say, short, short_words

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_MOST_OF_A_MESSAGE = 300
"""Characters of a message about arguments: a longer one quotes more of them than a person reads."""


class Command(click.Command):
    """A command that returns its exit code, and whose help has options under the headings of `section`.

    What it raises is told on stderr, and as a JSON object on stdout where `--json` asks for that.
    """

    def main(self, args: Sequence[str] | None = None, *_: Any, **__: Any) -> NoReturn:
        """Run the command and exit; `args` are those of the process by default."""
        words = sys.argv[1:] if args is None else list(args)
        terminal.begin(debug="--debug" in words)
        try:
            code = super().main(words, "prodia-async", standalone_mode=False) or Exit.DONE
        except (SystemExit, GeneratorExit):
            raise
        except BaseException as error:  # noqa: BLE001 - what is no error of ours goes on
            code = _told(error, words)
        sys.exit(terminal.end(code))

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; click would write to stderr by itself where Ctrl-C ends it."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as error:
            raise click.Abort from error

    def get_help_option(self, ctx: click.Context) -> click.Option | None:
        """Return the option, which prints as everything else does."""
        option = super().get_help_option(ctx)
        if option is not None:
            option.callback = show(click.Context.get_help)
        return option

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options under their headings, in the order in which they are declared."""
        sections: dict[str, list[tuple[str, str]]] = {}
        for option in self.get_params(ctx):
            if isinstance(option, click.Option) and (record := option.get_help_record(ctx)):
                sections.setdefault(getattr(option, "section", "Options"), []).append(record)
        for title, records in sections.items():
            with formatter.section(title):
                formatter.write_dl(records)


def section(title: str) -> Callable[..., Callable[[Any], Any]]:
    """Return what `click.option` is, for options under a heading."""
    return partial(click.option, cls=type("Option", (click.Option,), {"section": title}))


def show(text: Callable[[click.Context], str]) -> Callable[[click.Context, click.Parameter, bool], None]:
    """Return the callback of a flag that prints a text and ends the command."""

    def callback(ctx: click.Context, _: click.Parameter, wanted: bool) -> None:
        if wanted and not ctx.resilient_parsing:
            terminal.tell(text(ctx))
            ctx.exit(terminal.printed())

    return callback


def _told(error: BaseException, words: list[str]) -> Exit:
    """Tell what ended a command, and return the exit code. Raises what is a fault of the command's own."""
    from asyncio import CancelledError

    from prodia_async import _errors as errors

    if isinstance(error, click.ClickException):
        code, message = Exit.USAGE, short(error.format_message(), _MOST_OF_A_MESSAGE)
        ctx = getattr(error, "ctx", None)
        if ctx is not None:
            say(ctx.get_usage())
            say(f"Try '{ctx.command_path} --help' for help.")
        say(f"Error: {message}")
    elif isinstance(error, errors.ProdiaError):
        refused = errors.AuthenticationError, errors.PermissionDeniedError
        code = Exit.USAGE if isinstance(error, errors.InputError) else Exit.FAILED
        code, message = Exit.REFUSED if isinstance(error, refused) else code, short_words(error.message)
        terminal.log.debug("the command ends", exc_info=error)
        say(f"prodia-async: {message}")
    elif isinstance(error, KeyboardInterrupt | CancelledError | click.Abort):
        code, message = Exit.INTERRUPTED, "interrupted"
    else:
        raise error
    if "--json" in words:
        from prodia_async.batch import _records as records

        may_have_run = not isinstance(error, click.ClickException)
        ours = errors.ProdiaError(message, may_have_run=may_have_run)
        record = records.failed(None, error if isinstance(error, errors.ProdiaError) else ours)
        record["error"] |= {"message": message, "type": type(error).__name__}
        tell_record(record, exit_code=code.value)
    return code


def tell_record(record: dict[str, Any], **more: Any) -> None:
    """Write what became of a job, a record of results.jsonl but for its custom_id, to stdout."""
    from msgspec import to_builtins

    del record["custom_id"]
    terminal.tell(json.dumps(to_builtins(record | more)))
