"""The tasks of docs/task-queues.md as they stand: a prefork Celery worker, and an arq worker on Redis."""

from __future__ import annotations

import os
import pathlib
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator

import pytest
from support.pages import saved

import prodia_async
from prodia_async.emulator import Emulator, background_emulator

pytestmark = [pytest.mark.newest, pytest.mark.skipif(sys.platform == "win32", reason="Celery forks")]

PAGE = "docs/task-queues.md"
PATIENCE = 60


@pytest.fixture(scope="module")
def emulator() -> Iterator[Emulator]:
    with background_emulator(capacity=2, latency=0.1, retry_after=0.1) as emulator:
        yield emulator


@pytest.fixture
def environment(emulator: Emulator, tmp_path: pathlib.Path) -> dict[str, str]:
    for name, text in saved(PAGE).items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    place = str(pathlib.Path(prodia_async.__file__).parents[1])
    settings = {"PRODIA_BASE_URL": emulator.base_url, "PRODIA_TOKEN": emulator.token, "PYTHONPATH": place}
    return os.environ | settings | {"PYTHONWARNINGS": "default"}


class Started:
    """A program in the test's folder, whose output goes into a file."""

    def __init__(self, words: list[str], environment: dict[str, str], folder: pathlib.Path) -> None:
        self.log = folder / f"{pathlib.Path(words[0]).name}.log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(words, cwd=folder, env=environment, stdout=log, stderr=log)

    def wait_for(self, text: str) -> None:
        deadline = time.monotonic() + PATIENCE
        while text not in self.log.read_text(errors="replace"):
            assert self.process.poll() is None, self.log.read_text(errors="replace")
            assert time.monotonic() < deadline, self.log.read_text(errors="replace")
            time.sleep(0.05)

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(PATIENCE)


@pytest.fixture
def start(environment, tmp_path) -> Iterator[object]:
    started = []

    def start(*words: str, **more: str) -> Started:
        program = shutil.which(words[0], path=str(pathlib.Path(sys.executable).parent)) or words[0]
        started.append(Started([program, *words[1:]], environment | more, tmp_path))
        return started[-1]

    yield start
    for each in started:
        if each.process.poll() is None:
            each.process.kill()
            each.process.wait()


def ask(script: str, environment: dict[str, str], folder: pathlib.Path) -> str:
    words = [sys.executable, "-c", textwrap.dedent(script)]
    done = subprocess.run(
        words, cwd=folder, env=environment, text=True, capture_output=True, timeout=PATIENCE, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_celery_with_children_that_were_forked(start, environment, tmp_path, emulator):
    pytest.importorskip("celery")
    before = emulator.stats()
    worker = start("celery", "-A", "tasks", "worker", "--concurrency", "2", "--loglevel", "INFO")
    worker.wait_for(" ready.")
    said = ask(
        """
        from pathlib import Path
        from tasks import app, paint

        tasks = [paint.delay(f"a lighthouse {number}") for number in range(6)]
        results = [task.get(timeout=50) for task in tasks]
        assert len({result["id"] for result in results}) == 6
        for result in results:
            assert result["status"] == "done"
            assert Path(result["outputs"][0]["path"]).read_bytes()[:2] == b"\\xff\\xd8"
        broken = paint.delay("")
        try:
            broken.get(timeout=50)
        except Exception as error:
            print(type(error).__name__, error)
        """,
        environment,
        tmp_path,
    )
    assert said.startswith("BadRequestError")
    after = emulator.stats()
    assert after.completed - before.completed == 6
    assert worker.stop() == 0
    assert len(list((tmp_path / "pictures").iterdir())) == 6


def test_arq_with_redis(start, environment, tmp_path, emulator, redis_url):
    pytest.importorskip("arq")
    before = emulator.stats()
    environment["REDIS_URL"] = redis_url
    worker = start("arq", "worker.WorkerSettings", REDIS_URL=redis_url)
    worker.wait_for("Starting worker")
    ask(
        """
        import asyncio
        from arq import create_pool
        from worker import WorkerSettings

        async def main():
            pool = await create_pool(WorkerSettings.redis_settings)
            jobs = [await pool.enqueue_job("paint", f"a lighthouse {number}") for number in range(12)]
            results = await asyncio.gather(*(job.result(timeout=50) for job in jobs))
            assert {result["status"] for result in results} == {"done"}
            assert len({result["id"] for result in results}) == 12
            await pool.aclose()

        asyncio.run(main())
        """,
        environment,
        tmp_path,
    )
    after = emulator.stats()
    assert after.completed - before.completed == 12
    assert worker.stop() in {0, -signal.SIGTERM}
    assert len(list((tmp_path / "pictures").iterdir())) == 12
