from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from prodia_async.cli.group import command


@pytest.fixture(autouse=True)
def own_environment(monkeypatch, tmp_path) -> Iterator[None]:
    """An empty folder, no settings from outside, and the package's log as it was."""
    for name in [name for name in os.environ if name.startswith("PRODIA_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    log = logging.getLogger("prodia_async")
    before = log.level, log.propagate, log.handlers
    yield
    log.setLevel(before[0])
    log.propagate, log.handlers = before[1:]


@pytest.fixture
def invoke():
    """Run the command in this process."""

    def run(*arguments: str, **options) -> Result:
        result = CliRunner().invoke(command, [str(argument) for argument in arguments], **options)
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
        return result

    return run


@pytest.fixture
def environment() -> dict[str, str]:
    """What a process needs to find the package that is under test."""
    import prodia_async

    place = str(Path(prodia_async.__file__).parents[1])
    return os.environ | {"PYTHONPATH": place, "PYTHONWARNINGS": "error"}


@pytest.fixture
def start(environment) -> Iterator:
    """Start the real command, a program or a line of shell in a process of its own."""
    processes = []

    def start(*arguments: object, code: str = "", shell_code: str = "", **options) -> subprocess.Popen[str]:
        pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        words = [sys.executable, *(["-c", code] if code else ["-m", "prodia_async"]), *map(str, arguments)]
        if shell_code:
            words = ["sh", "-c", shell_code, "sh", *map(str, arguments)]
        process = subprocess.Popen(words, env=environment, text=True, **(pipes | options))
        processes.append(process)
        return process

    yield start
    for process in processes:
        process.kill()
        process.communicate()


@pytest.fixture
def write_manifest(tmp_path):
    def write(*lines: dict | str) -> Path:
        path = tmp_path / "jobs.jsonl"
        path.write_text("".join(f"{line if isinstance(line, str) else json.dumps(line)}\n" for line in lines))
        return path

    return write
