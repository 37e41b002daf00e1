import asyncio
import subprocess
import sys
import threading
import time

from support.processes import complaints

from prodia_async._files.hops import start
from prodia_async._files.threads import Pool


def ours(pool):
    return [thread for thread in pool._threads if thread.is_alive()]


def test_closing_finishes_what_was_started_and_ends_the_threads():
    pool, done = Pool(), []
    for number in range(20):
        pool.start(lambda number=number: (time.sleep(0.001), done.append(number)))
    threads = ours(pool)
    assert len(threads) == 4
    pool.close()
    assert sorted(done) == list(range(20))
    assert not any(thread.is_alive() for thread in threads)


def test_a_pool_that_was_closed_or_forgotten_begins_again():
    pool, ended = Pool(), threading.Event()
    pool.close()
    pool.start(int)
    first = pool._threads
    pool.forget()
    pool.start(ended.set)
    assert ended.wait(10)
    assert pool._threads[0] not in first
    pool.close()


def test_several_threads_begin_no_more_than_four():
    pool, gate = Pool(), threading.Barrier(8)

    def use():
        gate.wait(10)
        pool.start(int)

    users = [threading.Thread(target=use) for _ in range(8)]
    for user in users:
        user.start()
    for user in users:
        user.join()
    assert len(pool._threads) == 4
    pool.close()


def test_a_thread_keeps_nothing_of_what_it_has_done():
    class Thing:
        def __init__(self):
            self.gone = threading.Event()

        def __del__(self):
            self.gone.set()

    pool, thing = Pool(), Thing()
    gone = thing.gone
    pool.start(id, thing)
    del thing
    assert gone.wait(10)
    pool.close()


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
        while not all(trip._over for trip in trips):
            time.sleep(0.001)  # the loop has no turn, and the threads have time
        return await asyncio.gather(*waiting)

    try:
        assert loop.run_until_complete(main()) == [True] * 50
        assert 1 <= loop.wakes <= 10
    finally:
        loop.close()


EXIT = """
import sys, time
from pathlib import Path
from prodia_async._files.hops import start

def write(path):
    time.sleep(0.1)
    path.write_text("whole")

for name in sys.argv[1:]:
    start(write, Path(name))
"""


def test_the_exit_waits_for_what_was_started(tmp_path):
    paths = [tmp_path / str(number) for number in range(6)]
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error", "-c", EXIT, *map(str, paths)],
        capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip
    assert (complaints(done.stderr), done.returncode) == ("", 0)
    assert [path.read_text() for path in paths] == ["whole"] * 6
