"""What is written down of values, as JSON has it."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from prodia_async import (
    APIError,
    Attempt,
    Event,
    InputError,
    Job,
    JobFailedError,
    JobResult,
    LimitChange,
    Metrics,
    Outcome,
    Output,
    OutputError,
    Prodia,
    ProdiaError,
    ProdiaTimeoutError,
    Stats,
    TypeStats,
)
from prodia_async.batch import run_batch
from prodia_async.batch._records import Record
from prodia_async.emulator import Emulator

AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
ATTEMPT = Attempt(1, AT, 0.5, 1.5, "done", may_have_run=True, status=200)
RESULT = JobResult(
    "t",
    {"prompt": "é"},
    "id-1",
    metrics=Metrics(elapsed=1.25),
    outputs=(
        Output("a.png", "image/png", 3, data=b"\x89PN"),
        Output("b.png", "image/png", 4, path=Path("/out/b.png")),
        Output("c.png", "image/png", 5, url="s3://bucket/c.png"),
    ),
    attempts=(ATTEMPT,),
    raw={"id": "id-1", "type": "t"},
)
FAILED = JobFailedError("no", attempts=[ATTEMPT])

VALUES = [
    RESULT,
    *RESULT.outputs,
    ATTEMPT,
    RESULT.metrics,
    Job("t", {"n": {1, 2}, "x": float("nan")}, custom_id="\ud800"),
    Outcome(Job("t"), RESULT),
    Outcome(Job("t", custom_id="a"), error=FAILED),
    Stats(by_type={"t": TypeStats("TRACK", 3, 1, 0, 0, 9, None)}),
    LimitChange(1.0, "t", 3, 2, "search"),
    Event("failed", Job("t"), AT, ATTEMPT, error=ValueError("x")),
    InputError("no"),
    APIError("no", status=400, request_id="r", result=RESULT),
    FAILED,
    ProdiaTimeoutError("late"),
]


@pytest.mark.parametrize("value", VALUES, ids=lambda value: type(value).__name__)
@pytest.mark.parametrize("data", [False, True])
def test_everything_can_be_written_down(value, data):
    told = value.to_dict(data=data)
    assert json.loads(json.dumps(told, allow_nan=False)) == told
    assert "\n" not in value.to_json(data=data)
    value.to_json(data=data).encode()


def test_a_result_has_the_keys_of_a_record():
    told = RESULT.to_dict()
    assert told["status"] == "done"
    assert (told["id"], told["type"], told["elapsed"], told["dollars"]) == ("id-1", "t", 1.25, None)
    assert [(each["path"], each["url"], each["bytes"]) for each in told["outputs"]] == [
        (None, None, 3),
        ("/out/b.png", None, 4),
        (None, "s3://bucket/c.png", 5),
    ]
    assert told["attempts"][0]["started_at"] == "2026-01-02T03:04:05+00:00"
    always = Record.__annotations__.keys() - {"request", "service"}  # which a batch alone knows
    assert Outcome(Job("t"), RESULT).to_dict().keys() >= always
    assert Outcome(Job("t"), error=FAILED).to_dict().keys() >= always


def test_bytes_are_written_where_they_are_asked_for():
    assert RESULT.to_dict()["outputs"][0]["data"] is None
    found = RESULT.to_dict(data=True)["outputs"][0]["data"]
    assert base64.b64decode(found) == b"\x89PN"


def test_an_error_says_what_it_is():
    error = OutputError("the disk is full", may_have_run=True)
    error.written = (Path("/out/a.png"),)
    told = error.to_dict()
    assert told["outputs"] == [{"path": "/out/a.png"}]
    assert told["error"] == {
        "type": "OutputError",
        "message": "the disk is full",
        "status": None,
        "request_id": None,
        "may_have_run": True,
    }


def test_an_outcome_is_unwrapped():
    assert Outcome(Job("t"), RESULT).unwrap() is RESULT
    with pytest.raises(JobFailedError):
        Outcome(Job("t"), error=FAILED).unwrap()


async def test_real_ones(tmp_path):
    (tmp_path / "jobs.jsonl").write_text('{"type": "inference.ping.v1"}\n{"type": 3}\n')
    async with (
        Emulator() as emulator,
        Prodia(base_url=emulator.base_url, token=emulator.token) as prodia,
    ):
        result = await prodia.run(
            "inference.flux-fast.schnell.txt2img.v2", {"prompt": "a cat"}, to=tmp_path, price=True
        )
        report = await run_batch(tmp_path / "jobs.jsonl", prodia=prodia, out=tmp_path / "out")
        with pytest.raises(ProdiaError) as caught:
            await prodia.run("inference.nope")
        told = [json.loads(each.to_json()) for each in (result, report, prodia.stats(), caught.value)]
    assert told[0]["job"]["type"] == told[0]["type"] == "inference.flux-fast.schnell.txt2img.v2"
    assert told[0]["dollars"] > 0
    assert told[0]["outputs"][0]["path"] == str(result.outputs[0].path)
    assert (told[1]["done"], told[1]["problems"][0]["line"]) == (1, 2)
    assert told[2]["by_type"]["inference.ping.v1"]["completed"] == 1
    assert told[3]["error"]["status"] == 400
