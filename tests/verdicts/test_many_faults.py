"""Many jobs through ten faults at once: all done, every byte right, and every possible repeat told."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import pathlib
import sys
from collections.abc import AsyncIterator, Iterator

import pytest
from support.leaks import assert_idle
from verdicts.trials import TOKEN, Service, certified, serving

from prodia_async import Job, JobResult, Prodia, ProdiaError, Retry, Timeouts
from prodia_async.emulator import pattern_blocks

FAULTS = [
    *("shed", "503", "502-after", "reset", "reset-body", "cut", "no-boundary"),
    *("gzip", "job-last", "names-hostile"),
]
"""Where one says that the job may have run, it has: so the client's count and the emulator's are the same."""
SIZE = 3000

pytestmark = pytest.mark.newest
counts = pytest.mark.parametrize("count", [500, pytest.param(10_000, marks=pytest.mark.nightly)])
ALSO = pytest.mark.nightly
"""What differs from two others in nothing of its own: each loop and each kind of connection runs once."""


@contextlib.contextmanager
def faulty(how: str, tmp_path: pathlib.Path) -> Iterator[Service]:
    certificate, tls = certified(tmp_path) if how == "TLS" else (None, None)
    with serving(certificate, tls, FAULTS) as service:
        yield service


async def outcomes(prodia: Prodia, jobs: list[Job]) -> AsyncIterator[tuple[Job, JobResult | ProdiaError]]:
    async with prodia.as_completed(jobs) as completed:
        async for outcome in completed:
            yield outcome.job, outcome.result or outcome.error


async def run_all(service: Service, count: int) -> None:
    jobs = [Job("emulator.bytes.v1", {"size": SIZE, "seed": n}, custom_id=f"{n}") for n in range(count)]
    may_have_run = 0
    retry = Retry(backoff=0.01, resend_unknown=1)
    options = {"retry": retry, "timeouts": Timeouts(first_byte=20, idle=20), "ssl_context": service.tls}
    async with Prodia(base_url=service.base_url, token=TOKEN, **options) as prodia:
        while jobs:  # few meet two faults in a row that may have been paid: they fail, and are run again
            again = []
            async for job, end in outcomes(prodia, jobs):
                may_have_run += sum(attempt.may_have_run for attempt in end.attempts)
                if isinstance(end, ProdiaError):
                    assert end.may_have_run
                    again.append(job)
                else:
                    check(job, end)
            assert len(again) < len(jobs) / 20 + 2
            jobs = again
        assert_idle(prodia)
    account = await asyncio.to_thread(service.account)
    assert set(account["faults"]) == set(FAULTS)
    assert account["repeated"] == account["billed"] - count
    assert may_have_run == account["billed"]


def check(job: Job, result: JobResult) -> None:
    expected = hashlib.sha256(b"".join(pattern_blocks(job.config["seed"], SIZE))).digest()
    for output in result.outputs:  # hostile names bring the same output many times
        assert output.data is not None
        assert hashlib.sha256(output.data).digest() == expected


@counts
@pytest.mark.parametrize("how", ["plain", pytest.param("TLS", marks=ALSO)])
async def test_all_are_done_and_every_repeat_is_told(how: str, count: int, tmp_path: pathlib.Path) -> None:
    with faulty(how, tmp_path) as service:
        await run_all(service, count)


@counts
@pytest.mark.parametrize("how", [pytest.param("plain", marks=ALSO), "TLS"])
@pytest.mark.skipif(sys.platform == "win32", reason="uvloop does not run on Windows")
def test_with_uvloop(how: str, count: int, tmp_path: pathlib.Path) -> None:
    import uvloop

    with faulty(how, tmp_path) as service, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run_all(service, count))
