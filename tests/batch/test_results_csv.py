from __future__ import annotations

import csv
import io
import json

import pytest
from batch.journals import a_record

from prodia_async.batch._csv_results import write_csv

HEADER = "custom_id,status,type,prompt,seed,path,content_type,bytes,elapsed,dollars,attempts,error,service"


def table(*records: bytes) -> list[dict[str, str]]:
    stream = io.StringIO(newline="")
    write_csv((json.loads(record) for record in records), stream)
    assert stream.getvalue().startswith(f"{HEADER}\r\n")
    return list(csv.DictReader(io.StringIO(stream.getvalue(), newline="")))


def test_a_job_that_is_done():
    job = {
        "type": "t",
        "config": {"prompt": 'a "cat", sitting\nthere', "seed": -5},
        "metrics": {"elapsed": 1.25},
        "price": {"dollars": 0.04},
    }
    outputs = [
        {"path": "outputs/a.png", "content_type": "image/png", "bytes": 3},
        {"path": "outputs/a-2.txt", "content_type": "text/plain", "bytes": 4},
    ]
    first, second = table(a_record("a", job=job, outputs=outputs, attempts=[{}, {}]))
    about = ["a", "done", "t"]
    text = 'a "cat", sitting\nthere'
    assert list(first.values()) == [
        *about, text, "-5", "outputs/a.png", "image/png", "3", "1.25", "0.04", "2", "", "",
    ]  # fmt: skip
    assert list(second.values()) == [
        *about, "", "", "outputs/a-2.txt", "text/plain", "4", "", "", "", "", "",
    ]  # fmt: skip


def test_a_job_that_failed():
    error = {
        "type": "ServerError",
        "message": "broken",
        "status": 500,
        "request_id": None,
        "may_have_run": True,
    }
    (row,) = table(a_record("a", "failed", job={"type": "t", "config": None, "price": None}, error=error))
    assert list(row.values()) == ["a", "failed", "t", "", "", "", "", "", "", "", "0", "broken", ""]


@pytest.mark.parametrize(
    "start", ["=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20"]
)
def test_no_text_is_a_formula(start):
    text = f"{start}cmd|'/c calc'!A1"
    error = {"type": "E", "message": text, "status": None, "request_id": None, "may_have_run": False}
    record = a_record(
        text, "failed", job={"type": text, "config": {"prompt": text, "seed": text}}, error=error
    )
    (row,) = table(record)
    assert [row[name] for name in ("custom_id", "type", "prompt", "seed", "error")] == [f"'{text}"] * 5


def test_values_of_other_kinds_are_text():
    (row,) = table(a_record("a", job={"type": "t", "config": {"prompt": ["=1"], "seed": True}}))
    assert (row["prompt"], row["seed"]) == ("['=1']", "True")


def test_no_records():
    assert table() == []
