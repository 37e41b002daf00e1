"""What the commands for one job print."""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from prodia_async._errors import ProdiaError
from prodia_async.cli.terminal import say

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prodia_async import JobResult


def print_result(result: JobResult, out: str | None, *, as_json: bool) -> None:
    """Print the paths of the outputs, or the whole result, and say how it went.

    Paths are relative to the current folder where `out`, what -o was given, is.
    """
    if not Path(out or ".").is_absolute():
        result = _relative(result)
    if as_json:
        _print_json(result)
    else:
        _print_paths(result)
    _tell(result)


@contextlib.contextmanager
def printed_errors(*, as_json: bool) -> Iterator[None]:
    """Print an error as JSON where that is asked for, and let it go on."""
    try:
        yield
    except ProdiaError as error:
        if as_json:
            _print_json(error)
        raise


def _relative(result: JobResult) -> JobResult:
    from msgspec.structs import replace  # noqa: PLC0415 - not needed for `run --help`

    from prodia_async import Output  # noqa: PLC0415 - the same

    outputs = [
        Output(
            output.filename, output.content_type, output.size, output.path and os.path.relpath(output.path)
        )
        for output in result.outputs
    ]
    return replace(result, outputs=tuple(outputs))


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


def _tell(result: JobResult) -> None:
    tries = f", {len(result.attempts)} attempts" if len(result.attempts) > 1 else ""
    price = f", ${result.price.dollars:g}" if result.price is not None else ""
    outputs = f"{len(result.outputs)} output{'' if len(result.outputs) == 1 else 's'}"
    say(f"{result.type}: done, {outputs}{tries}{price}")
    for warning in result.warnings:
        say(f"warning: {warning}")
