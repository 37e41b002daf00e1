"""Signals in every order: the first stops, the next cuts, and a hangup is never the next."""

from __future__ import annotations

import contextlib
import os
import pty
import signal
import subprocess
import sys

import pytest
from cli.helpers import echo, wait_for

from prodia_async.emulator import background_emulator

pytestmark = pytest.mark.newest

INT, TERM, HUP = signal.SIGINT, signal.SIGTERM, signal.SIGHUP


@pytest.fixture
def service(environment):
    with background_emulator(capacity=4, latency=1.5) as emulator:
        environment |= {"PRODIA_BASE_URL": emulator.base_url, "PRODIA_TOKEN": emulator.token}
        yield emulator


@pytest.fixture
def batch(start, service, write_manifest):
    manifest = write_manifest(*[echo(str(number)) for number in range(12)])

    def begin(**options) -> subprocess.Popen[str]:
        options = {
            "shell_code": f'exec {options.pop("before", "")} {sys.executable} -m prodia_async "$@"'
        } | options
        words = ["batch", manifest, "--out", "out", "--max-concurrency", 4, "--no-report"]
        process = start(*words, **options)
        wait_for(lambda: service.stats().busy == 4, process)
        return process

    return begin


@pytest.mark.parametrize(
    ("sent", "done"),
    [
        ([INT], 4),
        ([TERM], 4),
        ([HUP], 4),
        ([HUP, HUP], 4),  # a shell's and the kernel's
        ([TERM, HUP], 4),  # systemd with SendSIGHUP=yes
        ([INT, HUP, HUP], 4),
        ([HUP, HUP, HUP, HUP], 4),
        ([HUP, INT], 0),
        ([HUP, TERM], 0),
        ([INT, HUP, INT], 0),
    ],
    ids=lambda value: "-".join(number.name for number in value) if isinstance(value, list) else str(value),
)
def test_what_is_in_flight_finishes_unless_a_second_signal_other_than_a_hangup_comes(
    batch, service, sent, done
):
    process = batch()
    for number, signals in enumerate(sent):
        process.send_signal(signals)
        if number == 0:
            assert process.stderr.readline().startswith("stopping: no more jobs begin, 4 jobs in flight")
    stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == 130
    assert service.stats().requests == 4
    if done:
        assert (stdout.splitlines()[0], stderr) == ("4 done, 0 failed, stopped before the end", "")
    else:
        assert stdout == ""
        assert stderr.startswith("stopped: 4 jobs were in flight: they may have run and been billed")


def test_under_nohup_a_hangup_is_nothing(batch, service):
    process = batch(before="nohup")
    process.send_signal(HUP)
    stdout, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert stdout.startswith("12 done, 0 failed\n")


def test_a_terminal_that_is_closed_lets_what_is_paid_finish(environment, service, write_manifest, tmp_path):
    """A real one: the kernel sends the hangup, and every write from then on fails."""
    manifest = write_manifest(*[echo(str(number)) for number in range(12)])
    words = ["batch", str(manifest), "--out", "out", "--max-concurrency", "4", "--no-report"]
    child, ours = pty.fork()
    if child == 0:
        os.execve(sys.executable, [sys.executable, "-m", "prodia_async", *words], environment)
    try:
        while service.stats().busy < 4:
            assert os.waitpid(child, os.WNOHANG) == (0, 0), "it ended before"
            os.set_blocking(ours, False)
            with contextlib.suppress(BlockingIOError):
                os.read(ours, 65536)
        os.close(ours)
        _, status = os.waitpid(child, 0)
    except BaseException:
        os.kill(child, signal.SIGKILL)
        raise
    assert os.waitstatus_to_exitcode(status) == 130
    assert service.stats().requests == 4
    assert len((tmp_path / "out" / "results.jsonl").read_text().splitlines()) == 4


def test_on_a_terminal_the_bar_is_taken_back(batch, environment):
    environment |= {"TERM": "xterm", "COLUMNS": "60"}
    ours, theirs = pty.openpty()
    process = batch(stderr=theirs)
    os.close(theirs)
    shown = b""
    while b"/12 done" not in shown:
        shown += os.read(ours, 65536)
    process.send_signal(INT)
    with contextlib.suppress(OSError):  # the other side has ended
        while piece := os.read(ours, 65536):
            shown += piece
    os.close(ours)
    process.communicate(timeout=60)
    assert process.returncode == 130
    before, said, after = shown.decode().partition(
        "\r\x1b[Kstopping: no more jobs begin, 4 jobs in flight may"
    )
    assert said
    assert "/12 done" in before
    assert " left" not in after
    assert shown.endswith(b"\r\x1b[K")


@pytest.mark.parametrize("number", [INT, TERM, HUP])
def test_one_job_is_cut_and_it_is_told_that_it_may_be_billed(start, service, number):
    process = start("run", "emulator.bytes.v1", "-c", "size=3", "--json")
    wait_for(lambda: service.stats().busy == 1, process)
    process.send_signal(number)
    stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == 130
    assert stderr == "stopped: the job may have run and been billed\n"
    assert '"may_have_run": true' in stdout
    assert '"exit_code": 130' in stdout


def test_an_emulator_ends_with_its_account(start):
    process = start("emulator", "--port", 0)
    process.stdout.readline()
    process.send_signal(HUP)
    stdout, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert "0 requests: 0 completed" in stdout
