"""The limiter with a limit that is learned: states in the log, counts, priorities, and what is remembered."""

from __future__ import annotations

import logging

import pytest
from pacing.bench import Bench, settle

from prodia_async._errors import QueueFullError
from prodia_async._pacing.line import FORGET
from prodia_async._settings import Adaptive


def bench_of(most=256, initial=4, **options):
    return Bench(settings=Adaptive(max_concurrency=most, initial=initial, **options))


def wait_for(bench, count, key="a", priority=0):
    return [bench.wait(f"{key}{n}", key, priority) for n in range(count)]


async def body_sent(waiters):
    """Have all who got a slot by now send their bodies."""
    await settle()
    got = [each for each in waiters if each.got_slot and not each.slot.body_sent_at is not None]
    for each in got:
        each.slot.body_sent()
    return got


async def close(bench, waiters):
    bench.limiter.close()
    await settle()
    for each in waiters:
        if each.task.exception() is None and each.is_open:
            each.slot.ignore()
        each.turn.leave()
    assert bench.counts == (0, 0, 0, 0)
    assert bench.clock.next_due is None


class TestGrowth:
    async def test_silence_doubles_what_is_in_flight(self):
        bench = bench_of()
        waiters = wait_for(bench, 100)
        in_flight = []
        for _ in range(4):
            await body_sent(waiters)
            in_flight.append(bench.in_flight)
            bench.clock.advance(0.2)
        assert in_flight == [8, 16, 32, 64]
        await close(bench, waiters)

    async def test_the_cap_holds_over_all_types(self):
        bench = bench_of(most=10)
        waiters = wait_for(bench, 30, "a") + wait_for(bench, 30, "b")
        for _ in range(5):
            await body_sent(waiters)
            bench.clock.advance(0.2)
        assert bench.in_flight == bench.limiter.in_use == 10
        stats = bench.limiter.stats()
        assert (stats["a"].in_flight, stats["b"].in_flight) == (8, 2)  # nobody gives a slot back
        await close(bench, waiters)

    async def test_a_late_type_gets_its_share_of_slots_that_become_free(self):
        bench = bench_of(most=16)
        early = wait_for(bench, 60, "early")
        for _ in range(3):
            await body_sent(early)
            bench.clock.advance(0.2)
        assert bench.in_flight == 16
        late = wait_for(bench, 60, "late")
        for _ in range(12):
            await body_sent(early + late)
            running = [each for each in early + late if each.is_open]
            min(running, key=lambda each: each.number).slot.success()
            bench.clock.advance(0.2)
        stats = bench.limiter.stats()
        assert (stats["early"].in_flight, stats["late"].in_flight) == (8, 8)
        await close(bench, early + late)


class TestLog:
    async def test_each_change_of_state_is_told(self, caplog):
        caplog.set_level(logging.DEBUG, "prodia_async")
        bench = bench_of(most=8, initial=1)
        waiters = wait_for(bench, 3)
        first, second = await body_sent(waiters)
        second.slot.shed(1.0)
        first.slot.shed(1.0)
        for _ in range(2):
            bench.clock.advance(2.0)  # at zero: one is sent, and its silence admits it
            await body_sent(waiters)
        told = [record.getMessage() for record in caplog.records if record.name == "prodia_async"]
        assert told == [
            "a: SLOW_START to TRACK (shed), limit 1, in flight 1",
            "a: TRACK to ZERO (shed), limit 1, in flight 0",
            "a: ZERO to TRACK (admitted), limit 1, in flight 1",
        ]
        caplog.clear()
        more = wait_for(bench, 3, priority=1)
        await body_sent(more)
        assert "a: TRACK to PROBE (search), limit 2, in flight 2" in [
            each.getMessage() for each in caplog.records
        ]
        await close(bench, waiters + more)

    async def test_nothing_is_told_while_nothing_changes(self, caplog):
        caplog.set_level(logging.DEBUG, "prodia_async")
        bench = bench_of()
        await bench.serve_all(wait_for(bench, 20))
        assert [record for record in caplog.records if record.name == "prodia_async"] == []


class TestStats:
    async def test_each_field(self):
        bench = bench_of(initial=2)
        waiters = wait_for(bench, 8)
        first, second, third, fourth = await body_sent(waiters)
        stats = bench.limiter.stats()["a"]
        assert (stats.state, stats.limit, stats.in_flight, stats.waiting) == ("SLOW_START", 4, 4, 4)
        assert (stats.shed, stats.completed, stats.latency) == (0, 0, None)
        fourth.slot.shed(1.0)
        bench.clock.advance(0.1)
        first.slot.headers()
        first.slot.success()
        stats = bench.limiter.stats()["a"]
        assert (stats.state, stats.limit, stats.in_flight, stats.waiting) == ("TRACK", 3, 3, 3)
        assert (stats.shed, stats.completed, stats.latency) == (1, 1, pytest.approx(0.1))
        second.slot.shed(1.0)
        third.slot.ignore()
        await close(bench, waiters)


