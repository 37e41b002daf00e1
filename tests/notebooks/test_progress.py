"""The progress bar, over real jobs."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import threading

import pytest

from prodia_async import InputError, Job, blocking

rich_console = pytest.importorskip("rich.console")
from prodia_async.progress import track  # noqa: E402 - it needs rich

pytest_plugins = ["prodia_async.pytest_plugin"]


@pytest.fixture
def console():
    return rich_console.Console(file=io.StringIO(), force_terminal=True, width=80, color_system=None)


def jobs(good, bad=0):
    return [
        *(Job("inference.ping.v1") for _ in range(good)),
        *(Job("inference.ping.v1", {"emulator": {"fail": "no"}}) for _ in range(bad)),
    ]


def said(console):
    return console.file.getvalue()


def last_line(console):
    return said(console).replace("\x1b[?25h", "").rstrip().splitlines()[-1]


def wait_for_its_thread():
    """Rich tells its thread to end, and does not wait for it."""
    for thread in threading.enumerate():
        if type(thread).__module__.startswith("rich."):
            thread.join(5)
            assert not thread.is_alive()


async def test_it_counts_what_is_done_and_what_failed(prodia, console):
    async with track(prodia.as_completed(jobs(5, 2)), total=7, console=console, label="pings") as outcomes:
        seen = [outcome async for outcome in outcomes]
    assert len(seen) == 7
    last = last_line(console)
    assert "pings" in last
    assert "7/7" in last
    assert "2 failed" in last


async def test_without_a_total_it_counts_only(prodia, console):
    async with track(prodia.as_completed(jobs(3)), console=console) as outcomes:
        assert [outcome.error async for outcome in outcomes] == [None] * 3
    assert "3/?" in last_line(console)
    assert "failed" not in said(console)


async def test_leaving_early_ends_the_bar_and_cancels_what_is_in_flight(prodia, prodia_emulator, console):
    slow = [Job("inference.ping.v1", {"emulator": {"latency": 30}}) for _ in range(4)]
    async with track(prodia.as_completed(jobs(1) + slow), total=5, console=console) as outcomes:
        async for outcome in outcomes:
            assert outcome.error is None
            break
    assert "1/5" in last_line(console)
    assert prodia.stats().in_flight == 0
    wait_for_its_thread()


async def test_an_error_in_the_block_ends_the_bar_and_is_raised(prodia, console):
    with pytest.raises(ZeroDivisionError):  # noqa: PT012 - the block is what is tested
        async with track(prodia.as_completed(jobs(2)), total=2, console=console) as outcomes:
            await anext(outcomes)
            raise ZeroDivisionError
    wait_for_its_thread()


async def test_what_the_iterable_raises_comes_through(prodia, console):
    def broken():
        yield from jobs(1)
        raise LookupError("no more")

    with pytest.raises(LookupError, match="no more"):
        async with track(prodia.as_completed(broken()), console=console) as outcomes:
            assert [outcome.error async for outcome in outcomes] == [None]


def test_the_blocking_client_has_it_too(prodia_emulator, console):
    where = {"base_url": prodia_emulator.base_url, "token": prodia_emulator.token}
    with (
        blocking.Prodia(**where) as prodia,
        track(prodia.as_completed(jobs(2, 1)), total=3, console=console) as outcomes,
    ):
        assert sorted(outcome.error is None for outcome in outcomes) == [False, True, True]
    assert "3/3" in said(console)
    assert "1 failed" in said(console)


def test_it_is_drawn_on_standard_error(prodia_emulator, capsys):
    where = {"base_url": prodia_emulator.base_url, "token": prodia_emulator.token}
    with blocking.Prodia(**where) as prodia, track(prodia.as_completed(jobs(2)), total=2) as outcomes:
        list(outcomes)
    out, err = capsys.readouterr()
    assert out == ""
    assert "2/2" in err


class Broken(io.StringIO):
    def __init__(self, error):
        super().__init__()
        self.error = error

    def write(self, text):
        raise self.error


@pytest.mark.parametrize(
    "error",
    [BrokenPipeError(), OSError(28, "No space left on device"), ValueError("closed"), UnicodeError("ascii")],
    ids=lambda error: type(error).__name__,
)
@pytest.mark.parametrize("is_terminal", [True, False])
async def test_a_bar_that_cannot_be_drawn_ends_nothing(error, is_terminal, prodia):
    console = rich_console.Console(file=Broken(error), force_terminal=is_terminal, width=80)
    before = sys.stdout, sys.stderr
    async with track(prodia.as_completed(jobs(3)), total=3, console=console) as outcomes:
        assert [outcome.error async for outcome in outcomes] == [None] * 3
    assert (sys.stdout, sys.stderr) == before
    wait_for_its_thread()


def test_a_standard_error_without_a_reader_leaves_standard_output_alone(prodia_emulator):
    program = f"""
from prodia_async import Job, blocking
from prodia_async.progress import track
with blocking.Prodia(base_url={prodia_emulator.base_url!r}, token={prodia_emulator.token!r}) as prodia:
    with track(prodia.as_completed([Job("inference.ping.v1")] * 2), 2) as outcomes:
        for outcome in outcomes:
            print(outcome.result.type)
print("the end")
"""
    reader, writer = os.pipe()
    os.close(reader)
    try:
        command = [sys.executable, "-c", program]
        ended = subprocess.run(
            command, check=True, stdout=subprocess.PIPE, stderr=writer, text=True, timeout=60
        )
    finally:
        os.close(writer)
    assert ended.stdout.splitlines() == ["inference.ping.v1"] * 2 + ["the end"]


async def test_what_is_printed_into_a_file_goes_there(prodia, console, capsys):
    async with track(prodia.as_completed(jobs(2)), total=2, console=console) as outcomes:
        async for outcome in outcomes:
            print(outcome.result.type)  # noqa: T201 - as a user's program does
            print("to the log", file=sys.stderr)  # noqa: T201
    out, err = capsys.readouterr()
    assert out == "inference.ping.v1\n" * 2
    assert err == "to the log\n" * 2
    assert "inference.ping.v1" not in said(console)


async def test_a_label_is_text_as_it_is(prodia, console):
    async with track(
        prodia.as_completed(jobs(1)), total=1, label="[bold] 24[/12]", console=console
    ) as outcomes:
        assert len([outcome async for outcome in outcomes]) == 1
    assert "[bold] 24[/12]" in last_line(console)


@pytest.mark.parametrize("total", ["12", float("nan"), [1]])
def test_what_is_no_number_of_jobs_is_told_before_any_runs(prodia, total):
    with pytest.raises(InputError, match=r"it takes how many jobs there are, such as len\(jobs\)"):
        track(prodia.as_completed(jobs(1)), total)
