"""How a command is called: help under headings, and every error as a line, a JSON object and an exit code."""

from __future__ import annotations

import json
import sys
from functools import partial
from typing import TYPE_CHECKING, Any, NoReturn

import click

from prodia_async.cli import terminal
from prodia_async.cli.terminal import Exit, say

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
            option.callback = _show(lambda ctx: ctx.get_help())
        return option

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options under their headings, in the order in which they are declared."""
        sections: dict[str, list[tuple[str, str]]] = {}
        for option in self.get_params(ctx):
            record = option.get_help_record(ctx)
            if record is not None:
                sections.setdefault(getattr(option, "section", "Options"), []).append(record)
        for title, records in sections.items():
            with formatter.section(title):
                formatter.write_dl(records)


class _SectionOption(click.Option):
    """An option that stands under a heading of its command's help."""

    def __init__(self, *declarations: Any, section: str, **attributes: Any) -> None:
        super().__init__(*declarations, **attributes)
        self.section = section


def section(title: str) -> Callable[..., Callable[[Any], Any]]:
    """Return what `click.option` is, for options under a heading."""
    return partial(click.option, cls=_SectionOption, section=title)


def _show(text: Callable[[click.Context], str]) -> Callable[[click.Context, click.Parameter, bool], None]:
    def show(ctx: click.Context, _: click.Parameter, wanted: bool) -> None:
        if wanted and not ctx.resilient_parsing:
            taken = terminal.tell(text(ctx))
            ctx.exit(Exit.DONE if taken or terminal.reader_has_left() else Exit.FAILED)

    return show


def version_option(version: str) -> Callable[[Any], Any]:
    """Return the option `--version`."""
    show = _show(lambda _: f"prodia-async, version {version}")
    return click.option(
        "--version", is_flag=True, is_eager=True, expose_value=False, callback=show, help="Show the version."
    )


def _told(error: BaseException, words: list[str]) -> Exit:
    """Tell what ended a command, and return the exit code. Raises what is a fault of the command's own."""
    # Loaded here: `--help` needs none of it.
    from asyncio import CancelledError  # noqa: PLC0415 - as above

    from prodia_async import _errors as errors  # noqa: PLC0415 - as above

    if isinstance(error, click.ClickException):
        code, message = Exit.USAGE, terminal.short(error.format_message(), _MOST_OF_A_MESSAGE)
        ctx = getattr(error, "ctx", None)
        if ctx is not None:
            say(ctx.get_usage())
            say(f"Try '{ctx.command_path} --help' for help.")
        say(f"Error: {message}")
    elif isinstance(error, errors.ProdiaError):
        refused = errors.AuthenticationError, errors.PermissionDeniedError
        code = Exit.USAGE if isinstance(error, errors.InputError) else Exit.FAILED
        code, message = Exit.REFUSED if isinstance(error, refused) else code, _quoted(error.message, words)
        if terminal.debug():
            terminal.say_traceback()
        else:
            say(f"prodia-async: {message}")
    elif isinstance(error, KeyboardInterrupt | CancelledError | click.Abort):
        code, message = Exit.INTERRUPTED, "interrupted"
    else:
        raise error
    if "--json" in words:
        terminal.tell(json.dumps(_as_object(error, message) | {"exit_code": code.value}))
    return code


def _quoted(message: str, words: list[str]) -> str:
    """Return a message with each of the words, their values, and what the service repeats of them, short."""
    for text in [part for word in words for part in (word, *word.split("=", 1))]:
        if len(text) > terminal.MOST_QUOTED:
            message = message.replace(text, terminal.short(text))
    return terminal.short_words(message)


def _as_object(error: BaseException, message: str) -> dict[str, Any]:
    """Return an error as a line of results.jsonl has it."""
    from msgspec import to_builtins  # noqa: PLC0415 - `--help` needs none of it

    from prodia_async import ProdiaError  # noqa: PLC0415 - as above
    from prodia_async.batch import results  # noqa: PLC0415 - as above

    ours = error if isinstance(error, ProdiaError) else ProdiaError(message)
    record: dict[str, Any] = to_builtins(results.failed(None, ours))
    record["error"]["message"] = message
    if ours is not error:
        record["error"]["type"] = type(error).__name__
        record["error"]["may_have_run"] = not isinstance(error, click.ClickException)
    del record["custom_id"]
    return record
