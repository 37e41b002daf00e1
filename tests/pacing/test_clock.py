from __future__ import annotations

import asyncio
import math
import sys
import time

import anyio
import pytest
from pacing.bench import settle
from support.fake_clock import FakeClock

from prodia_async._pacing.clock import Deadline, SystemClock

INDISTINCT = pytest.mark.xfail(
    sys.version_info < (3, 11), reason="Python 3.10 cannot tell a second cancellation from the first"
)


@pytest.fixture
def clock():
    return FakeClock()


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
        clock.call_at(now + 0.006, done.set)
        clock.call_at(now + 0.003, lambda: fired.append("soon"))
        clock.call_at(now - 5.0, lambda: fired.append("late"))
        clock.call_at(now + 0.004, lambda: fired.append("cancelled")).cancel()
        await asyncio.wait_for(done.wait(), 5)
        assert fired == ["late", "soon"]

    async def test_a_deadline_fires_on_it(self):
        clock = SystemClock()
        deadline = Deadline(clock, clock.monotonic() + 0.003)
        await asyncio.wait_for(guarded(deadline, []), 5)
        assert deadline.expired


class TestDeadline:
    async def test_it_fires_at_its_time_and_not_before(self, clock):
        deadline, log = Deadline(clock, 10.0), []
        task = asyncio.ensure_future(guarded(deadline, log))
        await settle()
        clock.advance(9.999)
        await settle()
        assert log == []
        clock.advance(0.001)
        await task
        assert log == ["cancelled", "after"]
        assert deadline.expired

    async def test_a_block_that_ends_in_time_leaves_no_timer(self, clock):
        deadline, log = Deadline(clock, 10.0), []
        await guarded(deadline, log, seconds=0)
        assert log == ["finished", "after"]
        assert not deadline.expired
        assert clock.next_due is None

    async def test_without_a_time_it_sets_no_timer(self, clock):
        with Deadline(clock) as deadline:
            assert clock.next_due is None
        assert not deadline.expired

    async def test_it_can_be_moved_later_without_touching_the_timer(self, clock):
        deadline, log = Deadline(clock, 1.0), []
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

    async def test_it_can_be_moved_earlier(self, clock):
        deadline = Deadline(clock, 100.0)
        task = asyncio.ensure_future(guarded(deadline, []))
        await settle()
        deadline.move(2.0)
        clock.advance(2.0)
        await task
        assert deadline.expired

    async def test_it_can_be_moved_out_of_the_way_and_back(self, clock):
        deadline, log = Deadline(clock, 1.0), []
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

    async def test_moved_before_the_block_it_holds_in_the_block(self, clock):
        deadline = Deadline(clock, 50.0)
        deadline.move(3.0)
        task = asyncio.ensure_future(guarded(deadline, []))
        await settle()
        clock.advance(3.0)
        await task
        assert deadline.expired
        assert clock.next_due is None

    async def test_moved_after_the_block_it_does_nothing(self, clock):
        deadline = Deadline(clock, 50.0)
        with deadline:
            pass
        deadline.move(0.0)
        assert clock.next_due is None

    async def test_a_time_that_has_passed_cuts_the_block_at_its_next_wait(self, clock):
        clock.advance(5.0)
        deadline, log = Deadline(clock, 5.0), []
        task = asyncio.ensure_future(guarded(deadline, log))
        await settle()
        clock.advance(0.0)
        await task
        assert log == ["cancelled", "after"]

    @pytest.mark.parametrize(("inner", "outer", "cut"), [(1.0, 2.0, "inner"), (2.0, 1.0, "outer")])
    async def test_nested_the_one_that_is_due_first_cuts_its_own_block(self, clock, inner, outer, cut):
        deadlines = {"inner": Deadline(clock, inner), "outer": Deadline(clock, outer)}
        log = []

        async def nested():
            with deadlines["outer"]:
                await guarded(deadlines["inner"], log)
                log.append("outer goes on")

        task = asyncio.ensure_future(nested())
        await settle()
        clock.advance(1.0)
        await task
        assert [name for name, deadline in deadlines.items() if deadline.expired] == [cut]
        assert ("outer goes on" in log) is (cut == "inner")
        assert clock.next_due is None

    async def test_an_error_of_the_block_goes_its_way(self, clock):
        deadline = Deadline(clock, 1.0)
        with pytest.raises(ValueError, match="mine"), deadline:
            raise ValueError("mine")
        assert not deadline.expired


class TestOuterCancellation:
    async def test_it_is_not_swallowed(self, clock):
        deadline, log = Deadline(clock, 10.0), []
        task = asyncio.ensure_future(guarded(deadline, log))
        await settle()
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()
        assert log == ["cancelled"]
        assert not deadline.expired
        assert clock.next_due is None

    async def test_an_outer_scope_is_not_swallowed(self, clock):
        deadline, log = Deadline(clock, 10.0), []
        with anyio.CancelScope() as scope:
            asyncio.get_running_loop().call_soon(scope.cancel)
            await guarded(deadline, log)
        assert scope.cancelled_caught
        assert not deadline.expired
        assert log == ["cancelled"]

    @pytest.mark.parametrize("first", ["outer", pytest.param("deadline", marks=INDISTINCT)])
    async def test_one_that_comes_in_the_same_step_is_not_swallowed(self, clock, first):
        deadline, log = Deadline(clock, 10.0), []
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

    def test_a_killed_loop_leaves_the_block_without_a_word(self, clock):
        """A coroutine whose loop is gone is closed with GeneratorExit: no scope may look for its task."""
        log, deadlines = [], []

        async def wait():
            deadlines.append(Deadline(clock, 10.0))
            await guarded(deadlines[0], log)

        loop = asyncio.new_event_loop()
        loop.set_exception_handler(lambda _, context: None)  # it tells of the task that never ends
        waiting = wait()
        task = loop.create_task(waiting)
        loop.run_until_complete(asyncio.sleep(0))
        loop.close()
        assert clock.next_due == 10.0
        waiting.close()
        assert log == []
        assert clock.next_due is None
        assert not deadlines[0].expired
        assert not task.done()
