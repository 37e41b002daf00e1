from __future__ import annotations

import asyncio
import contextlib
import gc
import math
import random
import socket
import time
import weakref

import anyio.lowlevel
import pytest
from pacing.bench import own_frames, settle
from support.fake_clock import FakeClock

from prodia_async._loops import shielded
from prodia_async._pacing.clock import Deadline, Deadlines, SystemClock


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
def deadlines(clock):
    return Deadlines(clock)


async def guarded(deadline, log, seconds=math.inf):
    """Wait inside the deadline, and log how the wait and the block ended."""
    with deadline:
        try:
            await (asyncio.Event().wait() if seconds == math.inf else asyncio.sleep(seconds))
        except asyncio.CancelledError:
            log.append("cancelled")
            raise
        log.append("finished")
    log.append("after")


class TestSystemClock:
    def test_it_tells_the_time(self):
        clock = SystemClock()
        assert time.monotonic() <= clock.monotonic() <= time.monotonic()
        assert time.time() <= clock.wall() <= time.time()

    async def test_sleep_waits_at_least_that_long(self):
        clock = SystemClock()
        before = clock.monotonic()
        await clock.sleep(0.005)
        assert clock.monotonic() - before >= 0.0049

    async def test_timers_fire_in_order_also_those_that_are_late_but_not_the_cancelled(self):
        clock, fired = SystemClock(), []
        done = asyncio.Event()
        now = clock.monotonic()
        clock.call_at(now + 0.6, done.set)
        clock.call_at(now + 0.3, lambda: fired.append("soon"))
        clock.call_at(now - 5.0, lambda: fired.append("late"))
        clock.call_at(now + 0.4, lambda: fired.append("cancelled")).cancel()
        await asyncio.wait_for(done.wait(), 5)
        assert fired == ["late", "soon"]

    async def test_a_deadline_fires_on_it(self):
        clock = SystemClock()
        deadline = Deadline(Deadlines(clock), clock.monotonic() + 0.003)
        await asyncio.wait_for(guarded(deadline, []), 5)
        assert deadline.expired


