"""Mixed jobs with every fault for a while: nothing grows, and every count is right.

Two clients against two emulators in a process of their own: `steady` lets each job end, so that its counts
and the emulator's are the same to the last request; `leaving` cancels jobs and leaves streams and batches.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import itertools
import json
import os
import pathlib
import random
import subprocess
import sys
import time
import urllib.request
from collections import Counter

import anyio
import pytest
from support.leaks import TOKEN, Census, assert_idle

from prodia_async import Adaptive, Job, Polling, Prodia, ProdiaError, Retry, Timeouts

STATM = pathlib.Path("/proc/self/statm")
MIB = 1024 * 1024
WORKERS = 12
PING, BYTES, ECHO = "inference.ping.v1", "emulator.bytes.v1", "emulator.echo.v1"

EMULATORS = """
import asyncio, sys
from prodia_async.emulator import Emulator

async def main():
    options = dict(capacity=8, latency=0.01, latency_sigma=0.5, retry_after=0.02, token=sys.argv[1])
    async with Emulator(**options) as one, Emulator(**options) as other:
        print(one.base_url, other.base_url, flush=True)
        await asyncio.to_thread(sys.stdin.read)

asyncio.run(main())
"""


@contextlib.contextmanager
def emulators():
    command = [sys.executable, "-c", EMULATORS, TOKEN]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process.stdout.readline().split()
        finally:
            process.stdin.close()
            process.wait(20)


async def account(base_url):
    """Return the emulator's own account."""

    def ask():
        with urllib.request.urlopen(f"{base_url}/stats", timeout=20) as answer:
            return json.load(answer)

    return await asyncio.to_thread(ask)


