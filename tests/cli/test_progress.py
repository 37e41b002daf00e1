from __future__ import annotations

import asyncio
import os
import pty
import subprocess
import sys

import pytest
from msgspec.structs import replace

from prodia_async.batch import Progress
from prodia_async.cli import progress
from prodia_async.cli.progress import State
from prodia_async.cli.terminal import plain

HALF = Progress(
    done=1050,
    failed=10,
    skipped=1000,
    problems=5,
    in_flight=8,
    limit=12,
    requests=100,
    shed=32,
    dollars=1.234,
)
ALL = "1,050 done · 10 failed · 8 in flight (limit 12) · 32 shed · 6.0 jobs/s"


@pytest.mark.parametrize(
    ("counts", "of", "left", "seconds", "text"),
    [
        (None, "", None, 0, "starting"),
        (Progress(), "/7", 7, 3, "0/7 done · 0 failed · 0 in flight (limit 0) · 0 shed"),
        (HALF, "", None, 10, f"{ALL} · $1.234"),
        (HALF, "/1,125", 60, 10, f"{ALL.replace('50', '50/1,125', 1)} · 10 s left · $1.234"),
        (HALF, "/1,665", 600, 10, f"{ALL.replace('50', '50/1,665', 1)} · 1 min 40 s left · $1.234"),
        (HALF, "/~1,060", 0, 10, f"{ALL.replace('50', '50/~1,060', 1)} · 0 s left · $1.234"),
        (replace(HALF, paused="no answer"), "", None, 10, f"paused: no answer · {ALL} · $1.234"),
        (
            replace(HALF, done=990, dollars=None),
            "/1,065",
            60,
            10,
            "990/1,065 done · 10 failed · 8 in flight (limit 12) · 32 shed",
        ),
    ],
)
def test_a_line_of_progress(counts, of, left, seconds, text):
    now = 100.0
    state = State(lambda: now, is_rough="~" in of)
    if counts is not None:
        state.update(replace(counts, total=int(of.strip("/~").replace(",", "")) if of else None))
        now += seconds
    if of:
        assert max(0, state.total - state.finished) == left
    assert state.text() == text


def test_dollars_are_told_with_those_to_come():
    now = 100.0
    state = State(lambda: now)
    state.update(replace(HALF, total=1665, expected=1.9444, dollars_a_minute=0.1234))
    now += 10
    assert state.text() == (
        f"{ALL.replace('50', '50/1,665', 1)} · $0.12/min · ~$1.90 for all · 1 min 40 s left · $1.234"
    )


def test_the_state_is_the_newest():
    state = State()
    assert (state.finished, state.in_flight, state.text()) == (0, 0, "starting")
    state.update(HALF)
    assert (state.finished, state.in_flight) == (1065, 8)


def test_the_speed_is_that_of_the_jobs_of_this_run_since_its_first_request():
    now = 100.0
    state = State(lambda: now)
    state.update(Progress(done=1000, skipped=1000, total=2000))
    now += 50
    assert "jobs/s" not in state.text()
    state.update(Progress(done=1000, skipped=1000, requests=1, total=2000))
    now += 10
    state.update(Progress(done=1020, skipped=1000, requests=20, total=2000))
    assert state.text().endswith(" · 2.0 jobs/s · 8 min 10 s left")


def test_of_a_shard_only_about_its_size_is_known():
    state = State(is_rough=True)
    state.update(replace(HALF, total=1111))
    assert state.text().startswith("1,050/~1,111 done · ")


async def test_away_from_a_terminal_a_line_comes_every_few_seconds(capsys):
    state = State()
    told = ""
    with progress.display(state, every=0.01):
        async with asyncio.timeout(60):
            while told.count("\n") < 2:
                await asyncio.sleep(0.01)
                told += capsys.readouterr().err
    assert told.splitlines()[:2] == ["starting", "starting"]
    capsys.readouterr()
    await asyncio.sleep(0.03)
    assert capsys.readouterr().err == ""


def test_the_end_of_a_pause_is_told(capsys):
    state = State()
    for paused in (None, "no answer", "no answer at all", None, None, "no room", None):
        state.update(replace(HALF, paused=paused))
    assert capsys.readouterr().err == "the batch goes on\n" * 2


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\tb\r\nc", "a\\tb\\r c"),
        ("\x1b[31mred\x1b[0m", "\\x1b[31mred\\x1b[0m"),
        ("\x9b2J\x7f\x00", "\\x9b2J\\x7f\\x00"),
        ("abc\u202egnp.exe", "abc\\u202egnp.exe"),
        ("\ud800", "\\ud800"),
        ("é 日本 🐈 [bold]x[/bold]", "é 日本 🐈 [bold]x[/bold]"),
    ],
)
def test_texts_of_others_are_shown_without_what_a_terminal_acts_upon(text, shown):
    assert plain(text) == shown


@pytest.mark.parametrize("width", [20, 40, 60, 79, 80, 100, 120, 200])
@pytest.mark.parametrize("paused", [None, "no answer", "猫" * 100])
@pytest.mark.parametrize("counts", [HALF, replace(HALF, done=1_234_567, failed=98_765, dollars=1234.5)])
def test_the_bar_is_one_line_on_any_terminal(width, paused, counts):
    now = 100.0
    state = State(lambda: now)
    state.update(replace(counts, paused=paused, total=2_000_000, expected=8765.4, dollars_a_minute=1.25))
    now += 10
    line = progress.bar(state, width)
    assert progress._width(line) < width
    if width >= 60 and paused is None:
        assert "done · " in line
        assert " left" in line
    if width == 200 and paused is None:
        assert line.endswith(state.text())
        assert line.startswith("━" * 16 if counts is not HALF else " " * 24)


def test_after_ctrl_c_no_end_is_promised():
    state = State()
    state.update(replace(HALF, total=2000))
    state.stop()
    state.update(replace(HALF, total=2000))
    assert progress.bar(state, 100) == "stopping: 8 jobs in flight"


_BAR = """
import asyncio
from prodia_async.cli.progress import Shown, display

class Hostile(Shown):
    def text(self):
        return "\\x1b[31mred\\x07 [bold]x[/bold]\\r\\nsecond line"

async def main():
    with display(Hostile()):
        await asyncio.sleep(0.3)

asyncio.run(main())
"""


def test_the_bar_on_a_terminal_shows_no_more_either(environment):
    ours, theirs = pty.openpty()
    with subprocess.Popen([sys.executable, "-c", _BAR], env=environment, stderr=theirs) as process:
        os.close(theirs)
        shown = b""
        try:
            while piece := os.read(ours, 65536):
                shown += piece
        except OSError:  # the other side has ended
            pass
        os.close(ours)
        assert process.wait(60) == 0
    assert rb"\x1b[31mred\x07 [bold]x[/bold]\r second line" in shown
    assert b"\x07" not in shown