class TestDeadline:
    async def test_it_fires_at_its_time_and_not_before(self, clock, deadlines):
        deadline, log = Deadline(deadlines, 10.0), []
        task = asyncio.ensure_future(guarded(deadline, log))
        await settle()
        clock.advance(9.999)
        await settle()
        assert log == []
        clock.advance(0.001)
        await task
        assert log == ["cancelled", "after"]
        assert deadline.expired

    async def test_a_block_that_ends_in_time_leaves_no_timer(self, clock, deadlines):
        deadline, log = Deadline(deadlines, 10.0), []
        await guarded(deadline, log, seconds=0)
        assert log == ["finished", "after"]
        assert not deadline.expired
        assert clock.next_due is None

    async def test_without_a_time_it_sets_no_timer(self, clock, deadlines):
        with Deadline(deadlines, math.inf) as deadline:
            assert clock.next_due is None
        assert not deadline.expired

    async def test_it_can_be_moved_later_without_touching_the_timer(self, clock, deadlines):
        deadline, log = Deadline(deadlines, 1.0), []
        task = asyncio.ensure_future(guarded(deadline, log))
        await settle()
        for second in range(10):
            deadline.move(clock.monotonic() + 1.0)
            assert clock.next_due is not None
            clock.advance(0.9)
            await settle()
            assert log == [], second
        clock.advance(0.1)
        await task
        assert clock.monotonic() == pytest.approx(9.1)

    async def test_it_can_be_moved_earlier(self, clock, deadlines):
        deadline = Deadline(deadlines, 100.0)
        task = asyncio.ensure_future(guarded(deadline, []))
        await settle()
        deadline.move(2.0)
        clock.advance(2.0)
        await task
        assert deadline.expired

    async def test_it_can_be_moved_out_of_the_way_and_back(self, clock, deadlines):
        deadline, log = Deadline(deadlines, 1.0), []
        task = asyncio.ensure_future(guarded(deadline, log))
        await settle()
        deadline.move(math.inf)
        clock.advance(1000.0)
        await settle()
        assert log == []
        deadline.move(1005.0)
        clock.advance(5.0)
        await task
        assert deadline.expired

    async def test_moved_before_the_block_it_holds_in_the_block(self, clock, deadlines):
        deadline = Deadline(deadlines, 50.0)
        deadline.move(3.0)
        task = asyncio.ensure_future(guarded(deadline, []))
        await settle()
        clock.advance(3.0)
        await task
        assert deadline.expired
        assert clock.next_due is None

    async def test_moved_after_the_block_it_does_nothing(self, clock, deadlines):
        deadline = Deadline(deadlines, 50.0)
        with deadline:
            pass
        deadline.move(0.0)
        assert clock.next_due is None

    async def test_a_time_that_has_passed_cuts_the_block_at_its_next_wait(self, clock, deadlines):
        clock.advance(5.0)
        deadline, log = Deadline(deadlines, 5.0), []
        task = asyncio.ensure_future(guarded(deadline, log))
        await settle()
        clock.advance(0.0)
        await task
        assert log == ["cancelled", "after"]

    @pytest.mark.parametrize(("inner", "outer", "cut"), [(1.0, 2.0, "inner"), (2.0, 1.0, "outer")])
    async def test_nested_the_one_that_is_due_first_cuts_its_own_block(
        self, clock, deadlines, inner, outer, cut
    ):
        both = {"inner": Deadline(deadlines, inner), "outer": Deadline(deadlines, outer)}
        log = []

        async def nested():
            with both["outer"]:
                await guarded(both["inner"], log)
                log.append("outer goes on")

        task = asyncio.ensure_future(nested())
        await settle()
        clock.advance(1.0)
        await task
        assert [name for name, deadline in both.items() if deadline.expired] == [cut]
        assert ("outer goes on" in log) is (cut == "inner")
        assert clock.next_due is None

    async def test_an_error_of_the_block_goes_its_way(self, clock, deadlines):
        deadline = Deadline(deadlines, 1.0)
        with pytest.raises(ValueError, match="mine"), deadline:
            raise ValueError("mine")
        assert not deadline.expired


class TestOuterCancellation:
    async def test_it_is_not_swallowed(self, clock, deadlines):
        deadline, log = Deadline(deadlines, 10.0), []
        task = asyncio.ensure_future(guarded(deadline, log))
        await settle()
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()
        assert log == ["cancelled"]
        assert not deadline.expired
        assert clock.next_due is None

    async def test_an_outer_scope_is_not_swallowed(self, clock, deadlines):
        deadline, log = Deadline(deadlines, 10.0), []
        with anyio.CancelScope() as scope:
            asyncio.get_running_loop().call_soon(scope.cancel)
            await guarded(deadline, log)
        assert scope.cancelled_caught
        assert not deadline.expired
        assert log == ["cancelled"]

    @pytest.mark.parametrize("first", ["outer", "deadline"])
    async def test_one_that_comes_in_the_same_step_is_not_swallowed(self, clock, deadlines, first):
        deadline, log = Deadline(deadlines, 10.0), []
        task = asyncio.ensure_future(guarded(deadline, log))
        await settle()
        if first == "outer":
            task.cancel()
        clock.advance(10.0)
        if first == "deadline":
            task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()
        assert log == ["cancelled"]

    def test_a_killed_loop_leaves_the_block_without_a_word(self, clock, deadlines):
        """A coroutine whose loop is gone is closed with GeneratorExit: nothing may be asked of its task."""
        deadline, log = Deadline(deadlines, 10.0), []
        loop = asyncio.new_event_loop()
        loop.set_exception_handler(lambda _, context: None)  # it tells of the task that never ends
        waiting = guarded(deadline, log)
        task = loop.create_task(waiting)
        loop.run_until_complete(asyncio.sleep(0))
        loop.close()
        assert clock.next_due == 10.0
        waiting.close()
        assert log == []
        assert clock.next_due is None
        assert not deadline.expired
        assert not task.done()


