"""One value per loop, and clean-up that comes what may, in loops that end well and in loops that do not."""

from __future__ import annotations

import asyncio
import gc
import subprocess
import sys
import threading
import weakref

import anyio
import pytest
from support.processes import complaints

from prodia_async import _loops
from prodia_async._loops import OnExit, PerLoop


class Value:
    """What a client keeps in a loop; it writes down what is asked of it."""

    def __init__(self, log, fail=False):
        self.log = log
        self.fail = fail

    async def aclose(self):
        await asyncio.sleep(0)
        self.log.append("aclose")
        if self.fail:
            raise OSError("the connection would not close")

    def close_dead(self):
        self.log.append("close_dead")

    def abandon(self):
        self.log.append("abandon")


@pytest.fixture
def log():
    return []


@pytest.fixture
def values(log):
    return PerLoop(lambda: Value(log))


def abandoned_loop(values):
    """Get a value in a loop that is closed without shutting its generators down."""
    loop = asyncio.new_event_loop()
    value = loop.run_until_complete(values.get())
    loop.close()
    return value


class TestOneLoop:
    async def test_the_value_is_made_once_and_on_first_use(self, values):
        assert values.peek() is None
        value = await values.get()
        assert await values.get() is value is values.peek()
        await values.aclose()

    async def test_closing_closes_and_the_next_use_makes_another(self, values, log):
        first = await values.get()
        await values.aclose()
        assert log == ["aclose"]
        assert values.peek() is None
        assert await values.get() is not first
        await values.aclose()
        assert log == ["aclose", "aclose"]

    async def test_closing_what_was_never_used_or_is_closed_does_nothing(self, values, log):
        await values.aclose()
        await values.get()
        await values.aclose()
        await values.aclose()
        assert log == ["aclose"]

    async def test_a_dropped_owner_closes_its_value_in_the_loop(self, log):
        values = PerLoop(lambda: Value(log))
        await values.get()
        del values
        gc.collect()
        for _ in range(10):
            await asyncio.sleep(0)
        assert log == ["aclose"]

    def test_without_a_loop_there_is_no_value(self, values):
        with pytest.raises(RuntimeError, match="no running event loop"):
            values.peek()

    async def test_a_value_that_fails_to_close_is_forgotten_all_the_same(self, log):
        values = PerLoop(lambda: Value(log, fail=True))
        await values.get()
        with pytest.raises(OSError, match="would not close"):
            await values.aclose()
        assert values.peek() is None


