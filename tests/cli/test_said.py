"""What is said can undo nothing that was done: every way in which a stream fails, on each of both streams."""

from __future__ import annotations

import ast
import contextlib
import fcntl
import json
import os
import pty
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cli.helpers import echo

import prodia_async.cli
from prodia_async.emulator import background_emulator

pytestmark = pytest.mark.newest

ROOT = Path(prodia_async.cli.__file__).parent


@contextlib.contextmanager
def no_reader() -> Iterator[int]:
    reading, writing = os.pipe()
    os.close(reading)
    yield writing
    os.close(writing)


@contextlib.contextmanager
def nobody_reads() -> Iterator[int]:
    """A pipe that is full: a pager that nobody scrolls."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(writing, b"x" * 4096)
    os.set_blocking(writing, True)
    yield writing
    os.close(reading)
    os.close(writing)


@contextlib.contextmanager
def device(path: str, flags: int) -> Iterator[int]:
    number = os.open(path, flags)
    yield number
    os.close(number)


@contextlib.contextmanager
def terminal_that_is_gone() -> Iterator[int]:
    ours, theirs = pty.openpty()
    os.close(ours)
    yield theirs
    os.close(theirs)


@contextlib.contextmanager
def terminal_that_is_held() -> Iterator[int]:
    """A terminal whose other side reads nothing, as after Ctrl-S."""
    ours, theirs = pty.openpty()
    os.set_blocking(theirs, False)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(theirs, b"x" * 256)
    os.set_blocking(theirs, True)
    yield theirs
    os.close(ours)
    os.close(theirs)


@contextlib.contextmanager
def socket_that_was_closed() -> Iterator[int]:
    ours, theirs = socket.socketpair()
    ours.close()
    yield theirs.fileno()
    theirs.close()


@contextlib.contextmanager
def left_to_the_shell() -> Iterator[int]:
    yield subprocess.DEVNULL


BROKEN: dict[str, Callable[[], contextlib.AbstractContextManager[int]]] = {
    "no reader": no_reader,
    "full device": lambda: device("/dev/full", os.O_WRONLY),
    "only for reading": lambda: device(os.devnull, os.O_RDONLY),
    "terminal that is gone": terminal_that_is_gone,
    "socket that was closed": socket_that_was_closed,
    "closed": left_to_the_shell,
}
UNREAD = {"nobody reads": nobody_reads, "terminal that is held": terminal_that_is_held}
NARROW = [
    {"PYTHONIOENCODING": "ascii"},
    {"PYTHONIOENCODING": "latin-1:strict"},
    {"PYTHONIOENCODING": "cp437"},
    {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"},
    {"LC_ALL": "POSIX", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0", "PYTHONIOENCODING": "ascii:strict"},
]


@pytest.fixture
def batch(environment, write_manifest, tmp_path) -> Iterator:
    """Run a batch of 30 jobs and a bad line with the real command; a stream is a descriptor or "closed"."""
    good = [echo(f"猫-{number}") for number in range(30)]
    write_manifest(*good[:25], '{"type": "é", "猫": 1}', *good[25:])
    with background_emulator(capacity=8, latency=0.01) as emulator:
        address = {"PRODIA_BASE_URL": emulator.base_url, "PRODIA_TOKEN": emulator.token}

        def run(*options: str, variables: dict | None = None, closed: str = "", **streams) -> int:
            words = [sys.executable, "-m", "prodia_async", "batch", "jobs.jsonl", "--out", "out", *options]
            if closed:
                words = ["sh", "-c", f'exec "$@" {closed}', "sh", *words]
            streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | streams
            variables = environment | address | (variables or {})
            streams |= {"stdin": subprocess.DEVNULL, "timeout": 120}
            ended = subprocess.run(words, env=variables, check=False, **streams)
            run.stdout, run.stderr = ended.stdout, ended.stderr
            return ended.returncode

        yield run
    records = [json.loads(line) for line in (tmp_path / "out" / "results.jsonl").read_text().splitlines()]
    assert [record["status"] for record in records] == ["done"] * 30, "a job has failed for what was said"


@pytest.mark.parametrize("kind", [*BROKEN, *UNREAD])
def test_stderr_that_takes_nothing_changes_nothing(batch, kind):
    with {**BROKEN, **UNREAD}[kind]() as stream:
        closed = "2>&-" if kind == "closed" else ""
        assert batch("--no-report", "--debug", stderr=stream, closed=closed) == 1  # a line was bad
    assert batch.stdout.startswith(b"30 done, 0 failed")


@pytest.mark.parametrize("kind", BROKEN)
def test_stdout_that_takes_nothing_changes_no_exit_code(batch, kind):
    with BROKEN[kind]() as stream:
        closed = ">&-" if kind == "closed" else ""
        assert batch("--no-report", "--json", stdout=stream, closed=closed) == 1
    has_left = kind in ("no reader", "socket that was closed")
    assert (b"prodia-async: standard output: " in batch.stderr) is not has_left


@pytest.mark.parametrize("kind", BROKEN)
def test_both_may_fail(batch, kind):
    with BROKEN[kind]() as stream:
        closed = ">&- 2>&-" if kind == "closed" else ""
        assert batch(stdout=stream, stderr=stream, closed=closed) == 1


@pytest.mark.parametrize("variables", NARROW, ids=lambda variables: " ".join(variables.values()))
def test_a_narrow_encoding_makes_escapes_and_no_errors(batch, variables, tmp_path):
    assert batch("--debug", variables=variables) == 1
    assert b"Traceback" not in batch.stderr
    assert b"line 26" in batch.stderr


@pytest.mark.parametrize("kind", BROKEN)
@pytest.mark.parametrize("words", [["batch", "-h"], ["--version"], ["run"]])
def test_help_and_usage_end_with_no_traceback(start, kind, words):
    closed = kind == "closed"
    with BROKEN[kind]() as stream:
        for name in ("stdout", "stderr"):
            if closed:
                other = {"stdout": ">&-", "stderr": "2>&-"}[name]
                code = f'exec {sys.executable} -m prodia_async "$@" {other}'
                process = start(*words, **{name: subprocess.PIPE}, shell_code=code)
            else:
                process = start(*words, **{name: stream})
            told = process.communicate(timeout=60)
            assert "Traceback" not in "".join(text or "" for text in told)
            lost = name == "stdout" and words != ["run"]
            pipe = kind in ("no reader", "socket that was closed")
            good = 2 if words == ["run"] else 0
            assert process.returncode == ((141 if pipe else 1) if lost else good)


@pytest.mark.parametrize("kind", BROKEN)
def test_run_is_done_whatever_becomes_of_what_it_says(start, kind, tmp_path):
    words = ["run", "emulator.bytes.v1", "-c", "size=3", "-o", "x.bin", "--emulator"]
    with BROKEN[kind]() as stream:
        for name, code in (("stderr", 0), ("stdout", 141 if "reader" in kind or "socket" in kind else 0)):
            if kind == "closed":
                other = {"stdout": ">&-", "stderr": "2>&-"}[name]
                process = start(*words, shell_code=f'exec {sys.executable} -m prodia_async "$@" {other}')
            else:
                process = start(*words, **{name: stream})
            process.communicate(timeout=60)
            assert process.returncode == code
            assert (tmp_path / "x.bin").stat().st_size == 3
            (tmp_path / "x.bin").unlink()


@pytest.mark.parametrize("kind", BROKEN)
def test_results_that_cannot_be_printed_are_a_failure(start, batch, kind):
    assert batch("--no-report") == 1
    with BROKEN[kind]() as stream:
        if kind == "closed":
            process = start("results", "out", shell_code=f'exec {sys.executable} -m prodia_async "$@" >&-')
        else:
            process = start("results", "out", stdout=stream)
        _, stderr = process.communicate(timeout=60)
    if kind in ("no reader", "socket that was closed"):
        assert (process.returncode, stderr) == (141, "")
    else:
        assert process.returncode == 1
        assert stderr.startswith("prodia-async: standard output: ")


def test_a_reader_that_comes_back_hears_how_much_it_has_missed(start):
    code = """
