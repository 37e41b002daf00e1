"""What several commands take: options, and the forms of their values."""

from __future__ import annotations

import math
import os
import re
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import click

from prodia_async.cli.terminal import short

if TYPE_CHECKING:
    from collections.abc import Callable

Decorate: TypeAlias = "Callable[[Any], Any]"

_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600}
_ADDRESS = re.compile(r"data:|[a-z][a-z0-9+.-]+://", re.IGNORECASE)


def refuse_address(text: str) -> str:
    """Return the path; raises BadParameter for an address, which would be taken for a folder's name."""
    if _ADDRESS.match(text):
        raise click.BadParameter(
            f"{short(text, 100)!r} is an address, not a path: give a path alone, without file:// and such; "
            "download or decode what is there before, or upload it afterwards"
        )
    return text


class LocalPath(click.Path):
    """A path on this computer; `-` is standard input or output where `allow_dash` says so."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the path. Raises BadParameter for an address."""
        return super().convert(refuse_address(value), param, ctx)


class ManifestPath(LocalPath):
    """A manifest: a file, a folder, or a pattern that no file has for its name."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the path. Raises BadParameter for one that is not there."""
        given = os.path.expanduser(value)  # noqa: PTH111 - no shell does it in quotes
        is_pattern = re.search(r"[*?[]", given) is not None and not os.path.lexists(given)
        return refuse_address(given) if is_pattern else super().convert(value, param, ctx)


def lasting_store(text: str) -> str:
    """Return the URL of a store; raises BadParameter for memory, whose outputs would be paid for and gone."""
    if text.lower().startswith("memory:"):
        raise click.BadParameter(
            "what is in memory ends with this command: use s3://bucket/prefix/, or file:///folder/"
        )
    return text


def seconds(text: str) -> float:
    """Return the seconds of `90`, `90s`, `30m` or `3h`, above zero. Raises BadParameter."""
    found = re.fullmatch(r"([0-9]+(?:\.[0-9]*)?)([smh]?)", text.strip())
    value = float(found[1]) * _UNITS[found[2]] if found else 0.0
    if not 0 < value < math.inf:
        raise click.BadParameter(f"invalid time {text!r}: use 90, 30m or 3h")
    return value


def dollars(text: str) -> float:
    """Return an amount, zero or more. Raises BadParameter."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < math.inf:
        raise click.BadParameter(f"invalid amount of dollars {text!r}: use 5.00")
    return value


def type_price(text: str) -> tuple[str, float]:
    """Return the job type and the dollars of `TYPE=0.04`. Raises BadParameter."""
    job_type, _, amount = text.rpartition("=")
    if not job_type:
        raise click.BadParameter(f"{text!r} is not TYPE=DOLLARS: use TYPE=0.04")
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


output_option: Final = click.option(
    "-o",
    "--output",
    "out",
    type=LocalPath(allow_dash=True),
    metavar="PATH",
    help="A file, whose suffix also asks for the type, or a folder; - is standard output. "
    "Default: the current folder.",
)
json_option: Final = click.option(
    "--json", "as_json", is_flag=True, help="Print the result, or the error, as one JSON object."
)
debug_option: Final = click.option(
    "--debug", is_flag=True, expose_value=False, help="Show the whole log, and tracebacks."
)
