"""`prodia-async results`: what became of batches, from their journals."""

from __future__ import annotations

import io
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Literal

import click

from prodia_async.cli import loop
from prodia_async.cli.options import debug_option
from prodia_async.cli.terminal import Exit, plain, say

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prodia_async.batch.results import Record


@click.command(epilog="Example: prodia-async results results --failed --format csv > failed.csv")
@click.argument("folders", nargs=-1, required=True, type=click.Path(exists=True, file_okay=False))
@click.option(
    "--format", "form", type=click.Choice(["jsonl", "csv"]), default="jsonl", help="Default: jsonl."
)
@click.option("--failed", is_flag=True, help="Only the jobs that failed.")
@click.option("--report", is_flag=True, help="Write FOLDER/report.html anew instead of printing.")
@debug_option
def command(
    *,
    folders: tuple[str, ...],
    form: Literal["jsonl", "csv"],
    failed: bool,
    report: bool,
    debug: bool,
) -> None:
    """Print what became of each job of the batches in FOLDER..., in the order of their custom_ids.

    It is read from the journals, so it is complete after a crash, and while a batch runs, and brings each
    FOLDER/results.jsonl up to date. A line is as there, with paths relative to the folder; of several
    folders, the paths begin with the folder. CSV has a row for each output.

    With --report nothing is printed but the path of each page that was written.

    Exit codes: 0, also where jobs failed; 1 not written; 2 no batch in a folder.
    """
    paths = [Path(folder) for folder in folders]
    if report:
        if failed or form == "csv":
            raise click.UsageError("--failed and --format are for printing: not with --report")
        sys.exit(loop.run(lambda _: _write_pages(paths), debug=debug))
    sys.exit(loop.guard(lambda: _print(paths, form, failed=failed), debug=debug))


async def _write_pages(folders: list[Path]) -> Exit:
    from prodia_async.cli.page import write_page  # noqa: PLC0415 - `--help` needs none of it

    for folder in folders:
        click.echo(os.fsencode(await write_page(folder)))
    return Exit.DONE


def _bring_up_to_date(folder: Path) -> None:
    """Write results.jsonl anew; where that fails, as in a folder that is only to be read, say so."""
    from prodia_async._errors import OutputError  # noqa: PLC0415 - `--help` needs none of it
    from prodia_async.batch.results import write_results  # noqa: PLC0415 - as above

    try:
        write_results(folder)
    except OutputError as error:
        say(error.message)


def _print(folders: list[Path], form: Literal["jsonl", "csv"], *, failed: bool) -> Exit:
    # Loaded here: `--help` needs none of it.
    import msgspec  # noqa: PLC0415 - as above

    from prodia_async.batch.results import read_results, write_csv  # noqa: PLC0415 - as above

    records = read_results(folders, failed_only=failed)
    for folder in folders:
        _bring_up_to_date(folder)
    if len(folders) > 1:
        records = _from_here(folders, failed=failed)
    stdout = sys.stdout.buffer
    on_terminal = stdout.isatty()
    kind: type[io.TextIOWrapper] = _Plain if on_terminal else io.TextIOWrapper
    text = kind(stdout, encoding="utf-8", errors="backslashreplace", newline="")
    try:
        if form == "csv":
            write_csv(records, text)
        else:
            for record in records:
                line = json.dumps(record) if on_terminal else msgspec.json.encode(record).decode()
                text.write(f"{line}\n")
        text.flush()
    except BrokenPipeError:
        _forget(stdout)
        return Exit.PIPE_CLOSED
    finally:
        text.detach()
    return Exit.DONE


def _from_here(folders: list[Path], *, failed: bool) -> Iterator[Record]:
    """Yield the records of several folders: the paths of outputs begin with the folder."""
    from prodia_async.batch.results import read_results  # noqa: PLC0415 - `--help` needs none of it

    for folder in folders:
        for record in read_results([folder], failed_only=failed):
            for output in record["outputs"]:
                output["path"] = output["path"] and (folder / output["path"]).as_posix()
            yield record


class _Plain(io.TextIOWrapper):
    """Writes text without what a terminal would act upon."""

    def write(self, text: str, /) -> int:
        """Write text; line breaks stay."""
        return super().write("\n".join(plain(line.rstrip("\r")) for line in text.split("\n")))


def _forget(stdout: BinaryIO) -> None:
    """Send what is still buffered nowhere, so that nothing fails when Python flushes it at its end."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stdout.fileno())
    os.close(nowhere)
