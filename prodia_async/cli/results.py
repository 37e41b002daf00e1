"""`prodia-async results`: what became of batches, from their journals."""

from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path
from typing import IO, TYPE_CHECKING, Literal, cast

import click

from prodia_async.cli import door, loop
from prodia_async.cli.batch import write_page
from prodia_async.cli.options import LocalPath, debug_option
from prodia_async.cli.terminal import Exit, Stream, plain, printed, put, say, short

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prodia_async.batch._records import Record


@click.command(
    cls=door.Command, epilog="Example: prodia-async results results --failed --format csv > failed.csv"
)
@click.argument("folders", nargs=-1, metavar="FOLDERS...", type=LocalPath(exists=True, file_okay=False))
@click.option(
    "--format",
    "form",
    type=click.Choice(["jsonl", "csv", "excel"]),
    help="excel: CSV that Excel opens rightly, with a byte order mark. "
    "Default: a table on a terminal, jsonl elsewhere.",
)
@click.option("--failed", is_flag=True, help="Only the jobs that failed.")
@click.option(
    "--report",
    is_flag=False,
    flag_value="",
    type=LocalPath(),
    metavar="[FILE]",
    help="Write each FOLDER/report.html anew instead of printing; --report all.html: one sheet of them all.",
)
@debug_option
def command(
    *,
    folders: tuple[str, ...],
    form: Literal["jsonl", "csv", "excel"] | None,
    failed: bool,
    report: str | None,
) -> Exit:
    """Print what became of each job of the batches in FOLDER..., in the order of their custom_ids.

    It is read from the journals, so it is complete after a crash, and while a batch runs, and brings each
    FOLDER/results.jsonl up to date, unless a batch is at work there. A line is as there, with paths relative
    to the folder; of several folders, the paths begin with the folder. CSV has a row for each output. On a
    terminal it is a table.

    With --report nothing is printed but the path of each page that was written: of several folders, such as
    the shards of a batch, `--report all.html` makes one.

    Exit codes: 0, also where jobs failed; 1 not written; 2 no batch in a folder.
    """
    if report and os.path.isdir(report):  # noqa: PTH112 - `--report FOLDER`: it named no file
        folders, report = (*folders, report), ""
    if not folders:
        raise click.UsageError("Missing argument 'FOLDERS...'.")
    paths = [Path(folder) for folder in folders]
    if report is not None:
        if failed or form is not None:
            raise click.UsageError("--failed and --format are for printing: not with --report")
        return loop.run(lambda _: _write_pages(paths, report or None))
    from msgspec.json import encode

    _bring_up_to_date(paths)
    stream, records = Stream(), _records(paths, failed=failed)
    with contextlib.suppress(BrokenPipeError):
        if form in ("csv", "excel"):
            from prodia_async.batch._csv_results import write_csv

            if form == "excel" and not stream.is_plain:
                stream.write("\ufeff")
            write_csv(records, cast("IO[str]", stream))
        else:
            width = shutil.get_terminal_size().columns if form is None and stream.is_plain else 0
            for record in records:
                stream.write((_row(record, width) if width else encode(record).decode()) + "\n")
        put(b"")
    return printed()


async def _write_pages(folders: list[Path], to: str | None) -> Exit:
    for sheet in [folders] if to is not None else [[folder] for folder in folders]:
        put(os.fsencode(await write_page(*sheet, to=to)) + b"\n")
    return Exit.DONE


def _bring_up_to_date(folders: list[Path]) -> None:
    """Write each results.jsonl anew, unless a batch is at work, which will; where that fails, say so."""
    from prodia_async._errors import InputError, OutputError
    from prodia_async.batch._results import read_results, write_results

    read_results(folders)  # which refuses a folder without a batch, before another is touched
    for folder in folders:
        try:
            with contextlib.suppress(InputError):
                write_results(folder)
        except OutputError as error:
            say(error.message)


def _records(folders: list[Path], *, failed: bool) -> Iterator[Record]:
    """Yield the records; of several folders, the paths of outputs begin with the folder."""
    from prodia_async.batch._results import read_results

    for folder in folders:
        for record in read_results([folder], failed_only=failed):
            yield _in_folder(record, folder) if len(folders) > 1 else record


def _in_folder(record: Record, folder: Path) -> Record:
    """Return a record whose paths begin with its batch's folder."""
    for output in record["outputs"]:
        output["path"] = output["path"] and (folder / output["path"]).as_posix()
    if (request := record.get("request")) is not None and "inputs" in request:
        request["inputs"] = [
            path and Path(os.path.normpath(folder / path)).as_posix() for path in request["inputs"]
        ]
    return record


def _row(record: Record, width: int) -> str:
    """Return a line of the table: a job, and where its outputs are or why it failed."""
    from prodia_async.cli.summary import reason_of

    paths = ", ".join(output["path"] or output.get("url", "") for output in record["outputs"])
    of_id = min(30, width // 4)
    name = short(plain(record["custom_id"]), of_id)
    return f"{name:<{of_id}}  {record['status']:<6}  {plain(reason_of(record) or paths)}"[: width - 1]
