from __future__ import annotations

import json
from pathlib import Path

import pytest

from prodia_async.batch import BatchReport
from prodia_async.cli.summary import Bench, as_object, as_text, exit_code
from prodia_async.cli.terminal import Exit


def report(**changes) -> BatchReport:
    values = {
        "ending": "complete",
        "done": 3,
        "failed": 0,
        "problem_count": 0,
        "problems": (),
        "requests": 5,
        "shed": 2,
        "seconds": 1.5,
        "dollars": None,
        "reason": None,
        "out": Path("out"),
        "results": Path("out/results.jsonl"),
    }
    return BatchReport(**(values | changes))


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({}, Exit.DONE),
        ({"failed": 1}, Exit.FAILED),
        ({"failed": 1, "problem_count": 1}, Exit.USAGE),
        ({"ending": "refused", "problem_count": 1}, Exit.REFUSED),
        ({"ending": "stopped", "failed": 1, "problem_count": 1}, Exit.INTERRUPTED),
    ],
)
def test_exit_codes(changes, code):
    assert exit_code(report(**changes)) is code


def test_a_summary_against_the_service():
    assert as_text(report(dollars=0.5), None, None).splitlines() == [
        "3 done, 0 failed",
        "2 of 5 requests were shed (429) and tried again",
        "2.0 jobs/s in 1.5 s",
        "$0.5000 in all",
        "outputs: out/outputs",
        "results: out/results.jsonl",
    ]
    assert "emulator" not in json.loads(as_object(report(), None, None))


def test_what_is_not_there_is_not_named():
    nothing = report(done=0, requests=0, shed=0, seconds=0.0, ending="stopped")
    assert as_text(nothing, None, None).splitlines() == [
        "0 done, 0 failed, stopped before the end",
        "0 of 0 requests were shed (429) and tried again",
        "0.0 jobs/s in 0.0 s",
    ]
    assert as_text(report(done=0, failed=1), None, None).splitlines()[-1] == "results: out/results.jsonl"


def test_the_emulators_ideal():
    assert Bench(8, 0.5, "headers").ideal == 16.0
