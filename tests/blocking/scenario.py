"""Processes that use a blocking client, and how they end."""

import asyncio
import atexit
import contextlib
import multiprocessing
import os
import resource
import sys
import threading

from prodia_async import Job, ProdiaError
from prodia_async.blocking import Prodia

PING = "inference.ping.v1"
SLOW = {"emulator": {"latency": 30}}
prodia = Prodia()


def leave() -> None:
    """Nothing is closed."""
    prodia.run(PING)


def abandoned() -> None:
    """Jobs are under way at the exit."""
    outcomes = prodia.as_completed([Job(PING), Job(PING, SLOW)])
    next(outcomes)
    globals()["kept"] = outcomes


def fork() -> None:
    """A child works with a loop of its own, and so does its parent afterwards."""
    prodia.run(PING)
    child = os.fork()
    if child == 0:
        os._exit(7 if prodia.run(PING).id else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    assert prodia.run(PING).id
    assert prodia.stats().completed == 2


def multiprocessing_() -> None:
    """Celery's prefork does the same."""
    prodia.run(PING)
    with multiprocessing.get_context("fork").Pool(2) as pool:
        assert len(set(pool.map(run, range(6)))) == 6


def run(_: int) -> str:
    return prodia.run(PING).id


def in_a_loop() -> None:
    """As in a notebook, whose cells run in a loop of its own."""

    async def cell() -> None:
        assert prodia.run(PING).id

    asyncio.run(cell())


def threads_at_exit() -> None:
    """A thread waits for a job when the interpreter goes."""
    threading.Thread(target=expect_the_end, daemon=True).start()
    while not prodia.stats().jobs:
        pass


def expect_the_end() -> None:
    with contextlib.suppress(ProdiaError):
        prodia.run(PING, SLOW)


def atexit_() -> None:
    """A client is used while the interpreter goes: it works, or says why not."""
    prodia.run(PING)

    def last() -> None:
        with contextlib.suppress(ProdiaError):
            prodia.run(PING)

    atexit.register(last)


def no_descriptors() -> None:
    """The loop cannot be made: the call says so, and the next one works."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir("/proc/self/fd")) - 1, hard))
    with contextlib.suppress(ProdiaError):
        prodia.run(PING)
        raise AssertionError("a loop was made of nothing")
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert prodia.run(PING).id


def ctrl_c() -> None:
    try:
        threading.Timer(0.5, lambda: os.write(1, b"waiting\n")).start()
        prodia.run(PING, SLOW)
    except KeyboardInterrupt:
        stats = prodia.stats()
        assert (stats.cancelled, stats.in_flight) == (1, 0), stats
        assert prodia.run(PING).id


scenes = {scene.__name__.rstrip("_"): scene for scene in (leave, abandoned, fork, multiprocessing_)}
scenes |= {
    scene.__name__.rstrip("_"): scene
    for scene in (in_a_loop, no_descriptors, threads_at_exit, atexit_, ctrl_c)
}
scenes[sys.argv[1]]()
sys.stdout.write("done\n")