class TestSwallowed:
    """User code inside the block may catch the cancellation, and go on as if nothing had been."""

    async def test_it_is_cancelled_again_every_second_until_it_is_left(self, clock, deadlines):
        deadline, cancelled_at = Deadline(deadlines, 10.0), []

        async def stubborn():
            with deadline:
                while len(cancelled_at) < 4:
                    await swallows(cancelled_at)
                await asyncio.Event().wait()

        async def swallows(cancelled_at):
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                cancelled_at.append(clock.monotonic())

        task = asyncio.ensure_future(stubborn())
        await settle()
        for _ in range(200):
            clock.advance(0.125)
            await settle()
        await task
        assert cancelled_at == [10.0, 11.0, 12.0, 13.0]
        assert deadline.expired
        assert task.cancelling() == 0

    async def test_a_block_that_goes_on_and_ends_well_was_not_cut(self, clock, deadlines):
        deadline = Deadline(deadlines, 1.0)

        async def stubborn():
            with deadline, contextlib.suppress(asyncio.CancelledError):
                await asyncio.Event().wait()
            await asyncio.sleep(0)  # nothing of the deadline is left
            return asyncio.current_task().cancelling()

        task = asyncio.ensure_future(stubborn())
        await settle()
        clock.advance(1.0)
        assert await task == 0
        assert not deadline.expired
        clock.advance(100.0)
        assert clock.next_due is None

    @pytest.mark.parametrize("ending", ["return", "error"])
    async def test_one_that_expires_while_the_block_is_left_leaves_no_cancellation_behind(
        self, clock, deadlines, ending
    ):
        async def leaves():
            with contextlib.suppress(ValueError), Deadline(deadlines, 1.0):
                await asyncio.sleep(0)
                clock.advance(5.0)  # in the last step, so that nothing is waited for any more
                if ending == "error":
                    raise ValueError
            for _ in range(10):
                await asyncio.sleep(0)
            return asyncio.current_task().cancelling()

        assert await asyncio.ensure_future(leaves()) == 0

    async def test_an_error_in_place_of_the_cancellation_goes_its_way(self, clock, deadlines):
        deadline = Deadline(deadlines, 1.0)

        async def replaces():
            with deadline:
                try:
                    await asyncio.Event().wait()
                except asyncio.CancelledError:
                    raise ValueError("mine") from None

        task = asyncio.ensure_future(replaces())
        await settle()
        clock.advance(1.0)
        with pytest.raises(ValueError, match="mine"):
            await task
        assert not deadline.expired
        assert task.cancelling() == 0

    async def test_a_cleanup_that_is_shielded_is_waited_for(self, clock, deadlines):
        deadline, cleaned, log = Deadline(deadlines, 1.0), asyncio.Event(), []

        async def cleans_up():
            with deadline:
                try:
                    await asyncio.Event().wait()
                finally:
                    await shielded(shielded(cleaned.wait()))
                    log.append(clock.monotonic())
                    await asyncio.Event().wait()  # swallows nothing, but waits on

        task = asyncio.ensure_future(cleans_up())
        await settle()
        for _ in range(9):
            clock.advance(1.0)
            await settle()
        cleaned.set()
        await settle()
        assert not task.done()
        clock.advance(1.0)
        await task
        assert log == [9.0]
        assert deadline.expired


