"""The limiter's scenarios of fair shares: clients that join late, web workers, types that share a capacity.

As chosen here: everybody has jobs to the end, 200 job times after the last one joined; "one by one" is ten
job times apart, the other late ones come after 60 job times; a late client has half its fair share when its
jobs in flight are as many on average over four job times. Web workers' jobs are a Poisson stream. Types share
one service, or have one each; `jobs` is of each type.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from scenarios import FAST, Play
from sharing import Kind
from trial import SIMULATED_CAP, Measures, Trial, jain
from world import constant, overlap

if TYPE_CHECKING:
    from clients import Client

AFTER = 200.0  # job times that the world goes on after the last client has joined
WINDOW = 4.0  # job times over which a newcomer's share is measured
BY_ONE, LATE = 10.0, 60.0  # job times


@dataclass(frozen=True)
class Joining:
    """`n` clients on a service of `slots`, the last one late, or each after the one before."""

    slots: int
    n: int
    mean: float = 2.0
    one_by_one: bool = False
    server: dict[str, Any] = field(default_factory=dict)

    def __call__(self, seed: int) -> Measures:
        trial = Trial(seed)
        server = trial.server(constant(self.slots), mean=self.mean, **self.server)
        gap = BY_ONE * self.mean
        joins = [index * gap for index in range(self.n)]
        if not self.one_by_one:
            joins = [0.0] * (self.n - 1) + [LATE * self.mean]
        end = joins[-1] + AFTER * self.mean
        clients = []
        for at in joins:
            jobs = int(1.2 * self.slots * (end - at) / self.mean)
            clients.append(trial.client(server, trial.limiter(), jobs))
            trial.clock.call_at(at, clients[-1].start)
        trial.run_until(end)
        done = [
            sum(job.ended_at > joins[-1] for job in client.jobs if job.ended_at >= 0) for client in clients
        ]
        return {
            "goodput": trial.goodput([server], 0.0, end),
            "sheds": sum(client.sheds for client in clients) / sum(client.done for client in clients),
            "jain": jain(done),
            "half": self._half(trial, clients[-1], joins[-1], end),
            **trial.checks(),
        }

    def _half(self, trial: Trial, client: Client, joined: float, end: float) -> float:
        """Return the job times after which a client had half its fair share."""
        window = WINDOW * self.mean
        flights = client.flights + [(job.sent, end) for job in client.jobs if job.open]
        at = joined + window
        while at < end:
            inside = [flight for flight in flights if flight[1] > at - window and flight[0] < at]
            if overlap(inside, at - window, at) / window >= 0.5 * self.slots / self.n:
                break
            at += self.mean / 2
        return (at - joined) / self.mean


@dataclass(frozen=True)
class Workers:
    """Web workers, each with a process of its own, at a load of the service."""

    slots: int
    n: int
    load: float
    jobs: int

    def __call__(self, seed: int) -> Measures:
        trial = Trial(seed)
        server = trial.server(constant(self.slots))
        clients = [trial.client(server, trial.limiter(), self.jobs) for _ in range(self.n)]
        for client in clients:
            client.arrive(trial.chance, self.load * self.slots / server.mean / self.n)
        measures = trial.run()
        waits = [sorted(job.sent - job.joined for job in client.jobs) for client in clients]
        del measures["span"]
        return measures | {"p95": max(each[int(0.95 * len(each))] for each in waits)}


@dataclass(frozen=True)
class Types:
    """Job types of one client; `jobs`: how many of each."""

    slots: int
    jobs: tuple[int, ...]
    server: dict[str, Any] = field(default_factory=dict)
    separate: bool = False

    def __call__(self, seed: int) -> Measures:
        trial = Trial(seed)
        limiter = trial.limiter(SIMULATED_CAP)
        if self.separate:
            for index, jobs in enumerate(self.jobs):
                Kind(constant(self.slots), jobs, self.server).enter(trial, [limiter], f"type{index}")
        else:
            server = trial.server(constant(self.slots), **self.server)
            for index, jobs in enumerate(self.jobs):
                trial.client(server, limiter, jobs, key=f"type{index}").start()
        measures = trial.run()
        coupled = sum(len(each.shares) for each in limiter.stats().values()) / len(self.jobs)
        return measures | {"coupled": coupled}


HALF_SECOND = {"mean": 0.5}
EQUAL_JOBS = {"sigma": 0.0, "one_way": 0.001, "retry_after": lambda _: 1.0}  # as over sockets on one machine

FAIRNESS: dict[str, Play] = {
    "late joiner K32 n4": Joining(32, 4),
    "late joiner K32 n16": Joining(32, 16),
    "late joiner K16 n2": Joining(16, 2),
    "one by one K16 n4, 8 s": Joining(16, 4, 8.0, one_by_one=True),
    "late joiner K8 n2, 60 s": Joining(8, 2, 60.0),
    "equal jobs K16 n2, 0.2 s": Joining(16, 2, 0.2, server=EQUAL_JOBS),
    "equal jobs K16 n4, 2 s": Joining(16, 4, server=EQUAL_JOBS),
    "web workers K16 n4, load .95": Workers(16, 4, 0.95, 1500),
    "5 types on K32": Types(32, (640,) * 5),
    "20 types on K32": Types(32, (160,) * 20),
    "demo: 120/72/4/4 on K8, 0.5 s": Types(8, (120, 72, 4, 4), HALF_SECOND),
    "shared K8, 0.5 s, 5 x 40": Types(8, (40,) * 5, HALF_SECOND),
    "shared K16, 5 x 60": Types(16, (60,) * 5),
    "shared K32, 10 x 100": Types(32, (100,) * 10),
    "one type K8, 0.5 s, 200": Types(8, (200,), HALF_SECOND),
    "separate K32, 5 x 200": Types(32, (200,) * 5, separate=True),
    "separate K32, 5 x 64": Types(32, (64,) * 5, separate=True),
    "separate K8, 0.5 s, 2 x 40": Types(8, (40,) * 2, HALF_SECOND, separate=True),
    "separate K32, 0.3 s, 4 x 300": Types(32, (300,) * 4, FAST, separate=True),
    "separate K32, 2 x 3200": Types(32, (3200,) * 2, separate=True),
}