def rss():
    gc.collect()
    return int(STATM.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


async def one_shot(chance):
    for _ in range(chance.randint(0, 4)):
        yield chance.randbytes(chance.randint(1, 40_000))


class Soak:
    """One client's share: it counts what its callers see, and what the hook hears."""

    def __init__(self, base_url, seed, folder, *, leaves):
        self.base_url = base_url
        self.chance = random.Random(seed)
        self.folder = folder
        self.leaves = leaves
        self.numbers = itertools.count()
        self.seen = Counter()
        """What came of jobs, by way, as their callers saw it."""
        self.heard = Counter()
        """What came of jobs, by way, as the hook heard it."""
        self.events = Counter()
        self.uncertain = 0
        """Attempts that were cut: the emulator may not have got them."""
        self.prodia = Prodia(
            base_url=base_url,
            token=TOKEN,
            limiter=Adaptive(max_concurrency=16),
            retry=Retry(backoff=0.01, max_errors=2, resend_unknown=1),
            timeouts=Timeouts(connect=20, first_byte=60, idle=60),
            polling=Polling(interval=0.02, max_interval=0.1),
            on_event=self.hear,
        )

    def hear(self, event):
        self.events[event.kind] += 1
        if event.kind in ("completed", "failed", "cancelled"):
            self.heard[event.job.custom_id.split("-")[0], event.kind] += 1
            self.uncertain += event.kind == "cancelled" and event.attempt is not None

    def job(self, way, kind=None, **options):
        chance = self.chance
        kind = kind or chance.choice([PING, BYTES, BYTES])
        number = next(self.numbers)
        orders = {"key": f"{number}", **self.fault()}
        config = {"emulator": orders}
        if kind == BYTES:
            size = chance.choice([0, 10, 3000, 100_000, 100_000, 700_000])
            config |= {"size": size, "outputs": chance.choice([1, 1, 1, 3]), "length": chance.random() < 0.5}
        return Job(kind, config, custom_id=f"{way}-{number}", priority=chance.randint(0, 2), **options)

    def fault(self):
        chance = self.chance
        orders = {"job_part": chance.choice(["first", "last"])}
        picked = chance.random()
        if picked < 0.12:
            orders |= {"shed": chance.randint(1, 3), "retry_after": chance.choice([0, 0.01, 0.1])}
        elif picked < 0.18:
            wait = {"status": chance.choice([500, 502, 503]), "retry_after": 0.01}
            orders |= {**wait, "times": chance.choice([1, 2, 9])}
        elif picked < 0.26:
            orders |= {"drop": chance.choice(["before", "during"]), "times": chance.choice([1, 9])}
        elif picked < 0.3:
            orders |= {"fail": "as ordered", "fail_200": chance.random() < 0.5}
        return orders

    async def work(self, until):
        ways = [self.run, self.run, self.send, self.stream, self.stream, self.many, self.asynchronous]
        ways += [self.cancelled, self.left, self.left_batch] if self.leaves else []
        while time.monotonic() < until:
            with anyio.fail_after(60):
                await self.chance.choice(ways)()

    async def count(self, way, awaitable):
        try:
            await awaitable
        except ProdiaError:
            self.seen[way, "failed"] += 1
        else:
            self.seen[way, "completed"] += 1

    async def run(self):
        to = None if self.chance.random() < 0.5 else self.folder
        await self.count("run", self.run_and_remove(self.job("run"), to))

    async def run_and_remove(self, job, to):
        result = await self.prodia.run(job, to=to)
        for each in result.outputs:
            if each.path is not None:
                each.path.unlink()

    async def send(self):
        path = self.folder / "input.bin"
        inputs = [("a.bin", self.chance.randbytes(5000)), path, ("s.bin", one_shot(self.chance))]
        chosen = tuple(self.chance.sample(inputs, self.chance.randint(1, 3)))
        job, spool = self.job("send", ECHO, inputs=chosen), self.chance.random() < 0.5
        await self.count("send", self.prodia.run(job, spool=spool))

    async def stream(self):
        await self.count("stream", self.read(self.job("stream")))

    async def read(self, job):
        async with self.prodia.stream(job, timeout=60) as reply:
            sizes = []
            async for each in reply:
                sizes.append(0)
                async for chunk in each:
                    sizes[-1] += len(chunk)
            assert [each.size for each in reply.result.outputs] == sizes

    async def many(self):
        jobs = [self.job("many") for _ in range(self.chance.randint(1, 30))]
        async with self.prodia.as_completed(jobs) as outcomes:
            async for outcome in outcomes:
                self.seen["many", "failed" if outcome.error else "completed"] += 1

    async def asynchronous(self):
        job = self.job("async", mode="async")
        if self.chance.random() < 0.5:
            await self.count("async", self.prodia.run(job))
        else:
            await self.count("async", self.submit(job))

    async def submit(self, job):
        handle = await self.prodia.submit(job)
        await handle.result(timeout=60)

    async def cancelled(self):
        task = asyncio.create_task(self.prodia.run(self.job("cancelled")))
        await asyncio.sleep(self.chance.choice([0, 0.001, 0.01, 0.03, 0.1]))
        task.cancel()
        await asyncio.wait([task])
        how = "cancelled" if task.cancelled() else "failed" if task.exception() else "completed"
        self.seen["cancelled", how] += 1

    async def left(self):
        """Read a little of a stream that goes well, and leave it; it may have been received as a whole."""
        job = self.job("left", BYTES)
        job.config["emulator"] = {"job_part": "first", "key": job.custom_id}
        with anyio.move_on_after(self.chance.choice([0.005, 0.05, 10])):
            async with self.prodia.stream(job) as reply:
                async for chunk in reply.output:
                    assert chunk
                    break

    async def left_batch(self):
        jobs = (self.job("batch") for _ in itertools.count())
        async with self.prodia.as_completed(jobs, ahead=self.chance.randint(1, 20)) as outcomes:
            for _ in range(self.chance.randint(0, 10)):
                await anext(outcomes)


def check(soak, stats):
    """Compare the client's counts, those of its callers and those of its hook."""
    heard = Counter()
    for (_, kind), count in soak.heard.items():
        heard[kind] += count
    assert stats.jobs == soak.events["queued"] == stats.completed + stats.failed + stats.cancelled
    assert (stats.completed, stats.failed, stats.cancelled) == (
        heard["completed"],
        heard["failed"],
        heard["cancelled"],
    )
    unseen = ("left", "batch")  # whoever leaves does not learn what became of the rest
    assert soak.seen == Counter({key: count for key, count in soak.heard.items() if key[0] not in unseen}), (
        "the callers saw something else than the hook"
    )
    assert (stats.requests, stats.shed) == (soak.events["sent"], soak.events["shed"])
    assert (stats.in_flight, stats.waiting) == (0, 0)


@pytest.mark.skipif(not STATM.exists(), reason="resident memory is read from Linux's /proc")
@pytest.mark.parametrize(
    "seconds",
    [pytest.param(10, marks=pytest.mark.newest), pytest.param(1200, marks=pytest.mark.nightly)],
)
async def test_soak(seconds, tmp_path):
    seed = int(os.environ.get("SOAK_SEED", "0")) or random.randrange(1, 1 << 32)
    print(f"SOAK_SEED={seed}")  # noqa: T201 - a run that failed is repeated with it
    (tmp_path / "input.bin").write_bytes(bytes(range(256)) * 100)
    with emulators() as urls:
        soaks = [Soak(url, seed + number, tmp_path, leaves=bool(number)) for number, url in enumerate(urls)]
        census = Census(tmp_path)
        begun = time.monotonic()
        warm = begun + seconds / 3
        async with soaks[0].prodia, soaks[1].prodia:
            await run_all(soaks, warm)
            before = rss()
            await run_all(soaks, begun + seconds)
            grown = rss() - before
            stats = [soak.prodia.stats() for soak in soaks]
            for soak in soaks:
                assert_idle(soak.prodia)
        accounts = [await account(url) for url in urls]
        await census.assert_nothing_left()
        print(f"{grown / MIB:.1f} MiB more; {stats}; {accounts}")  # noqa: T201 - what a failure is judged by
    for soak, counted in zip(soaks, stats, strict=True):
        check(soak, counted)
    steady, leaving = soaks
    assert steady.uncertain == 0
    # A request on a connection that the server was just closing was never seen there: it counts as stale.
    assert 0 <= stats[0].requests - accounts[0]["requests"] <= stats[0].stale
    assert stats[0].shed == accounts[0]["shed"]
    assert stats[0].failed
    assert stats[1].cancelled
    assert 0 <= stats[1].requests - accounts[1]["requests"] <= leaving.uncertain
    assert 0 <= accounts[1]["shed"] - stats[1].shed <= leaving.uncertain
    assert stats[0].jobs + stats[1].jobs > 20 * seconds
    assert grown <= 16 * MIB
    assert not list(tmp_path.glob("*-*"))


async def run_all(soaks, until):
    await asyncio.gather(*(soak.work(until) for soak in soaks for _ in range(WORKERS)))
