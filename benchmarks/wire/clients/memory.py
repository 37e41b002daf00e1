"""What N jobs hold that wait for the limiter or are in flight, and N bare tasks: a line of JSON, in bytes.

    memory.py waiting|bare|flight BASE_URL --number N --out FOLDER [--trace]

The server must hold each job for long with `waiting`, and for some seconds with `flight`, so that all are
under way together before the first is answered. `--trace` counts Python's own memory in place of RSS.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import json
import os
import pathlib
import tracemalloc

import measure

from prodia_async import Adaptive, Prodia

LONGEST = 120.0  # seconds until all wait, or until all are done


def in_use(*, trace: bool) -> int:
    gc.collect()
    if trace:
        return tracemalloc.get_traced_memory()[0]
    pages = int(pathlib.Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


async def bare(given: argparse.Namespace) -> dict:
    """Measure tasks that wait for a future each."""
    loop = asyncio.get_running_loop()

    async def wait() -> None:
        await loop.create_future()

    before = in_use(trace=given.trace)
    tasks = [asyncio.ensure_future(wait()) for _ in range(given.number)]
    await asyncio.sleep(0)
    used = in_use(trace=given.trace) - before
    await _cancel(tasks)
    return {"each": used / given.number}


async def waiting(given: argparse.Namespace) -> dict:
    """Measure tasks that wait in `run()` while one job is held by the server."""
    limiter = Adaptive(max_concurrency=1, initial=1, max_waiting=given.number)
    async with Prodia(base_url=given.base_url, token="none", limiter=limiter) as prodia:
        held = asyncio.ensure_future(_run(prodia, given.out, 0))
        await _until(lambda: prodia.stats().in_flight == 1)
        before = in_use(trace=given.trace)
        tasks = [asyncio.ensure_future(_run(prodia, given.out, 1 + n)) for n in range(given.number)]
        await _until(lambda: prodia.stats().waiting >= given.number)
        used = in_use(trace=given.trace) - before
        await _cancel([*tasks, held])
    return {"each": used / given.number}


async def flight(given: argparse.Namespace) -> dict:
    """Measure the peak of RSS while all jobs are in flight and then answered."""
    limiter = Adaptive(max_concurrency=given.number, initial=given.number)
    async with Prodia(base_url=given.base_url, token="none", limiter=limiter) as prodia:
        await _run(prodia, given.out, 0)
        gc.collect()
        before = measure.reset_peak_rss()
        tasks = asyncio.gather(*(_run(prodia, given.out, 1 + n) for n in range(given.number)))
        await _until(lambda: prodia.stats().in_flight >= given.number or tasks.done())
        together, held = prodia.stats().in_flight, measure.peak_rss() - before
        descriptors = sum(1 for _ in pathlib.Path("/proc/self/fd").iterdir())
        await asyncio.wait_for(tasks, LONGEST)
        peak = measure.peak_rss() - before
    return {
        "each": peak / given.number,
        "held": held / given.number,
        "together": together,
        "descriptors": descriptors,
    }


async def _run(prodia: Prodia, out: pathlib.Path, number: int) -> None:
    await prodia.run(measure.TYPE, measure.CONFIG, custom_id=str(number), to=out)


async def _until(holds) -> None:
    async def look() -> None:
        while not holds():
            await asyncio.sleep(0.05)

    await asyncio.wait_for(look(), LONGEST)


async def _cancel(tasks: list[asyncio.Future]) -> None:
    for task in tasks:
        task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await asyncio.gather(*tasks, return_exceptions=True)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=["waiting", "bare", "flight"])
    parser.add_argument("base_url")
    parser.add_argument("--number", type=int, required=True)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--trace", action="store_true")
    given = parser.parse_args()
    if given.trace:
        tracemalloc.start()
    print(json.dumps(asyncio.run({"waiting": waiting, "bare": bare, "flight": flight}[given.what](given))))


if __name__ == "__main__":
    main()