class TestSeveralLoops:
    def test_one_run_after_another_each_closes_its_own(self, values, log):
        made = [asyncio.run(values.get()) for _ in range(3)]
        assert len(set(map(id, made))) == 3
        assert log == ["aclose"] * 3
        assert not values._entries

    def test_threads_have_values_of_their_own(self, values, log):
        seen, both = [], threading.Barrier(2, timeout=5)

        async def use():
            seen.append(await values.get())
            await asyncio.to_thread(both.wait)
            assert await values.get() in seen

        threads = [threading.Thread(target=asyncio.run, args=(use(),)) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(5)
        assert len(set(map(id, seen))) == 2
        assert log == ["aclose"] * 2

    @pytest.mark.parametrize("then", ["get", "aclose"])
    def test_a_killed_loop_is_cleaned_up_at_the_next_use_once(self, values, log, then):
        abandoned_loop(values)
        assert log == []
        asyncio.run(getattr(values, then)())
        assert log == ["close_dead"] + ["aclose"] * (then == "get")
        asyncio.run(values.aclose())
        assert log.count("close_dead") == 1

    def test_what_a_killed_loop_leaves_is_freed(self, values):
        killed = weakref.ref(abandoned_loop(values))
        gc.collect()
        assert killed() in _loops._open
        values.close_dead()
        gc.collect()
        assert not values._entries
        assert killed() is None

    async def test_a_loop_that_is_still_open_is_not_dead(self, values, log):
        value = await values.get()
        values.close_dead()
        assert values.peek() is value
        assert log == []
        await values.aclose()


FORK = """
import asyncio, atexit, os, sys
from prodia_async._loops import PerLoop

log = []

class Value:
    async def aclose(self):
        log.append("aclose")
    def close_dead(self):
        log.append("close_dead")
    def abandon(self):
        log.append("abandon")

values = PerLoop(Value)
atexit.register(lambda: print(os.getpid() == parent, *log, flush=True))
parent = os.getpid()

async def use(inherited):
    assert values.peek() is None
    assert await values.get() is not inherited

async def main():
    value = await values.get()
    child = os.fork()
    if not child:
        asyncio._set_running_loop(None)
        asyncio.run(use(value))
        sys.exit(0)
    assert os.waitpid(child, 0)[1] == 0
    assert values.peek() is value

asyncio.run(main())
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows cannot fork")
def test_a_forked_child_abandons_what_it_inherited_and_the_parent_keeps_it():
    ended = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error", "-c", FORK],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    # asyncio's debug mode tells of steps over 0.1 s, which says something of the machine only.
    assert complaints(ended.stderr) == ""
    child, parent = ended.stdout.splitlines()
    assert child == "False abandon aclose"  # it closes what it made itself, and that alone
    assert parent == "True aclose"


def test_abandoned_values_are_let_go_of_without_a_word_and_never_finalised(values, log):
    async def use():
        await values.get()
        [entry] = values._entries.values()
        references = sys.getrefcount(entry)
        values.forget()
        assert log == ["abandon"]
        assert values.peek() is None
        assert sys.getrefcount(entry) == references

    asyncio.run(use())


def test_make_immortal_adds_a_reference_that_nobody_gives_back():
    thing = Value([])
    before = sys.getrefcount(thing)
    _loops.make_immortal(thing)
    assert sys.getrefcount(thing) == before + 1


class TestOnExit:
    def guarded(self, log, body):
        async def cleanup():
            await asyncio.sleep(0)
            log.append("clean")

        async def run():
            async with OnExit(cleanup):
                await body()

        return run()

    async def test_after_the_block(self, log):
        async def body():
            log.append("body")

        await self.guarded(log, body)
        assert log == ["body", "clean"]

    async def test_after_an_error_which_goes_on(self, log):
        async def body():
            raise ValueError("mine")

        with pytest.raises(ValueError, match="mine"):
            await self.guarded(log, body)
        assert log == ["clean"]

    async def test_after_a_cancellation_which_goes_on(self, log):
        task = asyncio.ensure_future(self.guarded(log, asyncio.Event().wait))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()
        assert log == ["clean"]

    async def test_a_scope_that_is_cancelled_does_not_cut_the_cleanup_short(self, log):
        with anyio.CancelScope() as scope:
            asyncio.get_running_loop().call_soon(scope.cancel)
            await self.guarded(log, asyncio.Event().wait)
        assert scope.cancelled_caught
        assert log == ["clean"]

    async def test_nothing_left_to_await_lets_a_cancellation_through(self, log):
        async def run():
            async with OnExit(lambda: log.append("asked")):
                await asyncio.Event().wait()

        task = asyncio.ensure_future(run())
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()
        assert log == ["asked"]

    def test_a_killed_loop_leaves_nothing_to_await_in(self, log):
        loop = asyncio.new_event_loop()
        loop.set_exception_handler(lambda _, context: log.append(context["message"]))
        waiting = self.guarded(log, asyncio.Event().wait)
        task = loop.create_task(waiting)
        loop.run_until_complete(asyncio.sleep(0))
        loop.close()
        del task, waiting
        gc.collect()
        assert log == ["Task was destroyed but it is pending!"]


def test_threads_whose_loops_die_at_once_clean_up_what_is_dead_and_nothing_else():
    values = PerLoop(lambda: Value([]))
    failures = []

    async def use():
        first = await values.get()
        await asyncio.sleep(0)
        assert await values.get() is first

    def kill_loops():
        try:
            for _ in range(200):
                loop = asyncio.new_event_loop()
                loop.run_until_complete(use())
                loop.close()
        except Exception as failure:  # noqa: BLE001 - whatever it is, the test tells it
            failures.append(failure)

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        threads = [threading.Thread(target=kill_loops) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
    finally:
        sys.setswitchinterval(interval)
    assert failures == []
    values.close_dead()
    assert not values._entries
