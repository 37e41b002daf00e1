import asyncio
import os
import subprocess
import sys
import threading
import time

import pytest
from support.processes import complaints

from prodia_async import ProdiaError
from prodia_async._files import threads
from prodia_async._files.threads import Trip, Workers, hop, start


async def trips(workers, *functions):
    loop = asyncio.get_running_loop()
    taken = [Trip([(function, ())], loop.create_future()) for function in functions]
    for trip in taken:
        workers.add_thread()
        workers.queue.put(trip)
    return taken


def test_closing_finishes_what_was_started_and_ends_the_threads():
    workers, done = Workers(), []
    asyncio.run(
        trips(workers, *[lambda n=number: (time.sleep(0.001), done.append(n)) for number in range(20)])
    )
    running = list(workers.threads)
    assert len([thread for thread in running if thread.is_alive()]) == 4
    workers.close()
    assert sorted(done) == list(range(20))
    assert not any(thread.is_alive() for thread in running)


def test_workers_that_were_closed_or_forgotten_begin_again():
    workers, ended = Workers(), threading.Event()
    workers.close()
    asyncio.run(trips(workers, int))
    first, queue = workers.threads, workers.queue
    workers.forget()
    queue.put(None)  # a thread that a fork would not have copied
    asyncio.run(trips(workers, ended.set))
    assert ended.wait(10)
    assert workers.threads[0] not in first
    workers.close()
    first[0].join()


def test_several_loops_begin_no_more_than_four_threads():
    workers, gate = Workers(), threading.Barrier(8)

    def use():
        gate.wait(10)
        asyncio.run(trips(workers, int))

    users = [threading.Thread(target=use) for _ in range(8)]
    for user in users:
        user.start()
    for user in users:
        user.join()
    assert len(workers.threads) == 4
    workers.close()


class Thing:
    def __init__(self):
        self.gone = threading.Event()

    def __del__(self):
        self.gone.set()


def test_a_thread_keeps_nothing_of_what_it_has_done():
    thing = Thing()
    gone = thing.gone
    asyncio.run(hop(id, thing))
    del thing
    assert gone.wait(10)


async def test_a_trip_that_is_over_keeps_nothing_of_its_work():
    thing = Thing()
    gone = thing.gone
    trip = start(id, thing)
    await trip.result()
    del thing
    assert gone.wait(10)
    assert trip.cancel() is False


class CountingLoop(asyncio.SelectorEventLoop):
    """Counts how often another thread has woken it."""

    wakes = 0

    def call_soon_threadsafe(self, *args, **options):
        self.wakes += 1
        return super().call_soon_threadsafe(*args, **options)


def test_a_loop_is_woken_once_for_all_that_ended_while_it_was_busy():
    loop = CountingLoop()

    async def main():
        gate = threading.Event()
        trips = [start(gate.wait, 10) for _ in range(50)]
        waiting = [asyncio.ensure_future(trip.result()) for trip in trips]
        await asyncio.sleep(0)
        gate.set()
        while not all(trip.is_over for trip in trips):
            time.sleep(0.001)  # the loop has no turn, and the threads have time
        return await asyncio.gather(*waiting)

    try:
        assert loop.run_until_complete(main()) == [True] * 50
        assert 1 <= loop.wakes <= 10
    finally:
        loop.close()


EXIT = """
import asyncio, sys, time
from pathlib import Path
from prodia_async._files.threads import start

def write(path):
    time.sleep(0.1)
    path.write_text("whole")

async def main():
    for name in sys.argv[1:]:
        start(write, Path(name))

asyncio.run(main())
"""


def test_the_exit_waits_for_what_was_started(tmp_path):
    paths = [tmp_path / str(number) for number in range(6)]
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error", "-c", EXIT, *map(str, paths)],
        capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip
    assert (complaints(done.stderr), done.returncode) == ("", 0)
    assert [path.read_text() for path in paths] == ["whole"] * 6


class Refusing(threading.Thread):
    """A thread of a process that may have no more of them."""

    most = 0
    older = frozenset()  # threads of earlier tests, whose reads may block for ever

    def start(self):
        ours = {thread for thread in threading.enumerate() if thread.name.startswith("prodia-async")}
        if len(ours - self.older) >= self.most:
            raise RuntimeError("can't start new thread")
        super().start()


@pytest.fixture
def refusing(monkeypatch):
    """No thread of ours runs, and `most` may."""
    threads.workers.close()
    monkeypatch.setattr(Refusing, "most", 0)
    monkeypatch.setattr(Refusing, "older", frozenset(threading.enumerate()))
    monkeypatch.setattr(threading, "Thread", Refusing)
    return Refusing


@pytest.mark.parametrize("apart", [False, True])
async def test_without_any_thread_a_trip_is_an_error_and_never_runs(apart, refusing):
    ran = []
    for _ in range(6):
        with pytest.raises(ProdiaError, match="ulimit -u") as caught:
            await hop(ran.append, 1, abandon=apart)
        assert not caught.value.may_have_run
    trip = start(ran.append, 1, apart=apart)
    await trip.settled()
    refusing.most = 4
    assert await asyncio.wait_for(hop(int), 5) == 0
    assert await asyncio.wait_for(hop(int, abandon=True), 5) == 0
    assert ran == []


async def test_fewer_threads_do_the_work_of_all(refusing):
    refusing.most, names = 1, set()
    for _ in range(10):
        names.add(await asyncio.wait_for(hop(lambda: threading.current_thread().name), 5))
    assert names == {"prodia-async_0"}
    refusing.most = 4
    gate = threading.Barrier(4)
    await asyncio.wait_for(asyncio.gather(*[hop(gate.wait, 5) for _ in range(4)]), 10)


NO_THREADS = """
import asyncio, threading
from prodia_async import ProdiaError
from prodia_async._files.threads import hop

class Refusing(threading.Thread):
    def start(self):
        raise RuntimeError("can't start new thread")

async def main():
    for _ in range(6):
        try:
            await hop(int)
        except ProdiaError:
            print("told")

threading.Thread = Refusing
asyncio.run(main())
"""


def test_the_exit_of_a_process_without_threads_is_quiet():
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error", "-c", NO_THREADS],
        capture_output=True, text=True, timeout=30, check=False, env=dict(os.environ),
    )  # fmt: skip
    assert (done.stdout, complaints(done.stderr), done.returncode) == ("told\n" * 6, "", 0)
