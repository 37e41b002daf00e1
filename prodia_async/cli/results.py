"""`prodia-async results`: what became of batches, from their journals."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from pathlib import Path
from typing import IO, TYPE_CHECKING, Literal, TypeAlias, cast

import click

from prodia_async.cli import door, loop
from prodia_async.cli.options import LocalPath, debug_option
from prodia_async.cli.terminal import Blocks, Exit, Untold, plain, put, reader_has_left, say, short

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prodia_async.batch.results import Record

Form: TypeAlias = Literal["jsonl", "csv", "excel"]


@click.command(
    cls=door.Command, epilog="Example: prodia-async results results --failed --format csv > failed.csv"
)
@click.argument("folders", nargs=-1, required=True, type=LocalPath(exists=True, file_okay=False))
@click.option(
    "--format",
    "form",
    type=click.Choice(["jsonl", "csv", "excel"]),
    help="excel: CSV that Excel opens rightly, with a byte order mark. "
    "Default: a table on a terminal, jsonl elsewhere.",
)
@click.option("--failed", is_flag=True, help="Only the jobs that failed.")
@click.option("--report", is_flag=True, help="Write FOLDER/report.html anew instead of printing.")
@debug_option
def command(
    *,
    folders: tuple[str, ...],
    form: Form | None,
    failed: bool,
    report: bool,
) -> Exit:
    """Print what became of each job of the batches in FOLDER..., in the order of their custom_ids.

    It is read from the journals, so it is complete after a crash, and while a batch runs, and brings each
    FOLDER/results.jsonl up to date, unless a batch is at work there. A line is as there, with paths relative
    to the folder; of several folders, the paths begin with the folder. CSV has a row for each output. On a
    terminal it is a table.

    With --report nothing is printed but the path of each page that was written.

    Exit codes: 0, also where jobs failed; 1 not written; 2 no batch in a folder.
    """
    paths = [Path(folder) for folder in folders]
    if report:
        if failed or form is not None:
            raise click.UsageError("--failed and --format are for printing: not with --report")
        return loop.run(lambda _: _write_pages(paths))
    return _print(paths, form, failed=failed)


async def _write_pages(folders: list[Path]) -> Exit:
    from prodia_async.cli.batch_run import write_page  # noqa: PLC0415 - `--help` needs none of it

    for folder in folders:
        put(os.fsencode(await write_page(folder)) + b"\n")
    return Exit.DONE


def _bring_up_to_date(folder: Path) -> None:
    """Write results.jsonl anew, unless a batch is at work, which will; where that fails, say so."""
    from prodia_async._errors import InputError, OutputError  # noqa: PLC0415 - `--help` needs none of it
    from prodia_async.batch.results import write_results  # noqa: PLC0415 - as above

    try:
        with contextlib.suppress(InputError):
            write_results(folder)
    except OutputError as error:
        say(error.message)


def _print(folders: list[Path], form: Form | None, *, failed: bool) -> Exit:
    # Loaded here: `--help` needs none of it.
    import msgspec  # noqa: PLC0415 - as above

    from prodia_async.batch.results import read_results, write_csv  # noqa: PLC0415 - as above

    records = read_results(folders, failed_only=failed)
    for folder in folders:
        _bring_up_to_date(folder)
    if len(folders) > 1:
        records = _from_here(folders, failed=failed)
    blocks = Blocks()
    try:
        if form in ("csv", "excel"):
            if form == "excel" and not blocks.is_plain:
                blocks.write("\ufeff")
            write_csv(records, cast("IO[str]", blocks))
        elif form is None and blocks.is_plain:
            width = shutil.get_terminal_size().columns
            for record in records:
                blocks.write(f"{_row(record, width)}\n")
        else:
            for record in records:
                line = json.dumps(record) if blocks.is_plain else msgspec.json.encode(record).decode()
                blocks.write(f"{line}\n")
        blocks.flush()
    except Untold:
        return Exit.DONE if reader_has_left() else Exit.FAILED
    return Exit.DONE


def _row(record: Record, width: int) -> str:
    """Return a line of the table: a job, and where its outputs are or why it failed."""
    from prodia_async.cli.summary import reason_of  # noqa: PLC0415 - `--help` needs none of it

    paths = ", ".join(output["path"] or "" for output in record["outputs"])
    of_id = min(30, width // 4)
    name = short(plain(record["custom_id"]), of_id)
    return f"{name:<{of_id}}  {record['status']:<6}  {plain(reason_of(record) or paths)}"[: width - 1]


def _from_here(folders: list[Path], *, failed: bool) -> Iterator[Record]:
    """Yield the records of several folders: the paths of outputs begin with the folder."""
    from prodia_async.batch.results import read_results  # noqa: PLC0415 - `--help` needs none of it

    for folder in folders:
        for record in read_results([folder], failed_only=failed):
            for output in record["outputs"]:
                output["path"] = output["path"] and (folder / output["path"]).as_posix()
            yield record
