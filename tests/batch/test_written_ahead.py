"""The row of a job that is done comes before the names of its files: a kill between them costs nothing."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import anyio
import pytest
from batch.helpers import echo, read_results
from batch.journals import query

from prodia_async import Prodia
from prodia_async.batch import run_batch
from prodia_async.emulator import Emulator

JOBS = 24


def lines() -> list[dict]:
    """Jobs of one and of two outputs, small ones and some that are written in blocks."""
    jobs = [echo(f"job-{number}") for number in range(JOBS)]
    for number, job in enumerate(jobs):
        job["config"] |= {"outputs": 1 + number % 2, "size": 2_000_000 if number % 6 == 0 else 100 + number}
    return jobs


def files(out: Path) -> dict[str, int]:
    found = [path for path in (out / "outputs").rglob("*") if path.is_file()]
    return {path.relative_to(out).as_posix(): path.stat().st_size for path in found}


def told(out: Path) -> dict[str, int]:
    return {
        name: size for (text,) in query(out, "select outputs from jobs") for name, size in json.loads(text)
    }


def kill_at(manifest: Path, out: Path, emulator: Emulator, moment: str, number: int) -> bool:
    """Run the batch in a process that kills itself; False if it was over before."""
    program = Path(__file__).parent / "scenarios_kill.py"
    given = [manifest, out, emulator.base_url, emulator.token, moment, number]
    ended = subprocess.run(
        [sys.executable, program, *map(str, given)],
        env={**os.environ, "COVERAGE_PROCESS_START": ""},
        timeout=120,
        check=False,
    )
    assert ended.returncode in (0, -signal.SIGKILL)
    return ended.returncode != 0


@pytest.mark.newest
@pytest.mark.skipif(sys.platform == "win32", reason="needs SIGKILL")
@pytest.mark.parametrize("number", [1, 2, 7, 20])
@pytest.mark.parametrize("moment", ["before a name", "after a name", "before a commit", "after a commit"])
async def test_a_kill_repeats_only_what_was_not_answered_whole(write_manifest, tmp_path, moment, number):
    manifest, out = write_manifest(*lines()), tmp_path / "out"
    async with Emulator(capacity=4, latency=0.02) as emulator:
        killed = await anyio.to_thread.run_sync(kill_at, manifest, out, emulator, moment, number)
        assert killed or number > 2
        in_flight = done = 0
        if (out / "journal.sqlite").exists() and query(out, "select 1 from sqlite_master"):
            [(in_flight,)] = query(out, "select count(*) from jobs where state = 'sent'")
            [(done,)] = query(out, "select count(*) from jobs where state = 'done'")
        async with Prodia(base_url=emulator.base_url, token=emulator.token, max_concurrency=4) as prodia:
            report = await run_batch(manifest, out, prodia=prodia)
            assert (report.done, report.failed, report.missing) == (JOBS, 0, 0)
            assert (report.skipped, report.interrupted) == (done, in_flight)
            # Right after the kill the service may still be busy with what was in flight, and shed.
            assert report.requests - report.shed == JOBS - done
            stats = emulator.stats()
            assert stats.requests - stats.shed <= JOBS + in_flight
            assert files(out) == told(out)
            again = await run_batch(manifest, out, prodia=prodia)
            assert (again.done, again.requests) == (JOBS, 0)
    for record in read_results(out).values():
        for output in record["outputs"]:
            assert (out / output["path"]).stat().st_size == output["bytes"]


async def test_a_name_has_no_number_after_a_run_that_was_cut(prodia, write_manifest, tmp_path):
    """A file that no row tells of, such as one that an older version has left, is replaced."""
    hh = hashlib.sha256(b"job").hexdigest()[:2]
    folder = tmp_path / "out" / "outputs" / hh
    folder.mkdir(parents=True)
    (folder / "job.txt").write_text("left")
    (folder / ".prodia-1234.part").write_text("left")
    report = await run_batch(write_manifest(echo("job")), tmp_path / "out", prodia=prodia)
    assert report.done == 1
    assert files(tmp_path / "out") == {f"outputs/{hh}/job.txt": 10}


def neighbours() -> tuple[str, str]:
    """A job whose second output has the name that another job would have, in the same folder."""
    for number in range(100_000):
        pair = f"cat{number}", f"cat{number}-2"
        first, second = (hashlib.sha256(name.encode()).hexdigest()[:2] for name in pair)
        if first == second:
            return pair
    raise AssertionError


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
@pytest.mark.parametrize("runs", [1, 2])
async def test_no_output_takes_the_place_of_another_jobs(prodia, write_manifest, tmp_path, order, runs):
    two, one = neighbours()
    jobs = [
        {"custom_id": two, "type": "emulator.bytes.v1", "config": {"size": 5, "outputs": 2}},
        {"custom_id": one, "type": "emulator.bytes.v1", "config": {"size": 7}},
    ]
    jobs = [jobs[index] for index in order]
    for count in (1, 2) if runs == 2 else (2,):
        await run_batch(write_manifest(*jobs[:count]), tmp_path / "out", prodia=prodia)
    records = read_results(tmp_path / "out")
    sizes = {name: [output["bytes"] for output in record["outputs"]] for name, record in records.items()}
    assert sizes == {two: [5, 5], one: [7]}
    assert files(tmp_path / "out") == told(tmp_path / "out")
    assert len(files(tmp_path / "out")) == 3


async def test_a_job_that_is_made_again_leaves_nothing_of_before(prodia, write_manifest, tmp_path):
    out = tmp_path / "out"
    config = {"size": 3, "outputs": 3, "content_type": "image/png"}
    await run_batch(
        write_manifest({"custom_id": "a", "type": "emulator.bytes.v1", "config": config}), out, prodia=prodia
    )
    first, *others = sorted(files(out))
    (out / others[0]).unlink()
    report = await run_batch(tmp_path / "jobs.jsonl", out, prodia=prodia)
    assert (report.done, report.missing) == (1, 1)
    assert sorted(files(out)) == [first, *others]
    assert files(out) == told(out)
