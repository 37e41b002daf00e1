"""A service that sheds load, over real sockets: no job is lost, runs twice, or is sent before its time."""

from __future__ import annotations

import asyncio
import itertools

import anyio
import pytest
from support.expect import until
from support.leaks import TOKEN, client

from prodia_async import Job
from prodia_async.emulator import Emulator

pytestmark = [pytest.mark.usefixtures("nothing_left"), pytest.mark.newest]

TYPE = "emulator.bytes.v1"
RETRY_AFTER = 0.2
LONGEST = 30


def service(**options):
    return Emulator(latency=0.05, retry_after=RETRY_AFTER, token=TOKEN, **options)


def jobs(count, kind=TYPE, **orders):
    config = {"size": 64, "emulator": orders}
    return [Job(kind, config, custom_id=f"{kind}-{number}") for number in range(count)]


async def run_all(prodia, given, *, each=lambda count: None):
    """Return the results; `each` is called with the number of outcomes after every one."""
    results = []
    async with prodia.as_completed(given) as outcomes:
        async for outcome in outcomes:
            assert outcome.error is None
            results.append(outcome.result)
            each(len(results))
    assert len({result.id for result in results}) == len(results) == prodia.stats().jobs
    return results


def attempts_of(results):
    return [attempt for result in results for attempt in result.attempts]


async def as_completed(prodia, count):
    return await run_all(prodia, jobs(count))


async def gather(prodia, count):
    return await asyncio.gather(*(prodia.run(job) for job in jobs(count)))


@pytest.mark.parametrize(("start", "free_at"), [(as_completed, "headers"), (gather, "end")])
async def test_a_herd_is_done_with_few_requests(start, free_at):
    async with service(capacity=5, free_at=free_at) as emulator, client(emulator.base_url) as prodia:
        results = await asyncio.wait_for(start(prodia, 60), LONGEST)
        account, stats = emulator.stats(), prodia.stats()
    attempts = attempts_of(results)
    shed = [attempt for attempt in attempts if attempt.verdict == "shed"]
    assert (len(results), account.completed, account.disconnected) == (60, 60, 0)
    assert account.requests == stats.requests == len(attempts)
    assert account.shed == stats.shed == len(shed)
    assert 1 <= account.shed < 60  # at once with no limiter, 55 would be shed in the first moment alone
    assert account.peak_busy == 5


async def test_no_shed_job_is_sent_before_its_retry_after():
    async with service(capacity=2) as emulator, client(emulator.base_url) as prodia:
        results = await asyncio.wait_for(run_all(prodia, jobs(30)), LONGEST)
    again = [
        (shed, after)
        for result in results
        for shed, after in zip(result.attempts, result.attempts[1:], strict=False)
    ]
    assert again
    assert all(shed.retry_after == RETRY_AFTER for shed, _ in again)
    # `waited` runs from just after the limiter heard of the shed.
    assert all(after.waited >= RETRY_AFTER - 0.01 for _, after in again)


async def test_two_clients_share_one_service():
    async with (
        service(capacity=8) as emulator,
        client(emulator.base_url) as one,
        client(emulator.base_url) as other,
    ):
        both = asyncio.gather(*(run_all(prodia, jobs(60)) for prodia in (one, other)))
        results = await asyncio.wait_for(both, LONGEST)
        account, stats = emulator.stats(), [one.stats(), other.stats()]
    assert [len(result) for result in results] == [60, 60]
    assert account.completed == 120
    assert account.requests == sum(each.requests for each in stats) == 120 + account.shed
    assert account.shed == sum(each.shed for each in stats) < 120


async def test_the_limit_follows_a_capacity_that_drops_and_rises_and_no_job_is_lost():
    # Requests on their way count too: the limit may stand a little above the service's slots.
    steps = [(10, lambda limit: limit >= 10), (3, lambda limit: limit <= 6), (12, lambda limit: limit >= 12)]
    async with service(capacity=10) as emulator, client(emulator.base_url) as prodia:

        def follow(_count):
            """Go on to the next capacity once the limit has come to this one."""
            if steps and steps[0][1](prodia.stats().by_type[TYPE].limit):
                steps.pop(0)
                emulator.capacity = steps[0][0] if steps else emulator.capacity

        results = await asyncio.wait_for(run_all(prodia, jobs(300), each=follow), LONGEST)
        account = emulator.stats()
    assert not steps
    assert account.completed == len(results) == 300
    assert account.requests == len(attempts_of(results)) == 300 + account.shed
    assert 1 <= account.shed < 300


async def test_a_service_with_no_capacity_at_all_is_asked_by_one_job_at_a_time():
    async with service(capacity=8) as emulator, client(emulator.base_url) as prodia:

        def close(count):
            if count == 20:
                emulator.capacity = 0

        running = asyncio.create_task(run_all(prodia, jobs(60), each=close))
        await until(lambda: emulator.capacity == 0 and emulator.stats().busy == 0)
        await until(lambda: prodia.stats().by_type[TYPE].state == "ZERO")
        before, asked = emulator.stats().shed, 0
        while emulator.stats().shed < before + 3:
            asked = max(asked, prodia.stats().in_flight)
            await asyncio.sleep(0.005)
        emulator.capacity = 8
        results = await asyncio.wait_for(running, LONGEST)
        account = emulator.stats()
    assert asked <= 1
    assert (len(results), account.completed) == (60, 60)
    assert account.shed == account.requests - 60 < 60


async def test_a_dead_type_does_not_hold_up_a_healthy_one():
    healthy = jobs(60)
    dead = jobs(60, "emulator.bytes.dead.v1", shed=1_000_000_000, retry_after=1)
    mixed = [job for pair in zip(dead, healthy, strict=True) for job in pair]
    async with service(capacity=5) as emulator, client(emulator.base_url) as prodia:
        done = []
        async with prodia.as_completed(mixed) as outcomes:
            async for outcome in outcomes:
                done.append(outcome.result)
                if len(done) == len(healthy):
                    stats = prodia.stats()
                    break
        assert all(result.type == TYPE for result in done)
        assert len({result.id for result in done}) == emulator.stats().completed == 60
        assert stats.by_type["emulator.bytes.dead.v1"].state == "ZERO"
        assert stats.by_type["emulator.bytes.dead.v1"].shed < 20
        assert prodia.stats().waiting == 0
        # The block was left in order: the client goes on.
        assert (await prodia.run(healthy[0])).type == TYPE


async def test_a_fed_batch_is_not_taken_for_its_tail():
    """Only `ahead` jobs stand in line, so the line alone cannot tell how much is still to come."""
    async with (
        Emulator(capacity=4, latency=0.05, retry_after=2, token=TOKEN) as emulator,
        client(emulator.base_url, token=TOKEN) as prodia,
    ):
        endless = itertools.cycle(jobs(1))
        with anyio.fail_after(LONGEST):
            async with prodia.as_completed(endless, ahead=48) as outcomes:
                async for _ in outcomes:
                    if prodia.stats().shed:
                        emulator.capacity = 16
                    if emulator.stats().peak_busy == 16:
                        break
