"""The limiter's own scenarios: one job type, one to sixteen clients, a service in every mood.

Parameters that the design leaves open, as chosen here: steps and outages come at 20 s (60 s jobs: at 600 s);
an outage lasts 20 s; the sine's period is 120 s; a walk moves by up to an eighth of its range every 2 s, and
the large one has jobs for 120 s at the mean that it came to have; the late joiner comes at 60 s; open
arrivals are a Poisson stream, on the walk at 95 % of its mean capacity; the naive neighbour has a semaphore
of 100.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from clients import Hammer
from trial import SIMULATED_CAP, Measures, Trial
from world import Capacity, Server, constant, outage, sine, step, walk

Play: TypeAlias = Callable[[int], Measures]

ROUND_TRIP_250 = 0.125  # seconds, one way
OPEN_SPAN = 190.0  # seconds over which a capacity's mean is taken: what 3,200 open arrivals take


@dataclass(frozen=True)
class Setup:
    """A service, and `n` clients that share `jobs` jobs fairly."""

    capacity: Callable[[random.Random], Capacity]
    n: int
    jobs: int  # or, on a walk, the seconds for which the jobs last at its mean capacity
    server: dict[str, Any] = field(default_factory=dict)
    client: dict[str, Any] = field(default_factory=dict)
    load: float | None = None  # jobs arrive, at this share of the capacity; None: all are there at once
    change: float | None = None  # when the capacity comes (back)
    level: int = 0  # to so many slots
    last_joins: float = 0.0
    hammers: int = 0
    cap: int = SIMULATED_CAP
    on_walk: bool = False

    def __call__(self, seed: int) -> Measures:
        trial = Trial(seed)
        server = trial.server(self.capacity(random.Random(seed + 1000)), **self.server)
        each = self._jobs(server) // self.n
        for _ in range(self.n - self.hammers):
            trial.client(server, trial.limiter(self.cap), each, **self.client)
        for _ in range(self.hammers):
            trial.hammer(server, each, most=100)
        for client in trial.clients[:-1] if self.last_joins else trial.clients:
            if self.load is None or isinstance(client, Hammer):
                client.start()
            else:
                mean = server.capacity.mean(OPEN_SPAN)
                client.arrive(trial.chance, self.load * mean / server.mean / self.n)
        if self.last_joins:
            trial.clock.call_at(self.last_joins, trial.clients[-1].start)
        measures = trial.run()
        if self.change is not None:
            change = self.change
            measures["reconverge"] = server.reached(0.9 * self.level, change)
            measures["first_second"] = sum(change <= at < change + 1 for at in server.arrivals) / self.level
            measures["sheds_after"] = sum(change <= at < change + 10 for at in server.sheds)
        return measures

    def _jobs(self, server: Server) -> int:
        if not self.on_walk:
            return self.jobs
        return int(server.capacity.mean(self.jobs) * self.jobs / server.mean)


def fixed(slots: int) -> Callable[[random.Random], Capacity]:
    return lambda _: constant(slots)


def stepped(before: int, after: int, at: float = 20.0) -> Callable[[random.Random], Capacity]:
    return lambda _: step(before, after, at)


def walked(low: int, high: int) -> Callable[[random.Random], Capacity]:
    return lambda chance: walk(chance, low, high)


FAST = {"mean": 0.3}
VIDEO = {"mean": 60.0}
ALWAYS_5 = {"retry_after": lambda _: 5.0}
NEVER = {"retry_after": lambda _: None}

SCENARIOS: dict[str, Play] = {
    **{
        f"const K{slots} n{n}": Setup(fixed(slots), n, 100 * slots)
        for slots, n in ((32, 1), (32, 4), (32, 16), (1, 1), (1, 4), (4, 2), (256, 1), (256, 16))
    },
    "down 32>8 n1": Setup(stepped(32, 8), 1, 1600, change=20, level=8),
    "down 32>8 n4": Setup(stepped(32, 8), 4, 1600, change=20, level=8),
    "down 256>64 n4": Setup(stepped(256, 64), 4, 9600, change=20, level=64),
    "up 32>128 n1": Setup(stepped(32, 128), 1, 6400, change=20, level=128),
    "up 32>128 n4": Setup(stepped(32, 128), 4, 6400, change=20, level=128),
    "sine 32+-24 n4": Setup(lambda _: sine(32, 24), 4, 3200),
    "walk 4..64 n1": Setup(walked(4, 64), 1, 3200),
    "walk 4..64 n4": Setup(walked(4, 64), 4, 3200),
    "walk 32..384 n4": Setup(walked(32, 384), 4, 120, on_walk=True),
    "outage K32 n1": Setup(lambda _: outage(32), 1, 3200, change=40, level=32),
    "outage K32 n4": Setup(lambda _: outage(32), 4, 3200, change=40, level=32),
    "fast K32 n1": Setup(fixed(32), 1, 6400, FAST),
    "fast K32 n4": Setup(fixed(32), 4, 6400, FAST),
    "video K8 n2": Setup(fixed(8), 2, 800, VIDEO),
    "video step 8>32 n2": Setup(stepped(8, 32, 600), 2, 1600, VIDEO, change=600, level=32),
    "upload.5s K32 n4": Setup(fixed(32), 4, 3200, client={"upload": 0.5}),
    "RA5 K32 n4": Setup(fixed(32), 4, 3200, ALWAYS_5),
    "RA none K32 n4": Setup(fixed(32), 4, 3200, NEVER),
    "late joiner K16 n4": Setup(fixed(16), 4, 1600, last_joins=60),
    "vs 1 naive K32": Setup(fixed(32), 2, 3200, hammers=1),
    "open load.7 K32 n4": Setup(fixed(32), 4, 3200, load=0.7),
    "open walk n4": Setup(walked(4, 64), 4, 3200, load=0.95),
    "rtt250 K32 n4": Setup(fixed(32), 4, 3200, {"one_way": ROUND_TRIP_250}),
    "slow 429 0-1s n4": Setup(fixed(32), 4, 3200, {"late": 1.0}),
    "noise 5% K32 n1": Setup(fixed(32), 1, 3200, {"noise": 0.05}),
    "noise 20% K32 n1": Setup(fixed(32), 1, 3200, {"noise": 0.2}),
    "heavy tail n4": Setup(fixed(32), 4, 3200, {"sigma": 1.0}),
    "10000 queued K32": Setup(fixed(32), 1, 10_000),
}
