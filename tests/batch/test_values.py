"""What one line brings harms that line alone, whatever it is."""

from __future__ import annotations

import json

import pytest
from batch.helpers import echo, read_results
from support.manifests import read_manifest

from prodia_async.batch import run_batch

IDS = {
    "7": "7",
    "0": "0",
    "-3": "-3",
    "123456789012345678901234567890": "123456789012345678901234567890",
    "1.5": "1.5",
    "0.25": "0.25",
    "-0.5": "-0.5",
    "18446744073709551616": "18446744073709551616",
    "9007199254740993": "9007199254740993",
    "100": "100",
    '"7a"': "7a",
    '"007"': "007",
}


@pytest.mark.parametrize(("given", "custom_id"), IDS.items())
async def test_a_custom_id_that_is_a_number_is_its_text(prodia, tmp_path, given, custom_id):
    line = json.dumps(echo("ID")).replace('"ID"', given)
    path = tmp_path / "jobs.jsonl"
    path.write_text(f"{line}\n{line}\n")
    report = await run_batch(path, tmp_path / "out", prodia=prodia)
    assert (report.done, report.problem_count) == (1, 1)
    assert f"custom_id {custom_id!r} was used before" in report.problems[0].reason
    [record] = read_results(tmp_path / "out").values()
    assert record["custom_id"] == custom_id
    assert record["outputs"][0]["path"].startswith("outputs/")
    assert custom_id.lstrip("-") in record["outputs"][0]["path"].rpartition("/")[2]
    again = await run_batch(path, tmp_path / "out", prodia=prodia)
    assert (again.done, again.skipped, again.requests) == (1, 1, 0)


async def test_it_is_the_same_job_as_with_the_text(tmp_path):
    path = tmp_path / "jobs.jsonl"
    path.write_text('{"type":"t","custom_id":7}\n{"type":"t","custom_id":"7"}\n')
    [entry], [problem] = await read_manifest(path)
    assert entry.job.custom_id == "7"
    assert problem.line == 2


BAD = [
    ("custom_id", True),
    ("custom_id", ["a"]),
    ("custom_id", {"a": 1}),
    ("custom_id", ""),
    ("priority", "high"),
    ("priority", 1.5),
    ("priority", None),
    ("priority", []),
    ("mode", "Async"),
    ("mode", 1),
    ("type", 7),
    ("type", []),
    ("type", "\t"),
    ("config", "prompt"),
    ("config", [1]),
    ("inputs", "a.png"),
    ("inputs", [7]),
    ("inputs", [["a"]]),
    ("accept", "png"),
    ("accept", 5),
    ("accept", "image/png\r\nX: y"),
    ("timeout", 5),
]


@pytest.mark.parametrize(("field", "value"), BAD)
async def test_a_bad_field_harms_its_line_alone(prodia, write_manifest, tmp_path, field, value):
    lines = [echo("first"), echo("bad") | {field: value}, *[echo(str(number)) for number in range(20)]]
    report = await run_batch(write_manifest(*lines), tmp_path / "out", prodia=prodia)
    assert (report.done, report.failed, report.problem_count, report.requests) == (21, 0, 1, 21)
    assert report.problems[0].line == 2


ODD = [
    echo("nul\0id"),
    echo("\x1b[31mred"),
    echo("é" * 5000),
    echo("x" * 100_000),
    echo("../../etc/passwd"),
    echo("CON"),
    echo("."),
    echo(" "),
    echo("'; drop table jobs; --"),
    echo("\u202eabc"),
    echo("😀"),
    echo("priority") | {"priority": 10**30},
    echo("negative") | {"priority": -(10**30)},
    {"custom_id": "type", "type": "no such type ☃", "config": {}},
    {"custom_id": "long type", "type": "t" * 2000, "config": {}},
    {"custom_id": "deep", "type": "emulator.bytes.v1", "config": {"a": json.loads("[" * 90 + "]" * 90)}},
    {"custom_id": "keys", "type": "emulator.bytes.v1", "config": {"": 1, "\0": 2, "é\n": 3}},
    {"custom_id": "large", "type": "emulator.bytes.v1", "config": {"n": 10**300, "f": 1e308}},
]


@pytest.mark.parametrize("line", ODD, ids=range(len(ODD)))
async def test_an_odd_value_disturbs_no_other_job(prodia, write_manifest, tmp_path, line):
    good = [echo(f"good {number}") for number in range(20)]
    manifest = write_manifest(*good[:10], line, *good[10:])
    report = await run_batch(manifest, tmp_path / "out", prodia=prodia)
    assert (report.ending, report.done + report.failed + report.problem_count) == ("complete", 21)
    records = read_results(tmp_path / "out")
    assert all(records[f"good {number}"]["status"] == "done" for number in range(20))
    again = await run_batch(manifest, tmp_path / "out", prodia=prodia)
    assert (again.skipped, again.requests) == (report.done + report.failed, 0)
