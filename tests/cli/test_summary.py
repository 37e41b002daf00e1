from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from cli.helpers import PLAIN, echo
from msgspec.structs import replace

from prodia_async.batch import BatchReport, Problem
from prodia_async.batch._report import ManifestCheck
from prodia_async.cli.summary import Summary, check_as_object, check_as_text
from prodia_async.cli.terminal import Exit


def text(**changes) -> list[str]:
    return Summary(replace(PLAIN, **changes)).text().splitlines()


def test_names_of_others_are_shown_without_what_a_terminal_acts_upon():
    shown = Summary(replace(PLAIN, lost_count=2, lost=("\x1b[31mred", "a\nb"))).text()
    assert r"may have been billed: \x1b[31mred, a b" in shown
    assert "\x1b" not in shown


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({}, 0),
        ({"failed": 1}, 1),
        ({"failed": 1, "problem_count": 1}, 1),
        ({"problem_count": 1}, 1),
        ({"done": 0, "problem_count": 1}, 2),
        ({"ending": "refused", "problem_count": 1}, 3),
        ({"ending": "spent", "failed": 1}, 4),
        ({"ending": "gave_up", "failed": 1}, 5),
        ({"ending": "stopped", "failed": 1, "problem_count": 1}, 130),
    ],
)
def test_exit_codes(changes, code):
    assert Summary(replace(PLAIN, **changes)).exit_code == code


def test_a_summary_against_the_service():
    assert Summary(replace(PLAIN, dollars=0.5), Path("out/report.html")).text().splitlines() == [
        "3 done, 0 failed",
        "2 of 5 requests were shed (429) and tried again",
        "2.0 jobs/s in 1.5 s",
        "$0.50 in all",
        "outputs: out/outputs",
        "results: out/results.jsonl",
        "report: out/report.html",
    ]


def test_what_is_not_there_is_not_named():
    assert text(done=0, requests=0, shed=0, seconds=0.0, ending="stopped") == [
        "0 done, 0 failed, stopped before the end",
        "to go on: the same command again",
    ]
    assert text(done=0, failed=1)[-2:] == [
        "results: out/results.jsonl",
        "to run the failed jobs again: the same command with --retry-failed",
    ]


def test_a_resumed_batch_tells_what_was_done_earlier_and_what_ran_again():
    lines = text(done=1203, failed=3, skipped=400, interrupted=7, missing=1, seconds=10)
    assert lines[:3] == [
        "1,203 done, 3 failed (400 of them earlier)",
        "7 jobs were in flight when the last run was cut: they may have been billed, and ran again",
        "1 job was done, but their outputs were missing or changed: they ran again",
    ]
    assert lines[4] == "80.6 jobs/s in 10.0 s"


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"dollars": 1234.5}, "$1,234.50 in all"),
        ({"uncertain_attempts": 2}, "2 attempts of unknown outcome or price may have been billed"),
        (
            {"dollars": 0.5, "uncertain": 0.06, "uncertain_attempts": 3},
            "$0.50 in all; $0.06 reckoned for 3 attempts of unknown outcome or price",
        ),
        (
            {"dollars": 0.5, "expected": 8.33, "jobs": 50},
            "$0.50 in all; about $8.30 for all 50 jobs",
        ),
        ({"dollars": 0.5, "expected": 0.5, "jobs": 3}, "$0.50 in all"),
        (
            {"uncertain": 0.02, "uncertain_attempts": 1, "overrun": 0.01},
            "$0.02 reckoned for 1 attempt of unknown outcome or price; $0.01 above --max-spend",
        ),
    ],
)
def test_money(changes, line):
    assert text(**changes)[3] == line


@pytest.mark.parametrize(
    ("changes", "first", "advice"),
    [
        (
            {"ending": "refused"},
            "ended early: the token was refused",
            "to go on: the same command again, with a token that may run these jobs",
        ),
        (
            {"ending": "spent"},
            "ended early: the money is spent",
            "to go on: the same command again, with a higher --max-spend",
        ),
        ({"ending": "gave_up"}, "ended early: gave up", "to go on: the same command again"),
        (
            {"problem_count": 1},
            "1 bad line in the manifest",
            "to run corrected lines: correct the manifest, then the same command again",
        ),
    ],
)
def test_what_to_do_next(changes, first, advice):
    lines = text(**changes)
    assert lines[0] == f"3 done, 0 failed, {first}"
    assert lines[-1] == advice


