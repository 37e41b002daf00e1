"""Who is served next, and who may wait at all."""

from __future__ import annotations

import asyncio

import pytest
from pacing.bench import Bench, settle

from prodia_async._errors import InputError, ProdiaError, QueueFullError
from prodia_async._pacing.line import FORGET
from prodia_async._settings import Fixed


class TestFixed:
    def test_its_defaults(self):
        assert Fixed() == Fixed(max_concurrency=8, max_waiting=10_000)

    @pytest.mark.parametrize("wrong", [{"max_concurrency": 0}, {"max_concurrency": -1}, {"max_waiting": -1}])
    def test_it_refuses_what_cannot_work(self, wrong):
        with pytest.raises(InputError, match=f"Fixed.{next(iter(wrong))} cannot be"):
            Fixed(**wrong)


class TestOrder:
    async def test_free_slots_are_given_at_once_and_no_more_than_the_limit(self):
        bench = Bench(limit=3)
        for name in "12345":
            bench.wait(name)
        await settle()
        assert bench.served == ["1", "2", "3"]
        assert bench.counts == (3, 0, 2, 0)
        bench.limiter.close()
        await settle()

    async def test_within_a_type_by_arrival(self):
        bench = Bench(limit=2)
        names = [str(n) for n in range(30)]
        assert await bench.serve_all([bench.wait(name) for name in names]) == names

    async def test_a_smaller_priority_goes_first_over_all_types(self):
        bench = Bench()
        held = await bench.hold()
        asked = [("c", "a", 5), ("b", "b", 0), ("a", "c", -1), ("d", "a", 5), ("e", "b", 6)]
        waiters = [bench.wait(*each) for each in asked]
        assert await bench.serve_all([held, *waiters]) == ["a", "b", "c", "d", "e"]

    async def test_the_type_with_the_fewest_slots_in_use_goes_first(self):
        bench = Bench(limit=3)
        held = [await bench.hold("a"), await bench.hold("a"), await bench.hold("b")]
        for name, key in [("a", "a"), ("b", "b"), ("c", "c")]:
            bench.wait(name, key)
        await settle()
        for each in held:
            each.slot.success()  # in use: a 1, b 1, c 0; then a 1, b 1, c 1 with a served longest ago
            each.turn.leave()
            await settle()
        assert bench.served == ["c", "a", "b"]

    async def test_fewer_slots_count_more_than_a_longer_wait(self):
        bench = Bench(limit=3)
        await bench.hold("a"), await bench.hold("a")
        last = await bench.hold("b")
        bench.wait("a", "a")
        bench.wait("b", "b")
        await settle()
        last.slot.success()
        await settle()
        assert bench.served == ["b"]
        bench.limiter.close()
        await settle()

    async def test_priority_counts_more_than_fewer_slots(self):
        bench = Bench(limit=2)
        await bench.hold("a")
        last = await bench.hold("b")
        bench.wait("idle", "c", 0)
        bench.wait("urgent", "a", -1)
        await settle()
        last.slot.success()
        await settle()
        assert bench.served == ["urgent"]
        bench.limiter.close()
        await settle()

    async def test_a_resting_turn_counts_as_a_slot_of_its_type(self):
        bench = Bench(limit=2)
        resting, held = await bench.hold("a"), await bench.hold("b")
        resting.slot.shed(100.0)
        bench.wait("a", "a")
        bench.wait("c", "c")
        await settle()
        held.slot.success()
        await settle()
        assert bench.served == ["c"]
        bench.limiter.close()
        await settle()

    async def test_types_with_as_many_slots_take_turns(self):
        bench = Bench()
        waiters = [bench.wait(f"{key}{n}", key) for key in "abc" for n in range(3)]
        expected = [f"{key}{n}" for n in range(3) for key in "abc"]
        assert await bench.serve_all(waiters) == expected

    async def test_nobody_starves_behind_a_type_that_keeps_coming(self):
        bench = Bench(limit=2)
        flood = [bench.wait(f"flood{n}", "flood") for n in range(50)]
        lonely = bench.wait("lonely", "lonely")
        flood += [bench.wait(f"late{n}", "flood") for n in range(50)]
        served = await bench.serve_all([*flood, lonely])
        assert served.index("lonely") <= 2
        assert served[-1] == "late49"

    async def test_a_turn_that_was_shed_comes_back_before_those_who_came_later(self):
        bench = Bench()
        first = await bench.hold()
        second, third = bench.wait("second"), bench.wait("third")
        first.slot.shed(5.0)
        first.again()
        await settle()
        assert bench.served == []
        bench.clock.advance(6.0)
        assert await bench.serve_all([second, third, first]) == ["held", "second", "third"]


