"""A batch's results as a table for spreadsheets."""

from __future__ import annotations

import csv
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from prodia_async.batch._records import Record

COLUMNS = (
    "custom_id",
    "status",
    "type",
    "prompt",
    "seed",
    "path",
    "content_type",
    "bytes",
    "elapsed",
    "dollars",
    "attempts",
    "error",
    "service",
)

_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""What makes a spreadsheet take a cell for a formula; the last four are the first four in full width."""


def write_csv(records: Iterable[Record], stream: IO[str]) -> None:
    """Write records, such as those of `read_results`, as CSV with a header to a text stream.

    Each job has a row, with its first output. Each further output has a row of its own with `custom_id`,
    `status`, `type`, `path`, `content_type`, `bytes` and `service` alone, so that sums over the other columns
    are right.
    `elapsed` is in seconds, `attempts` is their number, `error` the message, `service` the one that ran it.
    The path of an output in a store is its URL.

    Text that a spreadsheet would take for a formula (it begins with = + - @, a tab or a line break) gets a
    `'` in front, for prompts and errors are other people's text. Numbers stay numbers. Lines end as in
    RFC 4180; open a file with newline="".
    """
    table = csv.writer(stream)
    table.writerow(COLUMNS)
    for record in records:
        table.writerows(_rows(record))


def _rows(record: Record) -> list[list[Any]]:
    job, error = record["job"], record["error"]
    config, metrics, price = (_object(job.get(name)) for name in ("config", "metrics", "price"))
    head = [record["custom_id"], record["status"], job.get("type")]
    about = [config.get("prompt"), config.get("seed")]
    cost = [metrics.get("elapsed"), price.get("dollars"), len(record["attempts"])]
    reason = None if error is None else error["message"]
    outputs = [
        [output["path"] or output.get("url"), output["content_type"], output["bytes"]]
        for output in record["outputs"]
    ]
    service = record.get("service")
    first, *others = outputs or [[None, None, None]]
    rows = [[*head, *about, *first, *cost, reason, service]]
    rows += [[*head, None, None, *output, None, None, None, None, service] for output in others]
    return [[_cell(value) for value in row] for row in rows]


def _object(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _cell(value: object) -> object:
    if value is None or isinstance(value, int | float):
        return value
    text = str(value)
    return f"'{text}" if text.startswith(_FORMULA) else text
