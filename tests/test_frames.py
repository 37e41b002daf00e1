"""What a small job takes in Python frames, by the command that counts them: counts do not drift."""

from __future__ import annotations

import json
import pathlib
import subprocess
import sys

COMMAND = pathlib.Path(__file__).parents[1] / "benchmarks" / "frames.py"


def test_a_small_job_takes_few_frames(tmp_path):
    figures = tmp_path / "figures.json"
    subprocess.run(
        [sys.executable, str(COMMAND), "--jobs", "20", "--json", str(figures)],
        check=True,
        timeout=120,
        stdout=subprocess.DEVNULL,
    )
    found = json.loads(figures.read_text())
    assert found["prodia-async"]["ours"] <= 130
    assert found["prodia-async"]["ratio"] <= 1.6
    assert found["as_completed"]["ours"] <= 180
    assert found["depth"] <= 5
