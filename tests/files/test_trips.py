import asyncio
import contextlib
import gc
import os
import subprocess
import sys
import threading
import time

import anyio
import pytest
from files.steps import cancelled_at, descriptors
from support.processes import complaints

from prodia_async._files.threads import Trip, hop, start


async def test_returns_the_result_from_another_thread():
    assert await hop(threading.get_ident) != threading.get_ident()
    assert await hop(divmod, 7, 2) == (3, 1)


async def test_raises_what_the_function_raises():
    with pytest.raises(ZeroDivisionError):
        await hop(divmod, 1, 0)
    with pytest.raises(ZeroDivisionError):
        await hop(divmod, 1, 0, abandon=True)


async def test_what_has_not_begun_never_runs():
    gate, ran = threading.Event(), []
    blocked = [start(gate.wait, 10) for _ in range(4)]
    task = asyncio.ensure_future(hop(ran.append, 1))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    gate.set()
    for trip in blocked:
        await trip.settled()
    await hop(int)
    assert ran == []


@pytest.mark.parametrize("cancels", [1, 3])
async def test_a_cancelled_hop_waits_for_its_thread_and_undoes(cancels):
    begun, gate, undone = threading.Event(), threading.Event(), []

    def work():
        begun.set()
        gate.wait(10)
        return "made"

    task = asyncio.ensure_future(hop(work, undo=undone.append))
    await hop(begun.wait, 10)
    for _ in range(cancels):
        task.cancel()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    assert not task.done()
    gate.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert undone == ["made"]


async def test_a_cancelled_scope_waits_too():
    begun, gate, undone = threading.Event(), threading.Event(), []

    def work():
        begun.set()
        gate.wait(10)

    async with anyio.create_task_group() as group:
        group.start_soon(lambda: hop(work, undo=undone.append))
        await hop(begun.wait, 10)
        group.cancel_scope.cancel()
        asyncio.get_running_loop().call_later(0.01, gate.set)
    assert undone == [None]


async def test_no_undo_for_a_function_that_failed():
    begun, gate, undone = threading.Event(), threading.Event(), []

    def work():
        begun.set()
        gate.wait(10)
        raise OSError("no")

    task = asyncio.ensure_future(hop(work, undo=undone.append))
    await hop(begun.wait, 10)
    task.cancel()
    gate.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert undone == []


async def test_an_abandoned_hop_does_not_wait_and_is_undone_later():
    begun, gate, undone = threading.Event(), threading.Event(), threading.Event()

    def work():
        begun.set()
        gate.wait(10)

    task = asyncio.ensure_future(hop(work, undo=lambda _: undone.set(), abandon=True))
    await hop(begun.wait, 10)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not undone.is_set()
    gate.set()
    assert await hop(undone.wait, 10)


async def test_an_abandoned_hop_without_undo_just_ends():
    gate = threading.Event()
    task = asyncio.ensure_future(hop(gate.wait, 10, abandon=True))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    gate.set()


async def test_more_abandoned_trips_than_threads_hold_nobody_up():
    gate = threading.Event()
    waiting = [asyncio.ensure_future(hop(gate.wait, 10, abandon=True)) for _ in range(12)]
    await asyncio.sleep(0)
    assert await asyncio.wait_for(hop(int), 5) == 0
    gate.set()
    assert await asyncio.gather(*waiting) == [True] * 12


async def test_a_cancel_during_settled_is_raised_after_it():
    gate = threading.Event()
    trip = start(gate.wait, 10)
    task = asyncio.ensure_future(trip.settled())
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert not task.done()
    gate.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await trip.result() is True


async def test_settled_raises_nothing_of_the_function():
    trip = start(divmod, 1, 0)
    await trip.settled()
    with pytest.raises(ZeroDivisionError):
        await trip.result()


@pytest.mark.parametrize("way", ["native", "twice", "scope"])
@pytest.mark.parametrize("abandon", [False, True])
async def test_a_file_that_was_opened_for_nobody_is_closed(way, abandon, tmp_path):
    path = tmp_path / "x"
    path.write_bytes(b"x")
    await hop(int)
    before = descriptors()

    async def action():
        with contextlib.closing(await hop(path.open, "rb", undo=lambda file: file.close(), abandon=abandon)):
            await asyncio.sleep(0)

    for step in range(40):
        await cancelled_at(step, action, way=way)
    for _ in range(1000):  # an abandoned thread ends by itself, and then its file is closed
        apart = [thread for thread in threading.enumerate() if thread.name == "prodia-async-apart"]
        if not apart and descriptors() == before:
            break
        await asyncio.sleep(0.01)
    gc.collect()  # a lost file would give a ResourceWarning
    assert descriptors() == before