import os, sys
from prodia_async.cli import terminal
for number in range(20_000):
    terminal.say(f"line {number}")
os.write(1, b"!")
os.read(0, 1)
terminal.say("the end")
"""
    reading, writing = os.pipe()
    fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, 65536)
    process = start(code=code, stderr=writing, stdin=subprocess.PIPE)
    os.close(writing)
    assert process.stdout.read(1) == "!"
    with open(reading, "rb") as pipe:
        shown = os.read(pipe.fileno(), 1 << 20).splitlines()
        process.stdin.write("!")
        process.stdin.close()
        process.stdin = None
        rest = pipe.read().splitlines()
    process.communicate(timeout=60)
    assert 1000 < len(shown) < 20_000
    assert rest == [f"({20_000 - len(shown)} lines were not shown: nobody read them)".encode(), b"the end"]


def test_all_text_leaves_through_one_function():
    """Only `put` in terminal.py writes; nothing else prints, echoes or touches a standard stream."""
    found = []
    for path in sorted(ROOT.glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            name = node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")
            if name in ("print", "echo", "secho", "write", "writelines", "stderr", "stdout", "print_exc"):
                found.append(f"{path.name}: {ast.unparse(node)}")
    writes = [place for place in found if not place.startswith("terminal.py: sys.")]
    assert sorted(set(writes)) == [
        "__init__.py: sys.stderr",  # opened anew
        "results.py: stream.write",  # Stream, which hands on to `put`
        "run.py: sys.stdout",  # is it a terminal, is it closed?
        "terminal.py: stream.buffer.write",
        "terminal.py: stream.write",
    ]
    source = (ROOT / "terminal.py").read_text(encoding="utf-8")
    [put] = [node for node in ast.parse(source).body if getattr(node, "name", "") == "put"]
    for line in ("stream.write(", "stream.buffer.write("):
        assert source.count(line) == ast.get_source_segment(source, put).count(line) == 1