class TestLate:
    """A timer that fires late looks once more: what came while the process stood still counts."""

    async def test_what_came_while_the_loop_stood_still_is_read_before_anything_is_cut(self):
        loop, clock = asyncio.get_running_loop(), StillLoop()
        deadline = Deadline(Deadlines(clock), clock.monotonic() + 60.0)
        ours, theirs = socket.socketpair()
        with ours, theirs:
            reader, writer = await asyncio.open_connection(sock=ours)
            with deadline:
                loop.call_soon(clock.stand_still, 1000.0, lambda: theirs.sendall(b"came"))
                assert await reader.readexactly(4) == b"came"
                deadline.move(math.inf)
                for _ in range(10):
                    await asyncio.sleep(0)
            writer.close()
            await writer.wait_closed()
        assert not deadline.expired

    async def test_where_nothing_came_it_is_cut_at_once(self):
        clock = StillLoop()
        deadline = Deadline(Deadlines(clock), clock.monotonic() + 60.0)
        with deadline:
            asyncio.get_running_loop().call_soon(clock.stand_still, 1000.0, lambda: None)
            await asyncio.Event().wait()
        assert deadline.expired

    async def test_moved_between_the_two_looks_it_holds_at_its_new_time(self, clock, deadlines):
        deadline, log = Deadline(deadlines, 1.0), []
        task = asyncio.ensure_future(guarded(deadline, log))
        await settle()
        clock.advance(1.0)  # all looks of a clock that is moved by hand come at once, the cut does not
        deadline.move(1.5)
        await settle()
        assert log == []
        clock.advance(0.5)
        await task
        assert deadline.expired


class StillLoop(SystemClock):
    """The computer's clock, which a pause of the whole process moves on."""

    def __init__(self):
        self._paused = 0.0
        self._timers = []

    def monotonic(self):
        return time.monotonic() + self._paused

    def call_at(self, when, callback):
        loop = asyncio.get_running_loop()
        self._timers.append((loop.call_later(max(0.0, when - self.monotonic()), callback), callback))
        return self._timers[-1][0]

    def stand_still(self, seconds, meanwhile):
        """Pause: the timers that are due then fire before the loop has looked at its sockets."""
        self._paused += seconds
        meanwhile()
        for timer, callback in list(self._timers):
            if not timer.cancelled():
                timer.cancel()
                callback()


class TestManyAtOnce:
    async def test_one_timer_serves_all(self, clock, deadlines):
        timers = []
        clock.call_at = lambda when, callback: timers.append(when) or FakeClock.call_at(clock, when, callback)
        tasks = [
            asyncio.ensure_future(guarded(Deadline(deadlines, float(n)), [], seconds=0))
            for n in range(5, 105)
        ]
        await asyncio.wait(tasks)
        assert timers == [5.0]
        clock.advance(200.0)
        assert timers == [5.0]

    async def test_blocks_that_were_left_do_not_pile_up(self, clock, deadlines):
        with Deadline(deadlines, 1000.0):
            for n in range(1000):
                with Deadline(deadlines, 2000.0 - n) as deadline:
                    deadline.move(1500.0 - n)
                assert len(deadlines.looks) <= 2 * 2 + 64 + 2
            assert len(deadlines.watched) == 1

    async def test_the_timer_keeps_no_block_alive(self, clock, deadlines):
        class Referred(Deadline):
            """One that can be referred to weakly."""

        async def job():
            with Referred(deadlines, 100.0) as deadline:
                refs.append(weakref.ref(deadline))
                await asyncio.sleep(0)

        refs = []
        task = asyncio.ensure_future(job())
        refs.append(weakref.ref(task))
        await task
        del task
        await settle()  # the step in which it was awaited refers to it, too
        gc.collect()
        assert [when for when, _, timer in clock._timers if timer.callback] == [100.0]
        assert [ref() for ref in refs] == [None, None]

    async def test_each_is_cut_at_its_own_time(self, clock, deadlines):
        chance = random.Random(1)
        whens = [chance.uniform(0.0, 10.0) for _ in range(200)]
        cut = []

        async def block(when):
            deadline = Deadline(deadlines, when)
            with deadline:
                await asyncio.Event().wait()
            assert deadline.expired
            cut.append((when, clock.monotonic()))

        tasks = [asyncio.ensure_future(block(when)) for when in whens]
        await settle()
        while deadlines.watched:
            clock.advance(max(0.0, clock.next_due - clock.monotonic()))
            await settle()
        await asyncio.gather(*tasks)
        assert cut == [(when, when) for when in sorted(whens)]

    async def test_closed_they_cut_nothing_and_set_no_timer(self, clock, deadlines):
        with Deadline(deadlines, 1.0) as deadline:
            deadlines.close()
            assert clock.next_due is None
            deadline.move(0.5)
            clock.advance(2.0)
            await settle()
            with Deadline(deadlines, 0.1):
                await settle()
        assert clock.next_due is None

    async def test_entering_and_leaving_takes_four_frames(self, clock, deadlines):
        await settle()
        with Deadline(deadlines, 1.0), own_frames() as frames, Deadline(deadlines, 50.0):  # the timer is set
            pass
        assert len(frames) <= 4, frames

    async def test_outside_a_task_there_is_nothing_to_cut(self, deadlines):
        said = asyncio.get_running_loop().create_future()

        def enter():
            with pytest.raises(RuntimeError) as error:
                Deadline(deadlines, 1.0).__enter__()
            said.set_result(str(error.value))

        asyncio.get_running_loop().call_soon(enter)
        assert await said == "a deadline guards a block of a task"


