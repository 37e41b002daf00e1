"""Two client processes at once, which know nothing of each other, against one service."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import clients
from goals import Goal
from service import PATIENCE, SPAWN, Setting, running

from prodia_async import Prodia

if TYPE_CHECKING:
    from multiprocessing.connection import Connection
    from multiprocessing.synchronize import Barrier

    from service import Service

SETTING = Setting(capacity=16, latency=0.2)
COUNT = 400  # of each client
IDEAL = 2 * COUNT * SETTING.latency / SETTING.capacity
LONGEST = 120.0


def main(rounds: int) -> list[Goal]:
    print(
        f"two client processes, {COUNT} jobs each, {SETTING.capacity} slots, {SETTING.latency} s a job; "
        f"{rounds} rounds"
    )
    print("  done    requests   shed   makespan/ideal   done when the first client ended")
    lost, factors = 0, []
    for _ in range(rounds):
        with running(SETTING) as service:
            runs = _together(service)
            account = service.account()
        first_end = min(max(run.done, default=run.began) for run in runs)
        shares = sorted(sum(time <= first_end for time in run.done) for run in runs)
        done = sum(len(run.done) for run in runs)
        span = max(run.makespan for run in runs) / IDEAL
        print(
            f"  {done:4} {account.requests:11} {account.shed:6} {span:16.2f}   {shares[1]} and {shares[0]}",
            flush=True,
        )
        lost += 2 * COUNT - done
        factors.append(shares[1] / max(1, shares[0]))
    return [
        Goal("no job lost", str(lost), lost == 0),
        Goal("shares within a factor of 2, every round", f"{max(factors):.2f}", max(factors) <= 2),
    ]


def _together(service: Service) -> list[clients.Run]:
    barrier = SPAWN.Barrier(2)
    with contextlib.ExitStack() as stack:
        pipes = []
        for _ in range(2):
            ours, theirs = SPAWN.Pipe(duplex=False)
            process = SPAWN.Process(
                target=_client, args=(service.base_url, service.token, barrier, theirs), daemon=True
            )
            process.start()
            theirs.close()
            stack.callback(process.join, PATIENCE)
            pipes.append(stack.enter_context(ours))
        for pipe in pipes:
            if not pipe.poll(LONGEST):
                raise SystemExit("a client's process does not end")
        return [pipe.recv() for pipe in pipes]


def _client(base_url: str, token: str, barrier: Barrier, pipe: Connection) -> None:
    async def run() -> clients.Run:
        async with Prodia(base_url=base_url, token=token) as prodia:
            barrier.wait(PATIENCE)  # the loop has nothing else to do
            return await clients.consume(prodia, COUNT, SETTING.output_bytes)

    pipe.send(asyncio.run(asyncio.wait_for(run(), LONGEST)))