class TestRoom:
    async def test_a_full_line_is_refused_at_once(self):
        bench = Bench(limit=1, max_waiting=2)
        held = await bench.hold()
        waiting = [bench.wait("1", "a"), bench.wait("2", "b")]
        await settle()
        with pytest.raises(
            QueueFullError, match=r"2 jobs already wait .*max_waiting=2.*nothing was sent"
        ) as full:
            bench.join("c")
        assert full.value.may_have_run is False
        assert set(bench.limiter.lines) == {"a", "b"}
        await bench.serve_all([held, *waiting])
        assert bench.counts == (0, 0, 0, 0)

    async def test_there_is_room_again_once_somebody_left(self):
        bench = Bench(limit=1, max_waiting=1)
        held = await bench.hold()
        waiting = bench.wait("1")
        await settle()
        await waiting.cancel()
        assert await bench.serve_all([held, bench.wait("2")]) == ["2"]

    async def test_no_line_is_needed_while_a_slot_is_free(self):
        bench = Bench(limit=1, max_waiting=0)
        held = await bench.hold()
        with pytest.raises(QueueFullError):
            bench.join("a")
        held.slot.success()
        bench.join("a").leave()

    async def test_a_turn_that_rests_takes_a_place_in_line_only_while_it_waits(self):
        bench = Bench(limit=1, max_waiting=1)
        held = await bench.hold()
        held.slot.shed(10.0)
        bench.join("a").leave()
        held.again()
        await settle()
        with pytest.raises(QueueFullError):
            bench.join("a")
        await held.cancel()

    async def test_callers_that_bound_themselves_are_not_refused(self):
        bench = Bench(limit=1, max_waiting=0)
        held = await bench.hold()
        turn = bench.join("a", bounded=False)
        turn.leave()
        held.slot.success()


class TestClose:
    async def test_waiters_are_sent_away_those_in_line_and_those_at_rest(self):
        bench = Bench(limit=2)
        running, resting = await bench.hold(), await bench.hold()
        resting.slot.shed(50.0)
        resting.again()
        waiting = [bench.wait(str(n), key, n) for n, key in enumerate("aab")]
        await settle()
        bench.limiter.close()
        await asyncio.wait_for(asyncio.wait([each.task for each in [resting, *waiting]]), 5)
        for each in [resting, *waiting]:
            with pytest.raises(ProdiaError, match="client was closed") as sent_away:
                each.task.result()
            assert sent_away.value.may_have_run is False
            each.turn.leave()
        assert bench.served == []
        assert bench.counts == (1, 0, 0, 0)
        running.slot.success()
        assert bench.counts == (0, 0, 0, 0)

    async def test_whoever_comes_later_is_sent_away_too(self):
        bench = Bench()
        bench.limiter.close()
        late = bench.wait("late")
        await settle()
        with pytest.raises(ProdiaError, match="client was closed"):
            late.task.result()
        assert bench.counts == (0, 0, 0, 0)

    async def test_a_waiter_that_was_cancelled_in_the_same_step_is_left_alone(self):
        bench = Bench()
        held, waiting = await bench.hold(), bench.wait("1")
        await settle()
        waiting.task.cancel()
        bench.limiter.close()
        await asyncio.wait([waiting.task])
        assert waiting.task.cancelled()
        held.slot.success()


class TestLines:
    async def test_counts_by_type(self):
        bench = Bench(limit=2)
        first, second = await bench.hold("a"), await bench.hold("b")
        waiting = bench.wait("1", "b")
        await settle()
        bench.clock.advance(2.0)
        first.slot.headers()
        first.slot.success()
        await settle()
        stats = bench.limiter.stats()
        assert (stats["a"].state, stats["a"].limit) == ("FIXED", 2)
        assert (stats["a"].completed, stats["a"].in_flight, stats["a"].latency) == (1, 0, 2.0)
        second.slot.shed(1.0)
        stats = bench.limiter.stats()
        assert (stats["b"].shed, stats["b"].in_flight, stats["b"].waiting) == (1, 1, 0)
        assert stats["b"].latency is None
        waiting.slot.ignore()

    async def test_latency_is_smoothed(self):
        bench = Bench(limit=2)
        for seconds in (1.0, 2.0):
            held = await bench.hold()
            bench.clock.advance(seconds)
            held.slot.headers()
            held.slot.success()
        assert bench.limiter.stats()["a"].latency == pytest.approx(1.1)

    async def test_idle_lines_are_forgotten_and_those_in_use_are_not(self):
        bench = Bench(limit=3)
        bench.join("idle").leave()
        await bench.hold("running")
        resting = await bench.hold("resting")
        resting.slot.shed(1000.0)
        left = await bench.hold("left, but its slot is open")
        left.turn.leave()
        waiting = bench.wait("w", "waiting")
        await settle()
        bench.clock.advance(FORGET)
        bench.join("new")
        assert set(bench.limiter.lines) == {
            "running",
            "resting",
            "waiting",
            "left, but its slot is open",
            "new",
        }
        assert bench.counts == (2, 1, 1, 0)
        await waiting.cancel()
        resting.turn.leave()

    async def test_a_line_is_idle_since_its_last_turn_left_however_old_it_is(self):
        bench = Bench()
        held = await bench.hold("busy")
        bench.clock.advance(10 * FORGET)
        held.slot.success()
        held.turn.leave()
        bench.clock.advance(FORGET - 0.001)
        bench.join("new").leave()
        assert bench.limiter.lines["busy"].completed == 1
        bench.clock.advance(0.001)
        bench.join("newer").leave()
        assert set(bench.limiter.lines) == {"new", "newer"}

    async def test_job_types_that_come_once_do_not_pile_up(self):
        bench = Bench()
        for n in range(1000):
            bench.join(f"type{n}").leave()
            bench.clock.advance(1.0)
        assert len(bench.limiter.lines) <= FORGET + 1
