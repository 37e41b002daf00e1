"""An attempt ends once; a shed turn rests; a reply that takes long lingers; leaving frees everything."""

from __future__ import annotations

import asyncio
import random

import pytest
from pacing.bench import Bench, own_frames, settle

from prodia_async._errors import ClientClosedError
from prodia_async._pacing.line import Phase
from prodia_async._pacing.retry import DEFAULT_RETRY_AFTER
from prodia_async._pacing.turn import LINGER
from prodia_async._settings import Adaptive, Fixed

ENDINGS = {
    "success": lambda turn: turn.success(),
    "answered": lambda turn: turn.end(),
    "ignore": lambda turn: turn.ignore(),
    "shed": lambda turn: turn.shed(1.0),
}


class TestEnd:
    @pytest.mark.parametrize("end", ENDINGS.values(), ids=ENDINGS)
    async def test_it_serves_the_next_but_a_shed_keeps_its_slot(self, end):
        bench = Bench()
        held, waiting = await bench.hold(), bench.wait("next")
        await settle()
        end(held.slot)
        await settle()
        assert bench.served == ([] if end is ENDINGS["shed"] else ["next"])
        held.turn.leave()
        await settle()
        assert bench.served == ["next"]
        waiting.slot.success()
        waiting.turn.leave()
        assert bench.counts == (0, 0, 0, 0)

    @pytest.mark.parametrize("first", ENDINGS.values(), ids=ENDINGS)
    @pytest.mark.parametrize("lingering", [False, True])
    async def test_a_second_end_is_a_bug_that_says_so(self, first, lingering):
        bench = Bench()
        held = await bench.hold()
        if lingering:
            held.slot.headers()
            bench.clock.advance(LINGER)
        first(held.slot)
        with pytest.raises(AssertionError, match="an attempt ends once"):
            held.slot.ignore()
        held.turn.leave()
        assert bench.counts == (0, 0, 0, 0)

    async def test_it_tells_whether_the_request_was_sent_whole(self):
        bench = Bench()
        held = await bench.hold()
        assert held.slot.body_sent_at is None
        held.slot.body_sent()
        assert held.slot.body_sent_at is not None
        held.slot.ignore()

    async def test_only_a_success_counts_as_completed(self):
        bench = Bench(limit=4)
        for end in ENDINGS.values():
            held = await bench.hold()
            end(held.slot)
            held.turn.leave()
        assert (bench.limiter.lines["a"].completed, bench.limiter.lines["a"].shed) == (1, 1)


class TestShed:
    @pytest.mark.parametrize(
        ("told", "least"), [(8.0, 8.0), (0.25, 0.25), (0.0, 0.0), (None, DEFAULT_RETRY_AFTER)]
    )
    async def test_a_turn_rests_for_retry_after_and_up_to_a_tenth_more_never_less(self, told, least):
        rests = []
        for seed in range(200):
            bench = Bench(seed=seed)
            held = await bench.hold()
            held.slot.shed(told)
            assert bench.clock.next_due is not None
            rests.append(bench.clock.next_due)
            held.turn.leave()
        assert least <= min(rests) <= 1.005 * least
        assert 1.095 * least <= max(rests) <= 1.1 * least

    async def test_it_holds_its_slot_until_then_and_is_served_then(self):
        bench = Bench()
        held, other = await bench.hold(), bench.wait("other")
        held.slot.shed(10.0)
        held.again()
        for _ in range(10):
            await settle()
            assert bench.served == []
            assert bench.counts == (0, 1, 2, 0)
            bench.clock.advance(0.9999)
        bench.clock.advance(1.1)
        await settle()
        assert bench.served == ["held"]
        assert bench.counts == (1, 0, 1, 0)
        await bench.serve_all([held, other])

    async def test_a_turn_that_does_not_ask_again_gives_its_slot_back_when_it_has_rested(self):
        bench = Bench()
        held, other = await bench.hold(), bench.wait("other")
        held.slot.shed(10.0)
        bench.clock.advance(11.0)
        await settle()
        assert bench.served == ["other"]
        held.again()
        await bench.serve_all([other, held])

    async def test_a_herd_that_heard_the_same_second_is_spread(self):
        bench = Bench(limit=50)
        herd = [await bench.hold() for _ in range(50)]
        for each in herd:
            each.slot.shed(60.0)
        times = []
        while bench.clock.next_due is not None:
            times.append(bench.clock.next_due)
            bench.clock.advance(bench.clock.next_due - bench.clock.monotonic())
        assert len(set(times)) == 50
        assert max(times) - min(times) > 5.0


