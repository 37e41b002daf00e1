from __future__ import annotations

import asyncio

import pytest

from prodia_async.batch import Progress
from prodia_async.cli import progress
from prodia_async.cli.progress import State, describe
from prodia_async.cli.terminal import plain

HALF = Progress(done=50, failed=10, problems=5, in_flight=8, requests=100, shed=32, dollars=1.234)


ALL = "50 done · 10 failed · 8 in flight · 32 shed · 6.0 jobs/s"


@pytest.mark.parametrize(
    ("counts", "total", "seconds", "text"),
    [
        (None, None, 0, "starting"),
        (Progress(), 7, 3, "0/7 done · 0 failed · 0 in flight · 0 shed"),
        (HALF, None, 10, f"{ALL} · $1.23"),
        (HALF, 125, 10, f"{ALL.replace('50', '50/125')} · 10 s left · $1.23"),
        (HALF, 665, 10, f"{ALL.replace('50', '50/665')} · 1 min 40 s left · $1.23"),
        (HALF, 65, 10, f"{ALL.replace('50', '50/65')} · 0 s left · $1.23"),
        (HALF, 60065, 10, f"{ALL.replace('50', '50/60065')} · 2 h 46 min left · $1.23"),
    ],
)
def test_a_line_of_progress(counts, total, seconds, text):
    assert describe(counts, total, seconds) == text


def test_the_state_is_the_newest():
    state = State()
    assert (state.finished, state.in_flight, state.text()) == (0, 0, "starting")
    state.update(HALF)
    assert (state.finished, state.in_flight) == (65, 8)


async def test_away_from_a_terminal_a_line_comes_every_few_seconds(capsys):
    state = State()
    with progress.lines(state, every=0.01):
        await asyncio.sleep(0.05)
    lines = capsys.readouterr().err.splitlines()
    assert lines[:2] == ["starting", "starting"]
    await asyncio.sleep(0.03)
    assert capsys.readouterr().err == ""


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
