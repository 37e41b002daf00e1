"""What is said can undo nothing that was done: users' functions and the log may fail as they like."""

from __future__ import annotations

import asyncio
import logging

import pytest
from batch.helpers import echo, read_results

from prodia_async import Prodia
from prodia_async.batch import Progress, check_manifest, run_batch


class OwnError(BaseException):
    """An error that is no Exception."""


RAISED = [
    ValueError("no"),
    BrokenPipeError(32, "Broken pipe"),
    OSError(28, "No space left on device"),
    UnicodeEncodeError("ascii", "é", 0, 1, "ordinal not in range"),
    KeyError("done"),
    AssertionError(),
    RecursionError(),
    MemoryError(),
    StopIteration(),
    StopAsyncIteration(),
    TimeoutError(),
    GeneratorExit(),
    asyncio.CancelledError(),
    SystemExit(3),
    OwnError("own"),
    ExceptionGroup("several", [ValueError(), KeyError()]),
    BaseExceptionGroup("several", [OwnError()]),
]
NAMES = [type(error).__name__ for error in RAISED]
LINES = [
    *[echo(str(number)) for number in range(6)],
    "{",
    echo("shed", shed=1, retry_after=0.01),
    echo("bad", status=400),
    echo("lost", drop="before", times=1, key="lost"),
    "7",
]


def raising(error: BaseException):
    def raise_it(*_: object) -> None:
        raise error

    return raise_it


def figures(report) -> tuple:
    return report.ending, report.done, report.failed, report.problem_count, report.requests, report.shed


DONE = ("complete", 8, 1, 2, 11, 1)


async def all_went_well(report, out) -> None:
    assert figures(report) == DONE
    records = read_results(out)
    assert {name for name, record in records.items() if record["status"] == "failed"} == {"bad"}
    assert records["bad"]["error"]["status"] == 400


@pytest.mark.parametrize("error", RAISED, ids=NAMES)
async def test_functions_of_the_users_may_raise_anything(prodia, write_manifest, tmp_path, error):
    report = await run_batch(
        write_manifest(*LINES),
        tmp_path / "out",
        prodia=prodia,
        on_progress=raising(error),
        on_problem=raising(error),
    )
    await all_went_well(report, tmp_path / "out")


@pytest.mark.parametrize("error", RAISED, ids=NAMES)
async def test_so_they_may_while_a_manifest_is_checked(write_manifest, error):
    check = await check_manifest(write_manifest(*LINES), on_problem=raising(error))
    assert (check.jobs, check.problem_count) == (9, 2)


class Failing(logging.Handler):
    """A handler that fails with each record."""

    def __init__(self, error: BaseException) -> None:
        super().__init__()
        self._error = error
        self.heard = 0

    def emit(self, _record: logging.LogRecord) -> None:
        self.heard += 1
        raise self._error


@pytest.fixture
def log_fails():
    log = logging.getLogger("prodia_async")
    handlers: list[logging.Handler] = []

    def begin(error: BaseException) -> Failing:
        handlers.append(Failing(error))
        log.addHandler(handlers[-1])
        return handlers[-1]

    yield begin
    for handler in handlers:
        log.removeHandler(handler)


@pytest.mark.parametrize("error", RAISED, ids=NAMES)
async def test_a_log_that_fails_changes_nothing(prodia, write_manifest, tmp_path, log_fails, error):
    handler = log_fails(error)
    report = await run_batch(
        write_manifest(*LINES), tmp_path / "out", prodia=prodia, on_progress=raising(ValueError("no"))
    )
    assert handler.heard
    await all_went_well(report, tmp_path / "out")


async def test_a_log_that_fails_ends_no_pause(write_manifest, tmp_path, log_fails, emulator):
    """The pause and its end are logged; so is a journal that cannot be written, by its one thread."""
    handler = log_fails(OSError("no"))
    paused: list[str] = []

    def follow(progress: Progress) -> None:
        if progress.paused is not None:
            paused.append(progress.paused)
        raise OwnError

    lines = [echo(str(number), status=503, times=24, key="all") for number in range(30)]
    async with Prodia(base_url=emulator.base_url, token=emulator.token, max_concurrency=30) as prodia:
        report = await asyncio.wait_for(
            run_batch(write_manifest(*lines), tmp_path / "out", prodia=prodia, on_progress=follow), 60
        )
    assert (report.done, report.failed) == (30, 0)
    assert paused
    assert handler.heard