def test_dollars_a_minute_stand_beside_the_speed():
    assert "2.0 jobs/s in 1.5 s and $1.20 a minute" in text(dollars_a_minute=1.234)


def test_a_sample_tells_how_to_go_on():
    advice = "to run the other jobs, too: the same command without --first"
    assert advice in Summary(PLAIN, first=3).text().splitlines()
    assert advice not in Summary(replace(PLAIN, ending="stopped"), first=3).text()


def test_what_all_of_it_costs():
    check = ManifestCheck(5, {"a": 2, "b": 3}, 0, (), 0.5, 3)
    assert check_as_text(check).splitlines()[-1] == "$0.50 in all; 3 jobs have no --price"
    assert check_as_text(replace(check, unpriced=0)).splitlines()[-1] == "$0.50 in all"


def test_one_object_has_every_field():
    report = replace(PLAIN, failed=1, problem_count=1, problems=(Problem(4, "not JSON"),), seconds=2.00049)
    summary = json.loads(Summary(report, Path("out/report.html")).json())
    assert set(BatchReport.__struct_fields__) < set(summary)
    assert summary["problems"] == [{"line": 4, "reason": "not JSON"}]
    assert {name: summary[name] for name in ("seconds", "jobs_per_second", "exit_code", "dollars")} == {
        "seconds": 2.0,
        "jobs_per_second": 2.0,
        "exit_code": Exit.FAILED,
        "dollars": None,
    }
    places = {name: summary[name] for name in ("out", "outputs", "results", "report")}
    assert places == {
        "out": "out",
        "outputs": "out/outputs",
        "results": "out/results.jsonl",
        "report": "out/report.html",
    }
    assert "emulator" not in summary
    assert json.loads(Summary(PLAIN).json())["report"] is None


def test_what_is_in_a_manifest():
    check = ManifestCheck(1203, {"b": 1, "a": 1, "inference.c.v1": 1201}, 2, (Problem(4, "not JSON"),))
    assert check_as_text(check).splitlines() == [
        "1,203 jobs, 2 bad lines in the manifest",
        "       1,201  inference.c.v1",
        "           1  a",
        "           1  b",
    ]
    assert json.loads(check_as_object(check)) == {
        "jobs": 1203,
        "by_type": {"b": 1, "a": 1, "inference.c.v1": 1201},
        "problem_count": 2,
        "problems": [{"line": 4, "reason": "not JSON"}],
        "dollars": None,
        "unpriced": 0,
    }


def test_why_jobs_failed_is_told_in_three_lines(invoke, write_manifest):
    kinds = [("no room", 4), ("too dark", 3), ("too bright", 2), ("rare", 1)]
    jobs = [echo(f"{kind} {number}", fail=kind) for kind, times in kinds for number in range(times)]
    options = ["--out", "out", "--no-report", "--emulator", "--latency", "0"]
    lines = invoke("batch", write_manifest(echo("good"), *jobs), *options).stdout.splitlines()
    assert lines[0] == "1 done, 10 failed"
    assert [line[:22].split(" (")[0].strip() for line in lines[1:4]] == [
        "4 x no room",
        "3 x too dark",
        "2 x too bright",
    ]
    assert lines[4] == "to see all that failed: prodia-async results out --failed"
    told = json.loads(invoke("batch", "jobs.jsonl", *options, "--json", "--retry-failed").stdout)
    assert [reason["jobs"] for reason in told["reasons"]] == [4, 3, 2]


def test_sheds_are_told_where_there_were_some():
    assert "shed" not in " ".join(text(shed=0))
    assert "2 of 5 requests were shed (429) and tried again" in text(shed=2)


@pytest.mark.parametrize(("capacity", "latency", "ideal"), [(8, 0.5, 16.0), (3, 0.5, 6.0), (8, 0, math.inf)])
def test_the_emulators_ideal(capacity, latency, ideal):
    assert Summary(PLAIN, bench={"capacity": capacity, "latency": latency}).ideal == ideal
