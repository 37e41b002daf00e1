"""Jobs of the asynchronous API: submitted, asked for, collected, perhaps by another process."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import subprocess
import sys

import pytest
from support.fake_clock import FakeClock
from support.leaks import client

from prodia_async import (
    BadRequestError,
    ClientClosedError,
    Fixed,
    Handle,
    InputError,
    Job,
    JobFailedError,
    MemorySink,
    NotFoundError,
    OutputError,
    Polling,
    Prodia,
    ProdiaTimeoutError,
)
from prodia_async.emulator import Emulator, background_emulator

pytestmark = pytest.mark.usefixtures("nothing_left")

TYPE = "emulator.bytes.v1"
QUICK = Polling(interval=0.03, max_interval=0.1)


@pytest.fixture
async def emulator(nothing_left):
    async with Emulator(capacity=8, latency=0.02) as server:
        yield server


@pytest.fixture
async def prodia(emulator):
    async with client(emulator.base_url, token=emulator.token, polling=QUICK) as opened:
        yield opened


def config(**orders):
    return {"size": 1000, "content_type": "image/png", "emulator": orders}


async def test_a_submitted_job_is_asked_for_and_its_outputs_are_stored(prodia, emulator, tmp_path):
    handle = await prodia.submit(TYPE, {**config(), "outputs": 2}, custom_id="cat", price=True)
    assert handle.id == handle.job.id
    assert handle.job.state.current == "processing"
    assert handle.expires_at == handle.job.expires_at
    assert await handle.wait() == "processed"
    assert await handle.state() == "processed"
    first, second = await handle.outputs()
    assert first != second
    result = await handle.result(to=tmp_path / "out", price=True)
    assert (result.id, result.price.dollars, len(result.attempts)) == (handle.id, 0.0025, 1)
    assert [output.path.name for output in result.outputs] == ["cat.png", "cat-2.png"]
    assert [output.path.stat().st_size for output in result.outputs] == [1000, 1000]
    output = await handle.download(second, to=tmp_path / "one.png")
    assert (output.size, output.path.read_bytes()) == (1000, result.outputs[1].path.read_bytes())
    assert (await handle.download(first)).data == result.outputs[0].path.read_bytes()
    assert emulator.stats().submitted == 1


async def test_it_counts_against_the_limit_until_its_outputs_are_stored(emulator):
    async with client(emulator.base_url, token=emulator.token, polling=QUICK, limiter=Fixed(2)) as prodia:
        handles = [await prodia.submit(TYPE, config()) for _ in range(2)]
        assert prodia.stats().in_flight == 2
        assert prodia.stats().by_type[f"{TYPE} (async)"].in_flight == 2
        third = asyncio.create_task(prodia.submit(TYPE, config()))
        await handles[0].wait()
        assert not third.done()
        assert prodia.stats().waiting == 1
        await handles[0].result()
        last = await third
        assert prodia.stats().in_flight == 2
        await last.result()
        await handles[1].result()
        assert prodia.stats().in_flight == 0
        assert (prodia.stats().jobs, prodia.stats().completed) == (3, 3)


async def test_a_handle_that_is_dropped_gives_its_place_back(prodia):
    handle = await prodia.submit(TYPE, config())
    assert prodia.stats().in_flight == 1
    job_id = handle.id
    del handle
    gc.collect()
    await asyncio.sleep(0)
    stats = prodia.stats()
    assert (stats.in_flight, stats.jobs, stats.cancelled) == (0, 1, 1)
    result = await prodia.handle(job_id).result()
    assert result.outputs[0].size == 1000
    assert (prodia.stats().jobs, prodia.stats().completed) == (2, 1)


async def test_a_place_is_given_back_when_the_job_s_time_is_over(emulator):
    clock = FakeClock()
    async with Prodia(base_url=emulator.base_url, token=emulator.token, clock=clock) as prodia:
        handle = await prodia.submit(TYPE, config())
        assert prodia.stats().in_flight == 1
        clock.advance(10_000_000_000)
        assert prodia.stats().in_flight == 0
        assert handle.id


async def test_a_result_can_be_had_again_and_counts_once(prodia):
    handle = await prodia.submit(TYPE, config())
    first, second = await handle.result(), await handle.result()
    assert first.outputs[0].data == second.outputs[0].data
    stats = prodia.stats()
    assert (stats.jobs, stats.completed, stats.requests) == (1, 1, 1)


async def test_a_timeout_leaves_the_handle_usable(prodia):
    handle = await prodia.submit(TYPE, config(latency=0.4))
    for wait in (handle.result, handle.wait):
        with pytest.raises(ProdiaTimeoutError) as late:
            await wait(timeout=0.1)
        assert late.value.handle is handle
        assert late.value.may_have_run
        assert handle.id in late.value.message
    assert (await late.value.handle.result()).id == handle.id
    assert (prodia.stats().completed, prodia.stats().failed) == (1, 0)


async def test_run_takes_the_asynchronous_way(prodia, emulator, tmp_path):
    result = await prodia.run(TYPE, config(), to=tmp_path / "x.png", mode="async")
    assert result.outputs[0].path.stat().st_size == 1000
    assert (await prodia.run(Job(TYPE, config(), mode="async"))).outputs[0].size == 1000
    assert emulator.stats().submitted == 2
    with pytest.raises(ProdiaTimeoutError) as late:
        await prodia.run(TYPE, config(latency=0.4), mode="async", timeout=0.2)
    assert prodia.stats().in_flight == 0
    result = await late.value.handle.result()
    assert result.id == late.value.handle.id
    assert emulator.stats().submitted == 3


async def test_many_run_the_asynchronous_way(prodia, emulator):
    jobs = [Job(TYPE, config(key=number), mode="async") for number in range(40)]
    async with prodia.as_completed(jobs) as outcomes:
        sizes = [outcome.result.outputs[0].size async for outcome in outcomes]
    assert sizes == [1000] * 40
    assert (emulator.stats().submitted, emulator.stats().repeated) == (40, 0)


async def test_sheds_and_failures_before_it_is_submitted_are_retried(prodia, emulator):
    handle = await prodia.submit(TYPE, config(shed=2, retry_after=0.01))
    assert [attempt.verdict for attempt in handle.job.attempts] == ["shed", "shed", "submitted"]
    assert (await handle.result()).attempts == handle.job.attempts
    result = await prodia.run(TYPE, config(status=500, times=2), mode="async")
    assert [attempt.verdict for attempt in result.attempts] == ["server_error", "server_error", "done"]


async def test_a_job_that_fails_tells_why(prodia):
    handle = await prodia.submit(TYPE, config(fail="out of paint"))
    with pytest.raises(JobFailedError, match="out of paint") as failed:
        await handle.result()
    assert failed.value.result.id == handle.id
    assert await handle.state() == "failed"
    with pytest.raises(JobFailedError, match="out of paint"):
        await prodia.run(TYPE, config(fail="out of paint"), mode="async")
    assert prodia.stats().failed == 2


async def test_a_type_without_the_api_is_refused(prodia):
    with pytest.raises(BadRequestError, match="asynchronous"):
        await prodia.submit("x.sync-only.ping.v1")
    assert (prodia.stats().in_flight, prodia.stats().failed) == (0, 1)


async def test_an_expired_job_is_not_found(prodia, emulator):
    handle = await prodia.submit(TYPE, config(lifetime=0.01))
    while not emulator.stats().expired:
        await asyncio.sleep(0.01)
    with pytest.raises(NotFoundError, match="expired or unknown") as lost:
        await handle.result()
    assert (lost.value.status, lost.value.may_have_run) == (404, True)
    for ask in (handle.state, handle.outputs, handle.wait, lambda: handle.download("x")):
        with pytest.raises(NotFoundError, match="expired or unknown"):
            await ask()
    with pytest.raises(NotFoundError, match="expired or unknown"):
        await prodia.handle("never-was").result()


async def test_an_output_that_cannot_be_kept_can_be_fetched_elsewhere(prodia, tmp_path):
    def broken(job):
        raise RuntimeError("no sink today")

    handle = await prodia.submit(TYPE, config())
    with pytest.raises(OutputError, match="no sink today"):
        await handle.result(to=broken)
    result = await handle.result(to=tmp_path / "x.png")
    assert result.outputs[0].path.exists()
    assert (prodia.stats().jobs, prodia.stats().failed, prodia.stats().completed) == (1, 1, 0)


async def test_a_client_that_is_closed_leaves_the_job_at_the_service(emulator):
    async with client(emulator.base_url, token=emulator.token, polling=QUICK) as prodia:
        handle = await prodia.submit(TYPE, config(latency=0.3))
        waiting = asyncio.create_task(handle.result())
        await asyncio.sleep(0.05)
        [unfinished] = await prodia.aclose()
        with pytest.raises(ClientClosedError) as closed:
            await waiting
        assert unfinished.error is closed.value
        assert closed.value.may_have_run
        assert (await handle.result()).id == handle.id  # the client opens again


async def test_events_of_one_job_belong_together(emulator):
    events = []
    async with client(
        emulator.base_url, token=emulator.token, polling=QUICK, on_event=events.append
    ) as prodia:
        handle = await prodia.submit(TYPE, config())
        await handle.result()
        await handle.result()
    assert [event.kind for event in events] == ["queued", "sent", "completed"]
    assert len({event.run for event in events}) == 1


@pytest.mark.parametrize("bad", ["", "  ", None, 7])
async def test_what_is_no_id_is_refused(prodia, bad):
    with pytest.raises(InputError, match="id"):
        prodia.handle(bad)


async def test_it_says_what_it_is(prodia):
    handle = await prodia.submit(TYPE, config())
    assert repr(handle).startswith(f"Handle('{handle.id}', type='{TYPE}', expires_at=20")
    assert repr(prodia.handle("x")) == "Handle('x')"
    assert isinstance(prodia.handle("x"), Handle)
    with pytest.raises(InputError, match="streamed"):
        prodia.stream(Job(TYPE, mode="async"))
    await handle.result()


SUBMITTER = """
import asyncio, sys
from prodia_async import Prodia

