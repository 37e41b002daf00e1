"""The worker example, as a supervisor would run it: real processes, real signals, a queue on disk."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.processes import complaints

import prodia_async
from prodia_async.emulator import background_emulator

pytestmark = [
    pytest.mark.newest,
    pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGTERM to heed"),
]

WORKER = [sys.executable, str(Path(__file__).parents[2] / "examples" / "worker.py")]
PATIENCE = 60.0
TYPE = "emulator.bytes"


def job(number: int, **orders: object) -> dict[str, object]:
    return {"type": TYPE, "config": {"size": 1000 + number, "n": number, "emulator": orders}}


class Workers:
    """Starts worker.py on one queue; all that it starts has ended when the block is left."""

    def __init__(self, folder: Path, stack: contextlib.ExitStack) -> None:
        self.folder = folder
        self._stack = stack
        self._settings = {
            name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")
        }
        self._settings["PYTHONPATH"] = str(Path(prodia_async.__file__).parents[1])

    def use(self, emulator, token: str | None = None) -> None:
        self._settings |= {"PRODIA_BASE_URL": emulator.base_url, "PRODIA_TOKEN": token or emulator.token}

    def add(self, *jobs: object) -> subprocess.CompletedProcess[str]:
        lines = "".join(f"{one if isinstance(one, str) else json.dumps(one)}\n" for one in jobs)
        return subprocess.run([*WORKER, "add", "queue.db"], check=False, input=lines, **self._options())

    def rows(self) -> list[dict]:
        shown = subprocess.run([*WORKER, "list", "queue.db"], check=False, **self._options())
        assert (shown.returncode, complaints(shown.stderr)) == (0, "")
        return [json.loads(line) for line in shown.stdout.splitlines()]

    def submitted(self) -> int:
        """How many rows have the id of an asynchronous job: told at once, without a process."""
        with contextlib.closing(sqlite3.connect(self.folder / "queue.db")) as table:
            return table.execute("select count(job_id) from jobs").fetchone()[0]

    def start(self, *options: object) -> subprocess.Popen[str]:
        words = [*WORKER, "run", "queue.db", "--out", "results", *map(str, options)]
        given = {"cwd": self.folder, "env": self._settings, "text": True, "stderr": subprocess.PIPE}
        process = subprocess.Popen(words, **given)
        self._stack.enter_context(process)
        self._stack.callback(process.kill)
        return process

    def finish(self, *options: object) -> str:
        """Work until the queue is empty, and return what was said."""
        process = self.start("--until-empty", "--pause", 0, *options)
        said = ended(process)
        assert process.returncode == 0, said
        return said

    def _options(self) -> dict:
        kept = {"cwd": self.folder, "env": self._settings, "text": True, "timeout": PATIENCE}
        return {**kept, "capture_output": True}


@pytest.fixture
def workers(tmp_path) -> Iterator[Workers]:
    with contextlib.ExitStack() as stack:
        yield Workers(tmp_path, stack)


def until(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def ended(process: subprocess.Popen[str], patience: float = PATIENCE) -> str:
    said = complaints(process.communicate(timeout=patience)[1])
    assert "Traceback" not in said
    return said


def sent(emulator) -> int:
    """How many jobs the service took, done by now or not."""
    stats = emulator.stats()
    return stats.requests - stats.shed - stats.refused


def states(rows: list[dict]) -> Counter:
    return Counter(row["state"] for row in rows)


def assert_stored(workers: Workers, row: dict, count: int = 1) -> None:
    outputs = row["result"]["outputs"]
    assert len(outputs) == count
    for path in outputs:
        assert (workers.folder / path).stat().st_size == 1000 + row["id"]


def test_sigterm_with_fifty_jobs_in_flight(workers):
    drain = 6
    with background_emulator(capacity=60, latency=60) as emulator:
        workers.use(emulator)
        short = [job(number, latency=3) for number in range(26, 51)]
        workers.add(*(job(number) for number in range(1, 26)), *short)
        process = workers.start("--drain", drain)
        until(lambda: emulator.stats().busy == 50)
        process.send_signal(signal.SIGTERM)
        told = ended(process, drain + 20)
        assert process.returncode == os.EX_TEMPFAIL
        assert sent(emulator) == 50

    rows = workers.rows()
    named = {int(number) for number in re.findall(r"row (\d+) is ready, and may have run 1 time", told)}
    assert {row["id"] for row in rows if row["state"] == "ready"} == named == set(range(1, 26))
    assert {row["may_have_run"] for row in rows if row["id"] in named} == {1}
    assert "stopped: 25 rows not finished, 25 of them cut when they may have been billed\n" in told
    finished = [row for row in rows if row["state"] == "done"]
    assert len(finished) == 25
    for row in finished:
        assert row["may_have_run"] == 0
        assert_stored(workers, row)

    with background_emulator(capacity=60, latency=0.05) as emulator:
        workers.use(emulator)
        workers.finish()
        assert sent(emulator) == emulator.stats().completed == len(named)
    rows = workers.rows()
    assert states(rows) == {"done": 50}
    for row in rows:
        assert_stored(workers, row)
        assert row["attempts"] == 1 + row["may_have_run"] == 1 + (row["id"] in named)


def test_rows_that_were_never_sent_go_back_unpaid(workers):
    with background_emulator(capacity=1, latency=0.5) as emulator:
        workers.use(emulator)
        workers.add(*(job(number) for number in range(1, 9)))
        process = workers.start("--max-concurrency", 2, "--drain", 30)
        until(lambda: emulator.stats().busy == 1)
        process.send_signal(signal.SIGINT)
        ended(process)
        assert process.returncode == os.EX_TEMPFAIL
        rows = workers.rows()
        assert states(rows) == {"done": sent(emulator), "ready": 8 - sent(emulator)}
        assert {row["may_have_run"] for row in rows} == {0}
        assert sum(row["attempts"] for row in rows) <= 4 + sent(emulator)  # twice max_concurrency


def test_a_second_signal_stops_at_once(workers):
    with background_emulator(latency=60) as emulator:
        workers.use(emulator)
        workers.add(job(1), job(2))
        process = workers.start("--drain", 3600)
        until(lambda: emulator.stats().busy == 2)
        process.send_signal(signal.SIGTERM)
        time.sleep(0.5)
        assert process.poll() is None
        process.send_signal(signal.SIGINT)
        ended(process, 20)
        assert process.returncode == os.EX_TEMPFAIL
        assert [(row["state"], row["may_have_run"]) for row in workers.rows()] == [("ready", 1)] * 2


def test_a_worker_that_is_killed(workers):
    with background_emulator(capacity=4, latency=0.3) as emulator:
        workers.use(emulator)
        workers.add(*(job(number) for number in range(1, 13)))
        process = workers.start("--max-concurrency", 4, "--lease", 2)
        until(lambda: emulator.stats().completed >= 4 and emulator.stats().busy > 0)
        process.kill()
        ended(process)
        lost = {row["id"] for row in workers.rows() if row["state"] == "claimed"}
        assert 0 < len(lost) <= 8
        workers.finish()
        assert 12 < sent(emulator) <= 12 + len(lost)
    for row in workers.rows():
        assert (row["state"], row["may_have_run"]) == ("done", int(row["id"] in lost))
        assert row["attempts"] == 1 + row["may_have_run"]
        assert_stored(workers, row)


@pytest.mark.nightly
def test_a_row_that_kills_its_workers_waits_for_a_person(workers):
    with background_emulator(latency=60) as emulator:
        workers.use(emulator)
        workers.add(job(1))
        for times in (1, 2):
            process = workers.start("--lease", 0.5)
            until(lambda: sent(emulator) == times)  # noqa: B023 - it is called before the next turn
            process.kill()
            ended(process)
        workers.finish()
        assert sent(emulator) == 2
    [row] = workers.rows()
    assert (row["state"], row["attempts"], row["may_have_run"]) == ("unsure", 2, 2)


@pytest.mark.nightly
def test_two_workers_share_a_queue(workers, tmp_path):
    with background_emulator(capacity=8, latency=0.2) as emulator:
        workers.use(emulator)
        workers.add(*(job(number) for number in range(1, 101)))
        both = [workers.start("--until-empty", "--max-concurrency", 8) for _ in range(2)]
        for process in both:
            assert ended(process).startswith("stopped: 0 rows not finished")
            assert process.returncode == 0
        stats = emulator.stats()
        assert (sent(emulator), stats.completed, stats.repeated) == (100, 100, 0)
    with contextlib.closing(sqlite3.connect(tmp_path / "queue.db")) as table:
        assert table.execute("select count(distinct owner) from jobs").fetchall() == [(2,)]
    rows = workers.rows()
    assert states(rows) == {"done": 100}
    assert {row["attempts"] for row in rows} == {1}
    for row in rows:
        assert_stored(workers, row)


@pytest.mark.nightly
def test_poison_fails_alone(workers, tmp_path):
    missing = job(1) | {"inputs": ["missing.png"]}
    added = workers.add(
        "{", '{"type": 7}', '{"type": "x", "prompt": "?"}', missing, job(2, fail="no such style")
    )
    assert added.returncode == os.EX_DATAERR
    assert re.findall(r"^line \d", added.stderr, re.MULTILINE) == ["line 1", "line 2", "line 3"]
    with contextlib.closing(sqlite3.connect(tmp_path / "queue.db")) as table, table:
        rows = [(b"\xff\x00",), ("[" * 100_000,), (json.dumps({"type": TYPE, "config": 7}),)]
        table.executemany("insert into jobs (job) values (?)", rows)
    workers.add(job(6))
    with background_emulator(latency=0) as emulator:
        workers.use(emulator)
        workers.finish()
        assert sent(emulator) == 2
    rows = workers.rows()
    assert [row["state"] for row in rows] == ["failed"] * 5 + ["done"]
    assert str(tmp_path / "missing.png") in rows[0]["error"]
    assert "no such style" in rows[1]["error"]
    assert all("the row holds no job" in row["error"] for row in rows[2:5])
    assert {row["may_have_run"] for row in rows if row["id"] != 2} == {0}


@pytest.mark.nightly
def test_a_job_that_may_have_been_paid_for_is_run_once_more(workers):
    with background_emulator(latency=0) as emulator:
        workers.use(emulator)
        workers.add(job(1, drop="before", times=1), job(2, drop="before"), job(3, status=503, times=6))
        workers.finish()
        assert emulator.stats().completed == 2 + 2 + 1
    told = [(row["state"], row["may_have_run"]) for row in workers.rows()]
    assert told == [("done", 1), ("unsure", 2), ("done", 0)]


def test_an_asynchronous_job_outlives_its_worker(workers):
    with background_emulator(latency=4) as emulator:  # long enough for the worker to be stopped before
        workers.use(emulator)
        workers.add(job(1) | {"mode": "async"}, job(2, lifetime=0) | {"mode": "async"})
        process = workers.start("--drain", 0)
        until(lambda: workers.submitted() == 2)
        process.send_signal(signal.SIGTERM)
        ended(process)
        assert process.returncode == os.EX_TEMPFAIL
        told = [(row["state"], row["may_have_run"], row["result"]) for row in workers.rows()]
        assert told == [("ready", 0, None)] * 2
        until(lambda: emulator.stats().expired == 1)
        process = workers.start("--pause", 0)
        until(lambda: emulator.stats().submitted == 3)
        until(lambda: workers.rows()[0]["state"] == "done")
        process.kill()
        ended(process)
    first, second = workers.rows()
    assert first["may_have_run"] == 0
    assert_stored(workers, first)
    assert (second["state"], second["may_have_run"], second["attempts"]) == ("claimed", 1, 3)


@pytest.mark.nightly
def test_trouble_that_every_row_would_meet_stops_the_worker(workers, tmp_path):
    with background_emulator() as emulator:
        workers.use(emulator, token="a-secret-that-is-wrong")
        workers.add(job(1), job(2))
        process = workers.start()
        told = ended(process)
        assert process.returncode == 1
        assert "401" in told
        assert "a-secret" not in told
        rows = workers.rows()
        assert {(row["state"], row["may_have_run"]) for row in rows} == {("ready", 0)}
        assert "a-secret" not in json.dumps(rows)

        workers.use(emulator)
        (tmp_path / "results").rmdir()
        (tmp_path / "results").touch()
        process = workers.start("--until-empty")
        process.communicate(timeout=PATIENCE)
        assert process.returncode == 1
        assert states(workers.rows()) == {"ready": 2}
        assert sent(emulator) == 0


def test_it_tells_how_it_stands(workers):
    with background_emulator(capacity=2, latency=60) as emulator:
        workers.use(emulator)
        workers.add(*(job(number) for number in range(1, 6)), job(6, latency=0))
        process = workers.start("--port", 0, "--max-concurrency", 2, "--drain", 0, "--report", 0.5)
        address = re.fullmatch(r"metrics at (http://.*)/metrics\n", process.stderr.readline())[1]
        until(lambda: emulator.stats().busy == 2)
        with urllib.request.urlopen(f"{address}/metrics", timeout=PATIENCE) as answer:
            lines = answer.read().decode().splitlines()
        assert {
            "# TYPE prodia_requests_total counter",
            "prodia_requests_total 2",
            "prodia_in_flight 2",
            "prodia_waiting 2",
            f'prodia_type_in_flight{{type="{TYPE}"}} 2',
            'prodia_rows{state="claimed"} 4',
            'prodia_rows{state="ready"} 2',
        } <= set(lines)
        with urllib.request.urlopen(f"{address}/healthz", timeout=PATIENCE) as answer:
            health = json.load(answer)
        assert (health["stopping"], health["running"]) == (False, 4)
        until(lambda: process.stderr.readline() == "4 claimed, 2 ready; 2 in flight, 2 waiting, 0 shed\n")
        process.send_signal(signal.SIGTERM)
        ended(process)
        assert process.returncode == os.EX_TEMPFAIL
