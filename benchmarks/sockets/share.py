"""Client processes at once, which know nothing of each other, against one service; and their picture.

Job times are spread, as the simulated service's are: with equal ones all slots come free in the same moments.
"""

from __future__ import annotations

import asyncio
import bisect
import contextlib
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import chart
import clients
from goals import Goal
from service import PATIENCE, SPAWN, Setting, running

from prodia_async import Prodia

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Sequence
    from multiprocessing.connection import Connection
    from multiprocessing.synchronize import Event

    from service import Service

SLOTS, SIGMA = 16, 0.5
SAMPLE_EVERY = 0.1
AVERAGE = 2.0  # seconds over which the picture's jobs in flight are averaged
LONGEST = 600.0
FACTOR = 2.0


@dataclass(frozen=True)
class Trial:
    """`joins`: when each client starts; from `since` seconds on, their counts are within FACTOR."""

    latency: float
    count: int  # of each client
    joins: tuple[float, ...]
    since: float
    known: str = ""  # why it may miss that

    def __str__(self) -> str:
        whole = f"{len(self.joins)} client processes, {self.count:,} jobs each of {self.latency:g} s"
        return f"{whole}, the last one {self.joins[-1]:g} s late; {SLOTS} slots"


TWO = Trial(0.2, 3000, (0.0, 0.5), since=20.0)
BY_CHANCE = "a newcomer meets a slot by chance, in the milliseconds before another client fills it again"
FOUR = Trial(2.0, 300, (0.0, 0.0, 0.0, 10.0), since=60.0, known=BY_CHANCE)


@dataclass
class Client:
    """What a client did; `in_flight`: samples, by the machine's monotonic time."""

    run: clients.Run
    in_flight: list[tuple[float, int]]


def main(picture: pathlib.Path) -> list[Goal]:
    goals = []
    for trial in (TWO, FOUR):
        print(trial)
        print("  done    requests   shed   makespan/ideal   done when the first client ended   apart at most")
        with running(Setting(capacity=SLOTS, latency=trial.latency, sigma=SIGMA)) as service:
            found = _together(service, trial)
            account = service.account()
        done = sum(len(each.run.done) for each in found)
        began = min(each.run.began for each in found)
        ends = [max(each.run.done, default=each.run.began) for each in found]
        ideal = len(found) * trial.count * trial.latency / SLOTS
        shares = sorted(sum(at <= min(ends) for at in each.run.done) for each in found)
        apart = _apart([each.run.done for each in found], began + trial.since, min(ends))
        print(
            f"  {done:4} {account.requests:11} {account.shed:6} {(max(ends) - began) / ideal:16.2f}   "
            f"{', '.join(map(str, shares)):32} {apart:8.2f}",
            flush=True,
        )
        lost = len(found) * trial.count - done
        goals.append(Goal(f"{len(found)} clients: no job lost", str(lost), lost == 0))
        told = f"{len(found)} clients: never more than {FACTOR:g} times apart after {trial.since:g} s"
        goals.append(Goal(told, f"{apart:.2f}", apart <= FACTOR, trial.known))
        if trial is TWO:
            _draw(picture, trial, found, account.shed, account.requests)
            print(f"  picture: {picture}")
    return goals


def _apart(done: Sequence[list[float]], begin: float, end: float) -> float:
    """Return how many times as much as the least the greatest has done, at the worst time in between."""
    most = 1.0
    for now in sorted(at for times in done for at in times if begin <= at <= end):
        counts = [bisect.bisect_right(times, now) for times in done]
        most = max(most, max(counts) / max(1, min(counts)))
    return most


def _together(service: Service, trial: Trial) -> list[Client]:
    begin = SPAWN.Event()
    with contextlib.ExitStack() as stack:
        pipes = []
        for join in trial.joins:
            ours, theirs = SPAWN.Pipe()
            arguments = ((service.base_url, service.token), trial, join, begin, theirs)
            process = SPAWN.Process(target=_client, args=arguments, daemon=True)
            process.start()
            theirs.close()
            stack.callback(process.join, PATIENCE)
            pipes.append(stack.enter_context(ours))
        for pipe in pipes:
            _receive(pipe, PATIENCE)  # it is ready
        begin.set()
        return [_receive(pipe, LONGEST) for pipe in pipes]


def _receive(pipe: Connection, patience: float):
    if not pipe.poll(patience):
        raise SystemExit("a client's process does not end")
    return pipe.recv()


def _client(address: tuple[str, str], trial: Trial, join: float, begin: Event, pipe: Connection) -> None:
    async def run() -> Client:
        async with Prodia(base_url=address[0], token=address[1]) as prodia:
            pipe.send(None)
            begin.wait(PATIENCE)  # the loop has nothing else to do
            await asyncio.sleep(join)
            samples: list[tuple[float, int]] = []
            watch = asyncio.create_task(_sample(prodia, samples))
            done = await clients.consume(prodia, trial.count, 1024)
            watch.cancel()
            return Client(done, samples)

    pipe.send(asyncio.run(asyncio.wait_for(run(), LONGEST)))


async def _sample(prodia: Prodia, samples: list[tuple[float, int]]) -> None:
    while True:
        samples.append((time.monotonic(), prodia.stats().in_flight))
        await asyncio.sleep(SAMPLE_EVERY)


def _draw(picture: pathlib.Path, trial: Trial, found: list[Client], shed: int, requests: int) -> None:
    first = min(each.run.began for each in found)
    seconds = min(max(each.run.done) for each in found) - first
    lines = []
    for each, name, colour in zip(found, ("first", "second"), (chart.FIRST, chart.SECOND), strict=True):
        points = [(at - first, count) for at, count in each.in_flight if at - first <= seconds]
        lines.append(chart.Line(f"jobs in flight, {name} client", colour, _averaged(points)))
    figure = chart.Figure(
        title=f"Two clients that know nothing of each other share {SLOTS} slots",
        subtitle=(
            f"{trial.count:,} jobs of {trial.latency:g} s each, the second {trial.joins[-1]:g} s late; "
            f"{shed:,} of {requests:,} requests shed; no limit was configured"
        ),
        seconds=seconds,
        capacity=[(0.0, SLOTS)],
        lines=lines,
        every=10 if seconds < 130 else 30,
        grid=4,
    )
    chart.save(figure, picture)


def _averaged(points: list[tuple[float, int]]) -> list[tuple[float, float]]:
    """Return the mean of each AVERAGE seconds."""
    by_window: dict[int, list[int]] = {}
    for at, count in points:
        by_window.setdefault(int(at / AVERAGE), []).append(count)
    return [(window * AVERAGE, sum(counts) / len(counts)) for window, counts in by_window.items()]
