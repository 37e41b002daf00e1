"""A client that runs is given another limit."""

from __future__ import annotations

import asyncio
import pickle
import threading

import pytest
from pacing.bench import Bench, settle

from prodia_async import Adaptive, Fixed, InputError, Job, Prodia
from prodia_async.emulator import Emulator

KIND = "emulator.bytes.v1"
SETTINGS = {"fixed": Fixed(4), "adaptive": Adaptive(max_concurrency=4)}


@pytest.fixture(params=SETTINGS)
def bench(request):
    return Bench(settings=SETTINGS[request.param])


async def in_flight(bench, waiters):
    """Let every job that may be sent, be sent; return how many are in flight."""
    for _ in range(6):
        await settle()
        for each in waiters:
            if each.is_open and each.slot.body_sent_at is None:
                each.slot.body_sent()
        bench.clock.advance(0.2)
    return bench.in_flight


class TestLimiter:
    async def test_raised_it_serves_at_once_whoever_waits(self, bench):
        waiters = [bench.wait(str(n)) for n in range(20)]
        assert await in_flight(bench, waiters) == 4
        bench.limiter.set_limit(9)
        assert await in_flight(bench, waiters) == 9
        await bench.serve_all(waiters)
        assert bench.counts == (0, 0, 0, 0)

    async def test_lowered_below_what_is_in_flight_it_lets_them_end(self, bench):
        waiters = [bench.wait(str(n)) for n in range(8)]
        assert await in_flight(bench, waiters) == 4
        bench.limiter.set_limit(2)
        left = [each for each in waiters if each.is_open]
        counts = []
        for each in left:
            each.slot.success()
            counts.append(await in_flight(bench, waiters))
        assert counts == [3, 2, 2, 2]
        await bench.serve_all([each for each in waiters if each not in left])
        assert bench.counts == (0, 0, 0, 0)

    async def test_a_type_that_comes_later_has_it_too(self, bench):
        bench.limiter.set_limit(6)
        waiters = [bench.wait(str(n), "late") for n in range(10)]
        assert await in_flight(bench, waiters) == 6
        assert bench.limiter.stats()["late"].limit == 6
        await bench.serve_all(waiters)

    async def test_all_types_share_it(self, bench):
        waiters = [bench.wait(f"{key}{n}", key) for n in range(10) for key in "ab"]
        assert await in_flight(bench, waiters) == 4
        bench.limiter.set_limit(10)
        assert await in_flight(bench, waiters) == 10
        assert all(4 <= each.in_flight <= 6 for each in bench.limiter.stats().values())
        await bench.serve_all(waiters)

    async def test_what_was_learned_stays_below_it(self):
        bench = Bench(settings=Adaptive())
        waiters = [bench.wait(str(n)) for n in range(100)]
        await in_flight(bench, waiters)
        bench.limiter.set_limit(3)
        assert bench.limiter.stats()["a"].limit == 3
        last = bench.limiter.history[-1]
        assert (last.job_type, last.limit, last.why) == ("a", 3, "set_limit")
        bench.limiter.close()
        await settle()


class TestHistory:
    async def test_each_change_tells_when_how_much_and_why(self):
        bench = Bench(settings=Adaptive(initial=2))
        waiters = [bench.wait(str(n)) for n in range(8)]
        await settle()
        for each in waiters[:4]:
            each.slot.body_sent()
        bench.clock.advance(0.2)
        await settle()
        waiters[7].slot.shed(1.0)
        start = bench.clock.wall() - 0.2
        found = [(round(each.at - start, 1), each.limit, each.why) for each in bench.limiter.history]
        assert found == [(0.0, 3, "search"), (0.2, 4, "admitted"), (0.2, 5, "search"), (0.2, 7, "shed")]
        assert [each.in_flight for each in bench.limiter.history] == [3, 4, 5, 7]
        bench.limiter.close()
        await settle()

    async def test_it_has_a_bound(self):
        bench = Bench(settings=Fixed(1))
        bench.join("a")
        for n in range(5000):
            bench.limiter.set_limit(1 + n % 7)
        assert len(bench.limiter.history) == 1000


BAD = [0, -1, -(10**30), 1.0, 2.5, float("nan"), float("inf"), "4", b"4", None, True, False, [4], Fixed(4)]


@pytest.mark.parametrize("bad", BAD, ids=repr)
def test_anything_but_a_number_of_jobs_is_refused_where_it_is_given(bad):
    prodia = Prodia(token="t")
    with pytest.raises(InputError, match=r"limit cannot be .* whole number of jobs, at least 1"):
        prodia.set_limit(bad)


class TestClient:
    @pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
    @pytest.mark.parametrize("when", ["before", "running", "another thread", "on a copy"])
    async def test_it_holds(self, settings, when):
        async with (
            Emulator(capacity=50, latency=0.3) as emulator,
            Prodia(base_url=emulator.base_url, token=emulator.token, limiter=settings) as prodia,
        ):
            if when == "before":
                prodia.set_limit(2)
            else:
                await prodia.run(KIND, {"size": 1})
            if when == "running":
                prodia.set_limit(2)
            elif when == "another thread":
                thread = threading.Thread(target=prodia.set_limit, args=[2])
                thread.start()
                await asyncio.to_thread(thread.join, 30)
            elif when == "on a copy":
                prodia.with_options(price=True).set_limit(2)
            most = 0
            async with prodia.as_completed(Job(KIND, {"size": 1}) for _ in range(8)) as outcomes:
                async for outcome in outcomes:
                    assert outcome.error is None
                    most = max(most, prodia.stats().in_flight)
            assert most == 2
            assert emulator.stats().peak_busy <= 2

    async def test_as_completed_starts_more_when_it_is_raised(self):
        async with (
            Emulator(capacity=50, latency=0.05) as emulator,
            Prodia(base_url=emulator.base_url, token=emulator.token, limiter=Fixed(1)) as prodia,
        ):
            most = 0
            async with prodia.as_completed(Job(KIND, {"size": 1}) for _ in range(80)) as outcomes:
                async for outcome in outcomes:
                    assert outcome.error is None
                    prodia.set_limit(20)
                    most = max(most, prodia.stats().in_flight + prodia.stats().waiting)
            assert most > 20

    async def test_the_history_is_that_of_the_running_loop(self):
        async with (
            Emulator(capacity=2, latency=0.05) as emulator,
            Prodia(base_url=emulator.base_url, token=emulator.token) as prodia,
        ):
            assert prodia.limit_history() == ()
            async with prodia.as_completed(Job(KIND, {"size": 1}) for _ in range(20)) as outcomes:
                async for outcome in outcomes:
                    assert outcome.error is None
            history = prodia.limit_history()
            assert "search" in {each.why for each in history}
            assert {each.job_type for each in history} == {KIND}
            assert [each.at for each in history] == sorted(each.at for each in history)
            assert await asyncio.to_thread(prodia.limit_history) == ()

    def test_a_pickled_client_has_the_limit_that_it_was_made_with(self):
        prodia = Prodia(token="t", pickle_token=True, limiter=Fixed(5))
        prodia.set_limit(2)
        assert pickle.loads(pickle.dumps(prodia))._engines.limit is None