class TestLinger:
    async def test_a_slot_is_free_a_second_after_the_headers(self):
        bench = Bench()
        slow, other = await bench.hold(), bench.wait("other")
        slow.slot.headers()
        bench.clock.advance(LINGER - 0.001)
        await settle()
        assert bench.served == []
        bench.clock.advance(0.001)
        await settle()
        assert bench.served == ["other"]
        assert bench.counts == (1, 0, 0, 1)
        slow.slot.success()
        assert bench.counts == (1, 0, 0, 0)
        other.slot.success()
        assert bench.limiter.lines["a"].completed == 2

    async def test_a_reply_that_is_complete_before_ends_it_then(self):
        bench = Bench()
        quick, other = await bench.hold(), bench.wait("other")
        quick.slot.headers()
        quick.slot.success()
        await settle()
        assert bench.served == ["other"]
        bench.clock.advance(LINGER)
        assert bench.counts == (1, 0, 0, 0)
        assert bench.clock.next_due is None
        other.slot.ignore()

    async def test_one_timer_serves_all_and_ends_with_them(self):
        bench = Bench(limit=3)
        first, second, third = [await bench.hold() for _ in range(3)]
        first.slot.headers()
        bench.clock.advance(0.25)
        second.slot.headers()
        bench.clock.advance(0.25)
        third.slot.headers()
        first.slot.success()
        second.slot.success()
        bench.clock.advance(0.5)
        assert bench.clock.next_due == LINGER + 0.5  # those who ended are passed over
        bench.clock.advance(0.5)
        assert bench.counts == (0, 0, 0, 1)
        assert bench.clock.next_due is None
        third.slot.success()

    async def test_a_closed_limiter_keeps_no_timer(self):
        bench = Bench()
        held = await bench.hold()
        held.slot.headers()
        bench.limiter.close()
        assert bench.clock.next_due is None
        held.slot.success()

    async def test_each_has_its_own_second(self):
        bench = Bench(limit=4)
        held = [await bench.hold() for _ in range(4)]
        for each in held:
            each.slot.headers()
            bench.clock.advance(0.25)
        held[0].slot.success()
        held[2].slot.success()
        lingering = []
        for _ in range(3):
            lingering.append(bench.limiter.lingering)
            bench.clock.advance(0.25)
        assert lingering == [0, 1, 1]
        assert bench.counts == (0, 0, 0, 2)
        for each in (held[1], held[3]):
            each.slot.success()
        assert bench.counts == (0, 0, 0, 0)

    async def test_no_more_than_the_limit_linger(self):
        bench = Bench(limit=2)
        slow = [await bench.hold() for _ in range(2)]
        for each in slow:
            each.slot.headers()
        bench.clock.advance(LINGER)
        more = [await bench.hold() for _ in range(2)]
        for each in more:
            each.slot.headers()
        bench.clock.advance(100.0)
        waiting = bench.wait("waiting")
        await settle()
        assert bench.counts == (2, 0, 1, 2)
        slow[0].slot.success()
        await settle()
        assert bench.served == ["waiting"]  # the next reply that is late may linger now
        assert bench.counts == (2, 0, 0, 2)
        for each in (slow[1], *more, waiting):
            each.slot.success()
        assert bench.counts == (0, 0, 0, 0)

    async def test_a_lingering_reply_that_is_given_up_frees_its_place(self):
        bench = Bench()
        slow = await bench.hold()
        slow.slot.headers()
        bench.clock.advance(LINGER)
        slow.slot.ignore()
        slow.turn.leave()
        assert bench.counts == (0, 0, 0, 0)


