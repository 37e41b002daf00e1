"""The comparison with the service: what it says without a token, of a service like ours, and of another."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from conformance.conftest import go, go_binary
from support import goserver

import prodia_async
from prodia_async.emulator import background_emulator

__all__ = ["go", "go_binary"]

LIVE = Path(__file__).parents[1] / "live"


def compare(folder, **variables):
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PRODIA_")}
    environment |= {"PYTHONPATH": str(Path(prodia_async.__file__).parents[1])} | variables
    words = [sys.executable, str(LIVE)]
    how = {"env": environment, "cwd": folder, "timeout": 200, "capture_output": True, "text": True}
    done = subprocess.run(words, check=False, **how)
    assert done.stderr == ""
    return done.returncode, done.stdout.splitlines()


def test_without_a_token_it_is_skipped_with_one_line(tmp_path):
    assert compare(tmp_path) == (0, ["skipped: set PRODIA_TOKEN to compare the emulator with the service"])
    assert list(tmp_path.iterdir()) == []


def test_the_emulator_does_not_differ_from_itself(tmp_path):
    with background_emulator(latency=0.01, price="list", token="a-secret") as emulator:
        code, lines = compare(tmp_path, PRODIA_TOKEN="a-secret", PRODIA_BASE_URL=emulator.base_url)
        assert emulator.stats().dollars < 0.05
    assert lines[0] == "10 jobs at about $0.016 in all, and at most $0.05"
    assert lines[1:] == ["0 differences; about $0.0125 spent; see out/live.json"]
    assert code == 0


@pytest.mark.newest
def test_what_differs_is_told_and_recorded(tmp_path, go):
    code, lines = compare(tmp_path, PRODIA_TOKEN=goserver.TOKEN, PRODIA_BASE_URL=go.base_url)
    assert code == 1
    report = json.loads((tmp_path / "out" / "live.json").read_text())
    assert report["differences"] == lines[1:-1]
    assert any(line.startswith("a picture of a picture: status: 400; the emulator has 200") for line in lines)
    assert report["service"]["ping"]["body"]["state"] == {"current": "a text", "history": "None"}
    assert goserver.TOKEN not in json.dumps(report)


def test_a_service_that_is_not_there_is_told(tmp_path):
    code, lines = compare(tmp_path, PRODIA_TOKEN="a-secret", PRODIA_BASE_URL="http://127.0.0.1:1")
    assert (code, len(lines)) == (2, 2)
    assert "a-secret" not in "".join(lines)


def test_money_is_bounded(tmp_path):
    with background_emulator(latency=0, price=0.03) as emulator:
        where = {"PRODIA_TOKEN": emulator.token, "PRODIA_BASE_URL": emulator.base_url}
        code, lines = compare(tmp_path, **where)
        assert emulator.stats().completed < 8
    assert (code, lines[-1].partition("RuntimeError: ")[2][:7]) == (2, "stopped")