class TestScopes:
    """anyio's scopes and groups, around a deadline and inside it."""

    async def test_a_group_inside_is_cancelled_with_its_children(self, clock, deadlines):
        deadline, ended = Deadline(deadlines, 1.0), []

        async def child(number):
            try:
                await anyio.sleep_forever()
            finally:
                ended.append(number)

        async def job():
            with deadline:
                async with anyio.create_task_group() as group:
                    for number in range(3):
                        group.start_soon(child, number)
                    await anyio.sleep_forever()

        task = asyncio.ensure_future(job())
        await settle()
        clock.advance(1.0)
        await task
        assert deadline.expired
        assert sorted(ended) == [0, 1, 2]

    async def test_a_child_of_a_group_is_cut_and_its_siblings_go_on(self, clock, deadlines):
        deadline, log = Deadline(deadlines, 1.0), []
        async with anyio.create_task_group() as group:
            group.start_soon(guarded, deadline, log)
            group.start_soon(guarded, Deadline(deadlines, 5.0), log, 0)
            await settle()
            clock.advance(1.0)
        assert deadline.expired
        assert sorted(log) == ["after", "after", "cancelled", "finished"]

    @pytest.mark.parametrize("first", ["scope", "deadline"])
    async def test_a_scope_around_it_that_is_cancelled_in_the_same_step_ends_it_all(
        self, clock, deadlines, first
    ):
        deadline, log = Deadline(deadlines, 1.0), []

        async def job():
            with anyio.CancelScope() as scope:
                scopes.append(scope)
                await guarded(deadline, log)
                await anyio.lowlevel.checkpoint()
                log.append("not reached")
            log.append("end")
            await anyio.lowlevel.checkpoint()

        scopes = []
        task = asyncio.ensure_future(job())
        await settle()
        if first == "scope":
            scopes[0].cancel()
        clock.advance(1.0)
        if first == "deadline":
            asyncio.get_running_loop().call_soon(scopes[0].cancel)  # after the cut, before the task runs
        await task
        assert "not reached" not in log
        assert log[-1] == "end"
        assert task.cancelling() == 0

    async def test_a_scope_inside_that_is_cancelled_ends_only_itself(self, clock, deadlines):
        deadline, log = Deadline(deadlines, 1.0), []
        with deadline:
            with anyio.CancelScope() as scope:
                scope.cancel()
                await anyio.lowlevel.checkpoint()
            log.append("goes on")
        assert log == ["goes on"]
        assert not deadline.expired

    async def test_asyncio_timeouts_around_it_and_inside_it_keep_their_own_ends(self, clock, deadlines):
        deadline = Deadline(deadlines, 1.0)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0):
                await guarded(deadline, [])
                pytest.fail("the timeout was swallowed")
        assert not deadline.expired
        with deadline:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(0):
                    await asyncio.Event().wait()
            asyncio.get_running_loop().call_soon(clock.advance, 1.0)
            async with asyncio.timeout(100):
                await asyncio.Event().wait()
        assert deadline.expired
        assert asyncio.current_task().cancelling() == 0