@pytest.mark.parametrize("apart", [False, True])
@pytest.mark.parametrize("fails", [False, True])
def test_a_loop_that_was_closed_meanwhile_is_left_alone(apart, fails, caplog):
    gate = threading.Event()
    loop = asyncio.new_event_loop()

    def work():
        gate.wait(10)
        if fails:
            raise OSError("nobody hears")

    trips = []

    async def begin():
        trips.append(start(work, apart=apart))
        waiting = asyncio.ensure_future(trips[0].result())
        await asyncio.sleep(0)
        waiting.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await waiting

    loop.run_until_complete(begin())
    loop.close()
    gate.set()
    while not trips[0].is_over:
        time.sleep(0.001)
    gc.collect()
    assert caplog.records == []


def test_several_loops_use_one_pool():
    before = set(threading.enumerate())
    assert asyncio.run(hop(int)) == asyncio.run(hop(int)) == 0
    results = []
    threads = [threading.Thread(target=lambda: results.append(asyncio.run(hop(int)))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [0, 0, 0]
    begun = set(threading.enumerate()) - before
    assert sum(thread.name.startswith("prodia-async_") for thread in begun) <= 4


def test_uvloop():
    uvloop = pytest.importorskip("uvloop")
    loop = uvloop.new_event_loop()
    try:
        assert loop.run_until_complete(hop(divmod, 7, 2)) == (3, 1)
    finally:
        loop.close()


FORK = """
import asyncio, os, sys, warnings
warnings.simplefilter("ignore", DeprecationWarning)  # fork with threads: the very case
from prodia_async._files.threads import hop

async def main():
    assert await hop(os.getpid) == os.getpid()
    child = os.fork()
    return child

child = asyncio.run(main())
assert asyncio.run(hop(os.getpid)) == os.getpid()
if child:
    assert os.waitpid(child, 0)[1] == 0
    print("both")
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_child_gets_its_own_threads():
    done = subprocess.run(
        [sys.executable, "-c", FORK],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
        env=dict(os.environ),
    )
    assert (done.stdout, complaints(done.stderr), done.returncode) == ("both\n", "", 0)


async def test_what_was_cancelled_before_its_thread_began_is_not_run():
    ran = []
    trip = Trip([(ran.append, (1,))], asyncio.get_running_loop().create_future())
    assert trip.cancel()
    trip.run()
    assert ran == []
    assert not trip.cancel()
    await trip.settled()
    assert await trip.result() is None


async def test_a_result_that_was_waited_for_in_vain_is_there_later():
    gate = threading.Event()
    trip = start(gate.wait, 10)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(trip.result(), 0.01)
    waiting = asyncio.ensure_future(trip.result())
    gate.set()
    assert await waiting is True
    late = start(int)
    late.result().cancel()
    await hop(int)
    await late.settled()
    assert await late.result() == 0


@pytest.mark.parametrize("abandon", [False, True])
async def test_a_result_that_came_with_the_cancellation_is_undone(abandon):
    done, undone = threading.Event(), []
    task = asyncio.ensure_future(hop(done.set, undo=undone.append, abandon=abandon))
    await asyncio.sleep(0)
    assert done.wait(10)  # the loop hears of nothing meanwhile
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    while abandon and not undone:
        await asyncio.sleep(0.001)
    assert undone == [None]


@pytest.mark.parametrize("abandon", [False, True])
async def test_an_undo_that_fails_says_nothing(abandon, caplog):
    begun, gate, tried = threading.Event(), threading.Event(), threading.Event()

    def work():
        begun.set()
        gate.wait(10)

    def undo(_):
        tried.set()
        raise OSError("nobody hears")

    task = asyncio.ensure_future(hop(work, undo=undo, abandon=abandon))
    await hop(begun.wait, 10)
    task.cancel()
    gate.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await hop(tried.wait, 10)
    gc.collect()
    assert caplog.records == []


async def test_a_stop_iteration_is_an_error_like_others():
    with pytest.raises(RuntimeError, match="StopIteration"):
        await asyncio.wait_for(hop(next, iter(())), 5)


async def test_an_error_that_nobody_asks_for_is_not_told(caplog):
    for apart in (False, True):
        await start(divmod, 1, 0, apart=apart).settled()
        start(divmod, 1, 0, apart=apart)
    await asyncio.sleep(0.05)
    gc.collect()
    assert caplog.records == []