class TestLeaving:
    async def test_while_waiting(self):
        bench = Bench()
        held = await bench.hold()
        first, second = bench.wait("first"), bench.wait("second")
        await settle()
        await first.cancel()
        assert bench.counts == (1, 0, 1, 0)
        assert await bench.serve_all([held, second]) == ["second"]

    async def test_while_resting(self):
        bench = Bench()
        held, other = await bench.hold(), bench.wait("other")
        held.slot.shed(1000.0)
        held.again()
        await settle()
        await held.cancel()
        await settle()
        assert bench.served == ["other"]
        assert bench.clock.next_due is None
        other.slot.success()

    async def test_while_resting_without_waiting(self):
        bench = Bench()
        held, other = await bench.hold(), bench.wait("other")
        held.slot.shed(1000.0)
        held.turn.leave()
        await settle()
        assert bench.served == ["other"]
        other.slot.ignore()

    async def test_with_a_slot_that_was_given_in_the_same_step(self):
        bench = Bench()
        held, first = await bench.hold(), bench.wait("first")
        second = bench.wait("second")
        await settle()
        held.slot.success()  # gives the slot to the first, which has no chance to see it
        await first.cancel()
        assert first.task.cancelled()
        await settle()
        assert bench.served == ["second"]
        second.slot.success()
        assert bench.counts == (0, 0, 0, 0)

    async def test_twice_is_harmless(self):
        bench = Bench()
        turn = bench.join("a")
        turn.leave()
        turn.leave()
        other = bench.join("a")
        assert bench.limiter.lines["a"].turns == 1
        other.leave()
        assert bench.limiter.lines["a"].turns == 0

    @pytest.mark.parametrize("settings", [Fixed(3), Adaptive(max_concurrency=3)], ids=["fixed", "adaptive"])
    async def test_thousand_waiters_that_leave_at_any_time_leave_the_counts_exact(self, settings):
        chance = random.Random(42)
        bench = Bench(settings=settings)
        waiters = [bench.wait(str(n), f"type{n % 4}", n % 3) for n in range(1000)]
        left, running, ended = list(waiters), [], 0
        while left:
            for each in running:
                if chance.random() < 0.5:  # its slot may go to the very waiter that leaves now
                    each.slot.ignore()
                    ended += 1
            leaving = chance.sample(left, min(len(left), chance.randrange(1, 10)))
            for each in leaving:
                each.task.cancel()
            await (settle() if chance.random() < 0.5 else asyncio.wait([each.task for each in leaving]))
            left = [each for each in left if not each.task.done()]
            running = [each for each in waiters if each.is_open]
            given = [each for each in left if each.turn.waiter is None]
            assert bench.counts[0] == len(running) + len(given) <= 3
            assert bench.counts[1:] == (0, len(left) - len(given), 0)
        for each in running:
            each.slot.ignore()
        for each in waiters:
            each.turn.leave()
        assert bench.counts == (0, 0, 0, 0)
        assert all(line.turns == 0 for line in bench.limiter.lines.values())
        assert 100 < ended <= len(bench.served) < 1000

    async def test_waiters_that_left_do_not_pile_up_behind_one_that_waits(self):
        bench = Bench()
        held = await bench.hold()
        priorities = random.Random(1).sample(range(20), 20)
        stay = [bench.wait(str(each), priority=each) for each in priorities]
        await settle()
        for _ in range(200):
            waiter = bench.wait("gone")
            await asyncio.sleep(0)
            assert bench.queued("a") == 21
            await waiter.cancel()
            assert bench.queued("a") == 20
        assert await bench.serve_all([held, *stay]) == [str(each) for each in range(20)]

    @pytest.mark.parametrize("settings", [Fixed(1), Adaptive(max_concurrency=1)], ids=["fixed", "adaptive"])
    async def test_turns_that_left_do_not_pile_up_behind_one_that_rests(self, settings):
        bench = Bench(settings=settings)
        bench.limiter.limit = 2
        stays = await bench.hold()
        stays.slot.shed(1.0)
        stays.again()
        line = bench.limiter.lines["a"]
        for _ in range(300):
            gone = bench.join("a")
            gone.phase = Phase.RESTING
            if line.capacity.fixed:
                line.resting += 1
                bench.limiter.in_use += 1
            gone._rest(9000.0)
            gone.leave()
            timers = [timer for _, _, timer in bench.clock._timers if timer.callback is not None]
            assert len(timers) <= 2  # of the one that rests, and of its line
        bench.clock.advance(2.0)
        await settle()
        assert stays.got_slot
        assert bench.counts == (1, 0, 0, 0)
        stays.slot.ignore()

    @pytest.mark.parametrize("told", [0.0, 1.0])
    async def test_a_turn_at_rest_is_served_when_it_asks_after_its_rest(self, told):
        bench = Bench()
        held = await bench.hold()
        held.slot.shed(told)
        bench.clock.advance(2 * told)
        assert bench.counts == (0, 0, 0, 0)
        held.again()
        await settle()
        held.slot.success()


class TestTaken:
    @pytest.mark.parametrize("settings", [Fixed(3), Adaptive(max_concurrency=3)], ids=["fixed", "adaptive"])
    async def test_a_lone_job_takes_fourteen_frames(self, settings):
        bench = Bench(settings=settings)
        for _ in range(3):  # the first one opens the line, and sets the timer of replies
            with own_frames() as frames:
                turn = bench.join("a")
                assert turn.take()
                turn.begins()
                turn.body_sent()
                turn.headers()
                turn.success()
                turn.leave()
        assert len(frames) <= 14, frames
        assert bench.counts == (0, 0, 0, 0)

    async def test_it_is_not_to_be_had_where_somebody_waits_rests_or_has_it(self):
        bench = Bench(limit=1)
        turn = bench.join("a")
        other = bench.join("a")
        assert other.take()
        assert not other.take()
        assert not turn.take()
        other.shed(5.0)
        assert not turn.take()
        other.leave()
        assert turn.take()
        turn.ignore()
        bench.limiter.close()
        assert not turn.take()
        with pytest.raises(ClientClosedError):
            await turn.wait()

    async def test_a_slot_open_at_the_end_of_its_turn_is_given_back_later(self):
        bench = Bench(limit=1)
        turn = bench.join("a")
        assert turn.take()
        turn.body_sent()
        turn.leave()
        waiting = bench.wait("waiting")
        await settle()
        assert bench.counts == (1, 0, 1, 0)
        turn.success()
        await settle()
        assert bench.served == ["waiting"]
        waiting.slot.ignore()
        waiting.turn.leave()
        assert bench.counts == (0, 0, 0, 0)

    async def test_a_reply_that_lingers_is_not_taken_for_the_next_attempt(self):
        bench = Bench(limit=2)
        turn = bench.join("a")
        assert turn.take()
        turn.headers()
        turn.end()
        bench.clock.advance(0.5)
        assert turn.take()
        bench.clock.advance(LINGER)
        assert bench.counts == (1, 0, 0, 0)
        turn.headers()
        bench.clock.advance(LINGER)
        assert bench.counts == (0, 0, 0, 1)
        turn.success()
        turn.leave()
        assert bench.counts == (0, 0, 0, 0)
