"""Options that several commands share, their values, and headings for long lists of them."""

from __future__ import annotations

import math
import re
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

import click

if TYPE_CHECKING:
    from collections.abc import Callable

Decorate: TypeAlias = "Callable[[Any], Any]"

_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600}


class _SectionOption(click.Option):
    """An option that stands under a heading of its command's help."""

    def __init__(self, *declarations: Any, section: str, **attributes: Any) -> None:
        super().__init__(*declarations, **attributes)
        self.section = section


class SectionedCommand(click.Command):
    """A command whose help has its options in sections, in the order in which they are declared."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options under their headings."""
        sections: dict[str, list[tuple[str, str]]] = {}
        for option in self.get_params(ctx):
            record = option.get_help_record(ctx)
            if isinstance(option, _SectionOption) and record is not None:
                sections.setdefault(option.section, []).append(record)
        for title, records in sections.items():
            with formatter.section(title):
                formatter.write_dl(records)


def section(title: str) -> Callable[..., Decorate]:
    """Return what `click.option` is, for options under a heading."""
    return partial(click.option, cls=_SectionOption, section=title)


def seconds(text: str) -> float:
    """Return the seconds of `90`, `90s`, `30m` or `3h`, above zero. Raises BadParameter."""
    found = re.fullmatch(r"([0-9]+(?:\.[0-9]*)?)([smh]?)", text.strip())
    value = float(found[1]) * _UNITS[found[2]] if found else 0.0
    if not 0 < value < math.inf:
        raise click.BadParameter(f"{text!r} is no time: 90, 30m or 3h")
    return value


def dollars(text: str) -> float:
    """Return an amount, zero or more. Raises BadParameter."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < math.inf:
        raise click.BadParameter(f"{text!r} is no amount of dollars: 5.00")
    return value


def type_price(text: str) -> tuple[str, float]:
    """Return the job type and the dollars of `TYPE=0.04`. Raises BadParameter."""
    job_type, _, amount = text.rpartition("=")
    if not job_type:
        raise click.BadParameter(f"{text!r} is not TYPE=DOLLARS: --price TYPE=0.04")
    return job_type, dollars(amount)


def timeout(what: str, option: Callable[..., Decorate] = click.option) -> Decorate:
    """Return the option `--timeout` for `what`."""
    text = f"Time for {what}: 90, 30m, 3h; default: no limit."
    return option("--timeout", type=seconds, metavar="SECONDS", help=text)


def config_option(text: str, option: Callable[..., Decorate] = click.option) -> Decorate:
    """Return the option `-c`, to be read by `read_config`."""
    return option("-c", "config", multiple=True, metavar="KEY=VALUE", help=text)


def mode(text: str, option: Callable[..., Decorate] = click.option) -> Decorate:
    """Return the option `--mode`, with a help that begins with `text`."""
    text += ": sync, the default, or async, which asks for the result from time to time: for jobs of minutes."
    return option("--mode", type=click.Choice(["sync", "async"]), default="sync", help=text)


debug_option = click.option("--debug", is_flag=True, help="Show the whole log, and tracebacks.")
