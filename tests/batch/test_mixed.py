"""A batch of jobs of which one in ten fails, each for a cause of its own."""

from __future__ import annotations

import json
import random
import subprocess
import sys

import pytest
from batch.helpers import echo, read_results

from prodia_async.emulator import background_emulator

FAILURES = {
    "bad": {"status": 400},
    "failing": {"fail": "the model found nothing", "fail_200": True},
    "refused": {"fail": "no such style \x1b[31m <script>alert(1)</script>"},
    "broken": {"status": 500},
}
HOSTILE = ["../../etc/passwd", "a" * 300, "CON", "<img src=x onerror=alert(1)>", "\u202egnp.exe", "cat\n-2"]


@pytest.mark.newest
def test_ten_of_a_hundred_fail_and_the_rest_stands(tmp_path):
    lines = [echo(f"good-{number}" if number >= len(HOSTILE) else HOSTILE[number]) for number in range(270)]
    kinds = list(FAILURES)
    lines += [echo(f"{kinds[n % 4]}-{n}", **FAILURES[kinds[n % 4]]) for n in range(30)]
    random.Random(4).shuffle(lines)
    manifest, out = tmp_path / "jobs.jsonl", tmp_path / "out"
    manifest.write_text("".join(json.dumps(line) + "\n" for line in lines))
    with background_emulator(capacity=16, latency=0.02, retry_after=0.1) as emulator:
        ended = subprocess.run(
            [sys.executable, "-m", "prodia_async", "batch", str(manifest), "--out", str(out)],
            env={"PRODIA_BASE_URL": emulator.base_url, "PRODIA_TOKEN": emulator.token},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
    assert ended.returncode == 1, ended.stderr
    records = read_results(out)
    assert len(records) == 300
    done = [record for record in records.values() if record["status"] == "done"]
    failed = [record for record in records.values() if record["status"] == "failed"]
    assert (len(done), len(failed)) == (270, 30)
    assert sum(path.is_file() for path in (out / "outputs").rglob("*")) == 270
    for record in done:
        [output] = record["outputs"]
        assert (out / output["path"]).resolve().is_relative_to(out.resolve())
        assert (out / output["path"]).stat().st_size == output["bytes"]
    assert all(record["error"]["message"] for record in failed)
    assert {record["custom_id"].partition("-")[0] for record in failed} == set(FAILURES)
    assert "\x1b" not in ended.stdout + ended.stderr
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "<script>alert(1)" not in page
    assert "the model found nothing" in page
