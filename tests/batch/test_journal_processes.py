"""The journal under processes that are killed, exit, fork, or share a folder."""

from __future__ import annotations

import os
import pathlib
import random
import subprocess
import sys

import pytest
from batch.journals import open_journal, query
from support.processes import complaints

from prodia_async import InputError
from prodia_async.batch._journal import Journal

TESTS = pathlib.Path(__file__).parent.parent
PROGRAM = pathlib.Path(__file__).parent / "scenarios_journal.py"


def start(scenario: str, folder: pathlib.Path) -> subprocess.Popen[str]:
    path = os.pathsep.join([str(TESTS), os.environ.get("PYTHONPATH", "")])
    return subprocess.Popen(
        [sys.executable, "-X", "dev", "-W", "error", str(PROGRAM), scenario, str(folder)],
        env={**os.environ, "PYTHONPATH": path},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize("scenario", ["killed_loop", "left_open", "forked"])
async def test_scenario(scenario, tmp_path):
    if scenario == "forked" and not hasattr(os, "fork"):
        pytest.skip("this system cannot fork")
    output, errors = start(scenario, tmp_path).communicate(timeout=60)
    assert (output, complaints(errors)) == ("", "")
    assert query(tmp_path, "select distinct state from jobs") == [("done",)]
    assert {path.name for path in tmp_path.iterdir()} == {"journal.lock", "journal.sqlite"}


@pytest.mark.skipif(sys.platform == "win32", reason="needs SIGKILL")
async def test_nothing_acknowledged_is_lost_by_a_kill(tmp_path):
    chance = random.Random(1)
    for attempt in range(4):
        folder = tmp_path / str(attempt)
        process = start("write_until_killed", folder)
        said = [process.stdout.readline() for _ in range(chance.randrange(1, 1500))]
        process.kill()
        output, _ = process.communicate(timeout=60)
        lines = ("".join(said) + output).splitlines()
        acknowledged = [
            line.split(" ") for line in lines if not output or output.endswith("\n") or line != lines[-1]
        ]
        async with open_journal(folder) as journal:
            rows = await journal.find([custom_id for _, custom_id in acknowledged])
            assert {custom_id for _, custom_id in acknowledged} == set(rows)
            assert all(rows[custom_id].state == "done" for word, custom_id in acknowledged if word == "d")
            assert journal.totals.uncertain_attempts == journal.totals.sent
        assert query(folder, "pragma integrity_check") == [("ok",)]


@pytest.mark.skipif(sys.platform == "win32", reason="needs SIGKILL")
async def test_a_killed_owner_is_named_while_it_lives_and_forgotten_after(tmp_path):
    process = start("hold", tmp_path)
    try:
        assert process.stdout.readline() == "held\n"
        with pytest.raises(InputError, match=f"process {process.pid} on host "):
            await Journal.open(tmp_path, wall=lambda: 0.0)
    finally:
        process.kill()
        process.communicate(timeout=60)
    async with open_journal(tmp_path):
        pass