async def main():
    prodia = Prodia()
    handle = await prodia.submit("inference.wan2-2.lightning.txt2vid.v0", {"prompt": "waves"})
    print(handle.id, flush=True)
    await handle.result()

asyncio.run(main())
"""


async def test_another_process_collects_what_a_killed_one_submitted(tmp_path, monkeypatch):
    with background_emulator(capacity=2, latency=1.0) as emulator:
        monkeypatch.setenv("PRODIA_BASE_URL", emulator.base_url)
        monkeypatch.setenv("PRODIA_TOKEN", emulator.token)
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", SUBMITTER, stdout=subprocess.PIPE
        )
        job_id = (await process.stdout.readline()).decode().strip()
        process.kill()
        await process.wait()
        async with client(emulator.base_url, token=emulator.token, polling=QUICK) as prodia:
            result = await prodia.handle(job_id, custom_id="waves").result(to=tmp_path)
        assert result.type == "inference.wan2-2.lightning.txt2vid.v0"
        assert result.outputs[0].path.name == "waves.mp4"
        assert emulator.stats().submitted == 1


async def test_a_result_can_be_had_in_another_loop(prodia, emulator):
    handle = await prodia.submit(TYPE, config())

    async def collect():
        try:
            return await handle.result()
        finally:
            await prodia.aclose()

    result = await asyncio.to_thread(asyncio.run, collect())
    assert result.id == handle.id
    await asyncio.sleep(0)
    assert prodia.stats().in_flight == 0


async def test_a_handle_that_timed_out_gives_its_place_back_without_the_collector(prodia):
    gc.disable()
    try:
        for wait in ("result", "wait"):
            handle = await prodia.submit(TYPE, config(latency=5))
            with contextlib.suppress(ProdiaTimeoutError):
                await getattr(handle, wait)(timeout=0.05)
            del handle
            for _ in range(3):
                await asyncio.sleep(0)
            assert prodia.stats().in_flight == 0
    finally:
        gc.enable()


async def test_each_wait_for_a_job_of_another_process_is_a_run_that_ends(prodia):
    events = []
    watched = prodia.with_options(on_event=events.append)
    handle = watched.handle((await prodia.submit(TYPE, config(latency=0.4))).id)
    await asyncio.sleep(0.01)  # what was submitted is dropped
    before = prodia.stats()
    with pytest.raises(ProdiaTimeoutError):
        await handle.result(timeout=0.05)
    waiting = asyncio.create_task(handle.result())
    await asyncio.sleep(0.05)
    waiting.cancel()
    await asyncio.wait([waiting])
    await handle.result()
    after = prodia.stats()
    assert after.jobs - before.jobs == 3
    assert (after.completed, after.failed, after.cancelled - before.cancelled) == (1, 1, 1)
    await asyncio.to_thread(next(iter(watched._hooks)).wait, 5)
    ends = ["failed", "cancelled", "completed"]
    assert [event.kind for event in events] == [kind for end in ends for kind in ("queued", end)]


async def test_what_is_asked_of_a_handle_is_neither_counted_nor_told_of(prodia, tmp_path):
    events = []
    watched = prodia.with_options(on_event=events.append)
    submitted = await prodia.submit(TYPE, config())
    handle, before = watched.handle(submitted.id), prodia.stats()
    assert (await handle.wait(), await handle.state()) == ("processed", "processed")
    [name] = await handle.outputs()
    assert (await handle.download(name, to=tmp_path)).path.parent == tmp_path
    with pytest.raises(NotFoundError, match=r"the job \(job no-such-job\): ") as caught:
        await watched.handle("no-such-job").state()
    assert caught.value.may_have_run
    with pytest.raises(OutputError) as kept:
        await handle.download(name, to=lambda _: NoRoom())
    assert (kept.value.result.id, kept.value.written) == (handle.id, ())
    await asyncio.to_thread(next(iter(watched._hooks)).wait, 5)
    assert (prodia.stats(), events) == (before, [])
    await submitted.result()


class NoRoom(MemorySink):
    async def commit(self, result):
        raise OSError(28, "no room")


async def test_an_asynchronous_job_that_is_cut_leaves_its_handle(prodia):
    run = asyncio.create_task(prodia.run(TYPE, config(latency=0.4), mode="async"))
    while not prodia.stats().in_flight:
        await asyncio.sleep(0.01)
    await asyncio.sleep(0.1)
    await prodia.aclose()
    with pytest.raises(ClientClosedError) as closed:
        await run
    assert (await closed.value.handle.result()).id == closed.value.handle.id


async def test_states_are_told_while_a_result_is_waited_for(prodia, caplog):
    handle = await prodia.submit(TYPE, config(latency=0.3))
    told = []
    await handle.result(on_state=told.append)
    assert told == ["processing", "processed"]
    await handle.result(on_state=told.append)
    assert told[2:] == ["processed"]
    assert "on_state" not in caplog.text


async def test_what_hears_of_states_may_raise_and_may_not_wait(prodia, caplog):
    handle = await prodia.submit(TYPE, config())

    def fail(state):
        raise KeyError(state)

    async def late(state):
        pass

    for bad in (late, 3):
        with pytest.raises(InputError, match="on_state cannot be"):
            await handle.result(on_state=bad)
    result = await handle.result(on_state=fail)
    assert result.outputs[0].size == 1000
    assert "on_state raised" in caplog.text
