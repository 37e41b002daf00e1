from __future__ import annotations

import json
from datetime import datetime, timezone
from pathlib import Path

import pytest

from prodia_async import Attempt, InputError, JobResult, Output, OutputError, ServerError, TransportError
from prodia_async.batch.results import ResultsFile, done, failed

ATTEMPT = Attempt(
    number=1,
    started_at=datetime(2026, 1, 2, tzinfo=timezone.utc),
    waited=0.5,
    elapsed=1.0,
    verdict="server_error",
    may_have_run=True,
    status=500,
)


def test_a_record_of_a_job_that_is_done(tmp_path):
    outputs = (
        Output("x", "image/png", 3, path=tmp_path / "outputs" / "aa" / "x.png"),
        Output("y", "text/plain", 4, data=b"text"),
    )
    result = JobResult("t", {}, outputs=outputs, attempts=(ATTEMPT,), raw={"type": "t", "new": [1]})
    assert done("x", result, tmp_path) == {
        "custom_id": "x",
        "status": "done",
        "job": {"type": "t", "new": [1]},
        "outputs": [
            {"path": "outputs/aa/x.png", "content_type": "image/png", "bytes": 3},
            {"path": None, "content_type": "text/plain", "bytes": 4},
        ],
        "error": None,
        "attempts": (ATTEMPT,),
    }
    assert done(None, result)["outputs"][0]["path"] == str(tmp_path / "outputs" / "aa" / "x.png")


def test_a_record_of_a_job_that_failed():
    error = ServerError("broken", status=500, request_id="r", attempts=(ATTEMPT,))
    assert failed("x", error) == {
        "custom_id": "x",
        "status": "failed",
        "job": None,
        "outputs": [],
        "error": {
            "type": "ServerError",
            "message": "broken",
            "status": 500,
            "request_id": "r",
            "may_have_run": True,
        },
        "attempts": (ATTEMPT,),
    }
    assert failed("x", TransportError("no route"))["error"]["status"] is None


def test_outputs_that_were_kept_of_a_failed_job_are_named(tmp_path):
    error = OutputError("disk full", may_have_run=True)
    error.result = JobResult("t", {}, raw={"id": "1"})
    error.written = (tmp_path / "outputs" / "a.png",)
    record = failed("x", error, tmp_path)
    assert record["job"] == {"id": "1"}
    assert record["outputs"] == [{"path": "outputs/a.png", "content_type": None, "bytes": None}]


async def test_lines_are_written_as_they_come(tmp_path):
    file = ResultsFile(tmp_path / "new" / "folder")
    await file.open()
    await file.add({"custom_id": "ä", "attempts": (ATTEMPT,)})
    await file.add({"custom_id": "b"})
    lines = file.path.read_text(encoding="utf-8").splitlines()
    assert json.loads(lines[0])["attempts"][0]["started_at"] == "2026-01-02T00:00:00Z"
    assert lines[1] == '{"custom_id":"b"}'
    await file.aclose()
    await file.aclose()
    assert len(file.path.read_text(encoding="utf-8").splitlines()) == 2


async def test_earlier_results_are_never_touched(tmp_path):
    (tmp_path / "results.jsonl").write_text("old\n")
    with pytest.raises(InputError, match="holds the results of an earlier batch"):
        await ResultsFile(tmp_path).open()
    assert (tmp_path / "results.jsonl").read_text() == "old\n"


async def test_a_file_without_a_line_is_removed(tmp_path):
    file = ResultsFile(tmp_path)
    await file.open()
    await file.aclose()
    assert list(tmp_path.iterdir()) == []


async def test_a_place_that_cannot_be_written_is_an_input_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="is no folder"):
        await ResultsFile(tmp_path / "file").open()
    with pytest.raises(InputError, match="cannot be written: Not a directory"):
        await ResultsFile(tmp_path / "file" / "below").open()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
async def test_a_full_disk_is_an_output_error(tmp_path):
    file = ResultsFile(tmp_path)
    await file.open()
    await file.aclose()
    file._file = open("/dev/full", "wb", buffering=0)  # noqa: SIM115 - closed by aclose
    with pytest.raises(OutputError, match="could not be written: No space left"):
        await file.add({})
    await file.aclose()


def test_names_load_on_first_use():
    from prodia_async import batch

    assert dir(batch) == sorted(batch.__all__)
    assert [getattr(batch, name).__name__ for name in batch.__all__] == batch.__all__
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = batch.nothing