class TestPriorities:
    async def tracked(self, bench):
        """Return a job in flight of a type that knows its one slot, with 60 s to the next probe."""
        first = bench.wait("first")
        shed = bench.wait("shed")
        await body_sent([first, shed])
        shed.slot.shed(0.0)
        shed.turn.leave()
        assert bench.limiter.stats()["a"].limit == 1
        bench.served.clear()
        return first

    async def test_a_refill_serves_the_smaller_priority(self):
        bench = bench_of(initial=1)
        first = await self.tracked(bench)
        waiters = [bench.wait(str(priority), priority=priority) for priority in (5, -1, 3)]
        await settle()
        first.slot.success()
        await settle()
        assert bench.served == ["-1"]
        await close(bench, [first, *waiters])

    async def test_a_probe_takes_the_least_important_once_a_429_was_seen(self):
        bench = bench_of(initial=1)
        first = await self.tracked(bench)
        waiters = [bench.wait(str(priority), priority=priority) for priority in (5, -1, 7, 3, 7)]
        await settle()
        bench.clock.advance(30.0)
        await settle()
        assert bench.served == ["7"]
        assert waiters[2].got_slot
        await close(bench, [first, *waiters])

    async def test_in_slow_start_it_takes_the_most_important(self):
        bench = bench_of(initial=1)
        first = bench.wait("first")
        await settle()
        bench.clock.advance(0.001)
        waiters = [bench.wait(str(priority), priority=priority) for priority in (5, -1)]
        await settle()
        assert bench.served == ["first", "5"]  # a round of one, open at once
        await body_sent([first, *waiters])
        waiters.append(bench.wait("-2", priority=-2))
        await settle()
        bench.clock.advance(0.2)
        await settle()
        assert bench.served[2:] == ["-2"]
        await close(bench, [first, *waiters])

    async def test_a_probe_is_not_a_job_that_was_shed_while_a_fresh_one_waits(self):
        bench = bench_of(initial=1)
        first, shed = bench.wait("first"), bench.wait("shed", priority=9)
        await body_sent([first, shed])
        shed.slot.shed(1.0)
        shed.again()
        fresh = bench.wait("fresh")
        await settle()
        bench.clock.advance(30.0)
        await settle()
        assert bench.served[2:] == ["fresh"]
        await close(bench, [first, shed, fresh])

    async def test_where_all_were_shed_a_probe_takes_the_first_of_them(self):
        bench = bench_of(initial=1)
        first, shed = bench.wait("first"), bench.wait("shed")
        await body_sent([first, shed])
        shed.slot.shed(1.0)
        shed.again()
        await settle()
        bench.clock.advance(30.0)
        await settle()
        assert bench.served[2:] == ["shed"]
        await close(bench, [first, shed])


class TestRoom:
    async def test_at_zero_the_line_fills_up_like_any_other(self):
        bench = bench_of(max_waiting=2)
        held = await bench.hold()
        held.slot.shed(1.0)
        waiting = wait_for(bench, 2)
        await settle()
        assert bench.limiter.stats()["a"].state == "ZERO"
        with pytest.raises(QueueFullError, match="max_waiting=2"):
            bench.join("a")
        bench.join("b").leave()  # another type has room
        await close(bench, [held, *waiting])


class TestLearned:
    async def grown(self, learned):
        """Run a limiter that learns a limit of 16, and close it."""
        bench = Bench(settings=Adaptive(), learned=learned)
        waiters = wait_for(bench, 16)
        for _ in range(2):
            await body_sent(waiters)
            bench.clock.advance(0.2)
        assert bench.limiter.stats()["a"].limit == 16
        await close(bench, waiters)
        return bench.clock.monotonic()

    @pytest.mark.parametrize(("idle", "limit"), [(FORGET - 0.01, 16), (FORGET, 4)])
    async def test_the_next_limiter_starts_from_the_limit_within_a_minute(self, idle, limit):
        learned = {}
        closed_at = await self.grown(learned)
        bench = Bench(settings=Adaptive(), learned=learned)
        bench.clock.advance(closed_at + idle)
        bench.join("a").leave()
        assert bench.limiter.stats()["a"].limit == limit

    async def test_idle_time_counts_from_the_last_use_and_not_from_the_close(self):
        learned = {}
        bench = Bench(settings=Adaptive(initial=9), learned=learned)
        bench.join("a").leave()
        bench.clock.advance(50.0)
        bench.limiter.close()
        bench = Bench(settings=Adaptive(), learned=learned)
        bench.clock.advance(60.0)
        bench.join("a").leave()
        assert bench.limiter.stats()["a"].limit == 4

    async def test_a_type_at_zero_is_not_forgotten_before_its_wait_is_over(self):
        bench = bench_of()
        held = await bench.hold()
        held.slot.shed(1000.0)
        held.turn.leave()
        line = bench.limiter.lines["a"]
        line.capacity.hold_until = 2 * FORGET
        bench.clock.advance(FORGET)
        bench.join("b").leave()
        assert "a" in bench.limiter.lines
        bench.clock.advance(FORGET)
        bench.join("b").leave()
        assert "a" not in bench.limiter.lines
