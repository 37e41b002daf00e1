"""A capacity that drops and rises in the middle of a batch, and the picture of how the limiter follows."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING

import chart
import clients
from goals import Goal
from service import Account, Setting, running

from prodia_async import Prodia

if TYPE_CHECKING:
    import pathlib

    from service import Service

COUNT = 2000
SETTING = Setting(capacity=32, latency=0.4, steps=((7.0, 8), (14.0, 64)))
SAMPLE_EVERY = 0.02
LONGEST = 180.0


def ideal() -> float:
    """Return the seconds that a service which is never idle would take."""
    left, since, capacity = COUNT * SETTING.latency, 0.0, SETTING.capacity
    for at, then in SETTING.steps:
        if left <= (at - since) * capacity:
            break
        left -= (at - since) * capacity
        since, capacity = at, then
    return since + left / capacity


def main(picture: pathlib.Path) -> list[Goal]:
    with running(SETTING) as service:
        run, limits = asyncio.run(asyncio.wait_for(_watched(service), LONGEST))
        account = service.account()
    capacities = " to ".join(str(capacity) for capacity in (SETTING.capacity, *(c for _, c in SETTING.steps)))
    print(f"{COUNT} jobs of {SETTING.latency} s, capacity {capacities} in the middle of them")
    print("  done    requests   shed   makespan/ideal")
    span = run.makespan / ideal()
    print(f"  {len(run.done):4} {account.requests:11} {account.shed:6} {span:16.2f}")
    _draw(picture, run, limits, account)
    print(f"  picture: {picture}")
    return [Goal("no job lost", f"{COUNT - len(run.done)}", len(run.done) == COUNT)]


async def _watched(service: Service) -> tuple[clients.Run, list[tuple[float, int]]]:
    limits: list[tuple[float, int]] = []
    async with Prodia(base_url=service.base_url, token=service.token) as prodia:
        watch = asyncio.create_task(_sample(prodia, limits))
        try:
            return await clients.consume(prodia, COUNT, SETTING.output_bytes), limits
        finally:
            watch.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await watch


async def _sample(prodia: Prodia, limits: list[tuple[float, int]]) -> None:
    while True:
        found = prodia.stats().by_type.get(clients.TYPE)
        if found is not None:
            limits.append((time.monotonic(), found.limit))
        await asyncio.sleep(SAMPLE_EVERY)


def _draw(picture: pathlib.Path, run: clients.Run, limits: list[tuple[float, int]], account: Account) -> None:
    first, last = account.samples[0].at, max(run.done, default=run.began)  # from the first request on
    within = [sample for sample in account.samples if sample.at <= last]
    learned = [(max(0.0, at - first), limit) for at, limit in limits if at <= last]
    figure = chart.Figure(
        title=f"{COUNT:,} jobs while the service's capacity drops and rises",
        subtitle=(
            f"{len(run.done):,} of {COUNT:,} done, {account.shed} of {account.requests:,} requests shed, "
            f"{run.makespan:.1f} s where {ideal():.1f} s is ideal; no limit was configured"
        ),
        seconds=last - first,
        capacity=[(sample.at - first, sample.capacity) for sample in within],
        lines=[chart.Line("limit that the client learns", chart.FIRST, learned)],
        shed=[(sample.at - first, sample.shed) for sample in within],
    )
    chart.save(figure, picture)
