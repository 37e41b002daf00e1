"""A batch that is killed at any moment, and run again by the same command."""

from __future__ import annotations

import contextlib
import json
import os
import random
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest
from batch.helpers import read_results
from PIL import Image

from prodia_async.emulator import background_emulator

TYPE = "inference.flux-fast.schnell.txt2img.v2"


@pytest.mark.newest
@pytest.mark.parametrize(
    ("jobs", "kills"), [(120, 4), pytest.param(2000, 50, marks=pytest.mark.nightly)], ids=["few", "many"]
)
def test_no_job_is_lost_or_runs_again_once_done(tmp_path: Path, jobs: int, kills: int) -> None:
    manifest, out, chance = tmp_path / "jobs.jsonl", tmp_path / "out", random.Random(kills)
    lines = [
        {"custom_id": f"cat-{n}", "type": TYPE, "config": {"prompt": f"cat {n}", "width": 64, "height": 64}}
        for n in range(jobs)
    ]
    manifest.write_text("".join(json.dumps(line) + "\n" for line in lines))
    at_risk = killed = 0
    with background_emulator(capacity=8, latency=0.1) as emulator:
        environment = {
            **os.environ,
            "PRODIA_BASE_URL": emulator.base_url,
            "PRODIA_TOKEN": emulator.token,
            "COVERAGE_PROCESS_START": "",  # a killed process leaves no coverage
        }
        command = [
            sys.executable,
            "-m",
            "prodia_async",
            "batch",
            str(manifest),
            "--out",
            str(out),
            "--no-report",
        ]
        for _ in range(kills):
            before = emulator.stats().requests
            process = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
            _wait_until(lambda before=before, process=process: _is_under_way(emulator, before, process))
            time.sleep(chance.uniform(0, 0.5))
            killed += process.poll() is None
            process.kill()
            process.wait(30)
            at_risk += _in_flight(out)
        ended = subprocess.run(
            [*command, "--json"], env=environment, capture_output=True, timeout=600, check=True
        )
        account = emulator.stats()
    assert killed >= kills // 2, "the batch was over too soon to be killed"
    summary = json.loads(ended.stdout)
    assert (summary["done"], summary["failed"]) == (jobs, 0)
    assert account.repeated <= at_risk
    assert account.completed >= jobs
    _check_journal(out, jobs)
    for record in read_results(out).values():
        [output] = record["outputs"]
        with Image.open(out / output["path"]) as picture:
            picture.verify()
    assert list(out.rglob(".prodia-*")) == []


def _is_under_way(emulator, before: int, process: subprocess.Popen) -> bool:
    return emulator.stats().requests > before or process.poll() is not None


def _wait_until(happened) -> None:
    deadline = time.monotonic() + 60
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def _in_flight(out: Path) -> int:
    with contextlib.closing(sqlite3.connect(out / "journal.sqlite")) as journal:
        [(count,)] = journal.execute("select count(*) from jobs where state = 'sent'")
    return count


def _check_journal(out: Path, jobs: int) -> None:
    with contextlib.closing(sqlite3.connect(out / "journal.sqlite")) as journal:
        assert journal.execute("pragma integrity_check").fetchall() == [("ok",)]
        assert journal.execute("select state, count(*) from jobs group by state").fetchall() == [
            ("done", jobs)
        ]
