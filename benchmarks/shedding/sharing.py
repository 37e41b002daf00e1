"""The limiter's scenarios: several job types under one cap, priorities, feeders, downloads.

As chosen here: the second type comes late, capacity goes and jobs are cancelled at 20 s; types that share a
cap have jobs in the ratio of their fair shares, so that both wait to the end; both types of a pair have a
service of their own with the parameters named; interactive jobs have priority 0, batch jobs 1; a feeder is
one per type, as `as_completed` feeds; a download's time is uniform on a logarithmic scale.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from scenarios import FAST, Play, Setup, fixed, stepped
from trial import SIMULATED_CAP, Measures, Trial
from world import Capacity, constant, step, walk

if TYPE_CHECKING:
    from clients import Client

LATE = 20.0  # seconds
SETTLED = 10.0  # seconds after which shares are measured


@dataclass(frozen=True)
class Kind:
    """A job type with its own service."""

    capacity: Capacity
    jobs: int
    server: dict[str, Any] = field(default_factory=dict)
    client: dict[str, Any] = field(default_factory=dict)
    at: float = 0.0

    def enter(self, trial: Trial, limiters: list[Any], key: str) -> list[Client]:
        server = trial.server(self.capacity, **self.server)
        each = self.jobs // len(limiters)
        clients = [trial.client(server, limiter, each, key=key, **self.client) for limiter in limiters]
        for client in clients:
            if self.at:
                trial.clock.call_at(self.at, client.start)
            else:
                client.start()
        return clients


@dataclass(frozen=True)
class Pair:
    """Two types in one limiter (or in each of several); `shares`: their fair slots while both wait."""

    a: Kind
    b: Kind
    cap: int
    shares: tuple[float, float] | None = None
    limiters: int = 1
    watch_b: float = math.inf  # how many slots the second type is to reach after LATE

    def __call__(self, seed: int) -> Measures:
        trial = Trial(seed)
        limiters = [trial.limiter(self.cap) for _ in range(self.limiters)]
        a = self.a.enter(trial, limiters, "a")
        b = self.b.enter(trial, limiters, "b")
        measures = trial.run()
        if self.watch_b < math.inf:
            measures["first"] = min(job.first_sent for client in b for job in client.jobs) - LATE
            measures["reconverge"] = b[0].server.reached(self.watch_b, LATE)
        if self.limiters * self.cap >= self.a.capacity.slots[0] + self.b.capacity.slots[0]:
            measures |= _each_alone(trial, a, b)
            return self._shares(trial, a, b) | measures
        return measures | self._shares(trial, a, b)

    def _shares(self, trial: Trial, a: list[Client], b: list[Client]) -> Measures:
        """Measure the time in which everybody waits."""
        end = min(max(job.first_sent for job in client.jobs) for client in (*a, *b))
        begin = max(self.a.at, self.b.at) + SETTLED
        if end <= begin:
            return {}
        out = [sum(trial.in_flight(client, begin, end) for client in side) for side in (a, b)]
        found = {"out_a": out[0], "out_b": out[1]}
        found["goodput"] = trial.goodput([a[0].server, b[0].server], 0.0, end)
        if self.shares is not None:
            pairs = zip(out, self.shares, strict=True)
            found["off_share"] = max(abs(got - share) / share for got, share in pairs)
        return found


def _each_alone(trial: Trial, *sides: list[Client]) -> Measures:
    """Measure types whose cap is no limit: each against its own service."""
    alone = [trial.measure(side, side) for side in sides]
    ideals = [each["seconds"] / each["span"] for each in alone]
    weights = [side[0].server.capacity.slots[0] for side in sides]
    goodputs = [each["goodput"] for each in alone]
    found = {
        "span": max(each["seconds"] for each in alone) / max(ideals),
        "goodput": sum(map(math.prod, zip(weights, goodputs, strict=True))) / sum(weights),
    }
    for name, each in zip("ab", alone, strict=False):
        found |= {f"{key}_{name}": each[key] for key in ("span", "goodput", "sheds")}
    return found


def without_span(measures: Measures) -> Measures:
    """Leave out what says nothing where the services are not kept busy to the end."""
    return {key: value for key, value in measures.items() if key != "span"}


def late(slots: int, cap: int, a: int, b: int, **client: Any) -> Pair:
    return late_with({}, slots, cap, a, b, **client)


def late_with(server: dict[str, Any], slots: int, cap: int, a: int, b: int, **client: Any) -> Pair:
    share = cap / 2
    first = Kind(constant(slots), a, server, client)
    second = Kind(constant(slots), b, server, client, LATE)
    return Pair(first, second, cap, (share, share), watch_b=0.9 * share)


def walks(seed: int) -> Measures:
    ways = [walk(random.Random(seed + offset), 4, 64) for offset in (1000, 2000)]
    return without_span(Pair(Kind(ways[0], 2400), Kind(ways[1], 2400), 48)(seed))


def loses_all(seed: int) -> Measures:
    trial = Trial(seed)
    limiter = trial.limiter(64)
    Kind(step(64, 0, LATE), 3200, client={"needed": False}).enter(trial, [limiter], "a")
    b = Kind(constant(64), 3200).enter(trial, [limiter], "b")[0]
    return {**without_span(trial.run()), "reconverge": b.server.reached(60, LATE)}


def cancelled(seed: int) -> Measures:
    trial = Trial(seed)
    limiter = trial.limiter(256)
    a = Kind(constant(256), 20_000, client={"needed": False}).enter(trial, [limiter], "a")[0]
    b = Kind(constant(200), 6000).enter(trial, [limiter], "b")[0]
    trial.clock.call_at(LATE, a.cancel)
    measures = trial.run()
    begin, end = LATE + 4, trial.almost_end([b])
    return {
        **without_span(measures),
        "goodput": trial.goodput([b.server], begin, end),
        "out_b": trial.in_flight(b, begin, begin + SETTLED),
        "sheds_after": sum(LATE <= at < begin for at in b.server.sheds),
    }


def dead(slots: int, cap: int, jobs: int, count: int = 1) -> Play:
    """Types without any capacity beside a healthy one."""

    def play(seed: int) -> Measures:
        trial = Trial(seed)
        limiter = trial.limiter(cap)
        gone = [
            Kind(constant(0), 200, client={"needed": False}).enter(trial, [limiter], f"dead{index}")[0]
            for index in range(count)
        ]
        Kind(constant(slots), jobs).enter(trial, [limiter], "a")
        measures = trial.run()
        requests = max(sum(at < 200 for at in client.server.arrivals) for client in gone)
        return {**measures, "dead_requests": requests, "dead_out": max(map(_most_out_after_zero, gone))}

    return play


def _most_out_after_zero(client: Client) -> int:
    """Return how many requests were out at once after the first time that none was."""
    out = most = 0
    was_zero = False
    changes = [change for begin, end in client.flights for change in ((begin, 1), (end, -1))]
    for _, change in sorted(changes):
        out += change
        most = max(most, out if was_zero else 0)
        was_zero |= out == 0
    return most


def mixed_manifest(seed: int) -> Measures:
    trial = Trial(seed)
    limiter = trial.limiter(256)
    Kind(constant(0), 1600, client={"ahead": 1024, "needed": False}).enter(trial, [limiter], "dead")
    healthy = Kind(constant(32), 1600, client={"ahead": 1024}).enter(trial, [limiter], "a")[0]
    return {**trial.run(), "done": healthy.done}


def hanging(seed: int) -> Measures:
    trial = Trial(seed)
    limiter = trial.limiter(64)
    hanging = Kind(constant(64), 3200, {"mean": 600.0, "sigma": 0.0}, {"needed": False})
    hanging.enter(trial, [limiter], "hangs")
    healthy = Kind(constant(64), 3200).enter(trial, [limiter], "a")[0]
    measures = trial.run()
    end = max(job.first_sent for job in healthy.jobs)
    return {**measures, "out_a": trial.in_flight(healthy, SETTLED, end)}


@dataclass(frozen=True)
class Interactive:
    """Two interactive jobs a second, whose waits are measured, beside a batch of 5,000."""

    cap: int
    types: int = 1
    n: int = 1
    walks: bool = False

    def __call__(self, seed: int) -> Measures:
        trial = Trial(seed)
        capacity = walk(random.Random(seed + 1000), 4, 64) if self.walks else constant(32)
        server = trial.server(capacity)
        other = server if self.types == 1 else trial.server(constant(32))
        interactive: list[Client] = []
        batch: list[Client] = []
        for _ in range(self.n):
            limiter = trial.limiter(self.cap)
            batch.append(trial.client(server, limiter, 5000 // self.n, priority=1))
            key = "a" if self.types == 1 else "b"
            interactive.append(trial.client(other, limiter, 10**9, key=key, needed=False))
            batch[-1].start()
            interactive[-1].arrive(trial.chance, 2 / self.n)
        measures = trial.run()
        if self.cap >= 2 * 32 and self.types > 1:
            measures["goodput"] = trial.measure(batch, batch)["goodput"]
        jobs = [job for client in interactive for job in client.jobs if job.ended_at >= 0]
        waits = sorted(job.sent - job.joined for job in jobs)
        return {
            **without_span(measures),
            "p50": waits[len(waits) // 2],
            "p99": waits[int(0.99 * len(waits))],
            "longest": waits[-1],
            "shed_share": sum(job.sheds > 0 for job in jobs) / len(jobs),
        }


def many_types(cap: int, jobs: int) -> Play:
    def play(seed: int) -> Measures:
        trial = Trial(seed)
        limiter = trial.limiter(cap)
        for index in range(50):
            Kind(constant(4), jobs).enter(trial, [limiter], f"type{index}")
        measures = trial.run()
        if cap < 50 * 4:
            return measures
        alone = [trial.measure([client], [client]) for client in trial.clients]
        return measures | {key: sum(each[key] for each in alone) / 50 for key in ("span", "goodput")}

    return play


def bursts(seed: int) -> Measures:
    """A burst of 2,000 jobs, 140 s of nothing, and 400 more when 8 of the 256 slots are left."""
    trial = Trial(seed)
    limiter = trial.limiter(256)
    server = trial.server(step(256, 8, 100.0))
    trial.client(server, limiter, 2000).start()
    second = trial.client(server, limiter, 400)
    trial.clock.call_at(160.0, second.start)
    measures = trial.run()
    end = sorted(job.ended_at for job in second.jobs)[379]
    goodput = trial.goodput([server], 160.0, end)
    return {**without_span(measures), "goodput": goodput, "sheds_b": second.sheds / second.wanted}


def fed(setup: Setup, ahead: int) -> Setup:
    return Setup(
        setup.capacity,
        setup.n,
        setup.jobs,
        setup.server,
        {"ahead": ahead},
        change=setup.change,
        level=setup.level,
        cap=256,
    )


STEP_UP = Setup(stepped(32, 128), 1, 6400, change=20, level=128)
STEP_UP_FAST = Setup(stepped(32, 128), 1, 16_000, FAST, change=20, level=128)
SHORT, SLOW_READER = (0.005, 0.5), (0.5, 8.0)  # seconds of download


def downloads(
    seconds: tuple[float, float], n: int = 1, *, at_headers: bool = False, mean: float = 2
) -> Setup:
    jobs = 3200 if mean > 1 else 6400
    return Setup(fixed(32), n, jobs, {"download": seconds, "free_at_headers": at_headers, "mean": mean})


SHARING: dict[str, Play] = {
    "K32 + K64, cap 256": Pair(Kind(constant(32), 3200), Kind(constant(64), 6400), 256),
    "K32 2 s + K16 0.3 s, cap 256": Pair(Kind(constant(32), 3200), Kind(constant(16), 3200, FAST), 256),
    "64 + 64, cap 64": Pair(Kind(constant(64), 3200), Kind(constant(64), 3200), 64, (32, 32)),
    "64 + 24, cap 64": Pair(Kind(constant(64), 4000), Kind(constant(24), 2400), 64, (40, 24)),
    "64 + 64, cap 64, 0.3 s + 20 s": Pair(
        Kind(constant(64), 21_333, FAST), Kind(constant(64), 320, {"mean": 20.0}), 64, (32, 32)
    ),
    "4 clients, cap 16, 48 + 48": Pair(
        Kind(constant(48), 3200), Kind(constant(48), 3200), 16, (32, 32), limiters=4
    ),
    "walks 4..64 twice, cap 48": walks,
    "late: A 800, B 40, cap 32, K200": late(200, 32, 800, 40),
    "late: A, B 3200, K64, cap 64": late(64, 64, 3200, 3200),
    "late: A, B 6400, K256, cap 256": late(256, 256, 6400, 6400),
    "late: 0.3 s, K64, cap 64": late_with(FAST, 64, 64, 8000, 3200),
    "late: 20 s, K64, cap 64": late_with({"mean": 20.0}, 64, 64, 800, 800),
    "late: through feeders": late(64, 64, 3200, 3200, ahead=256),
    "A loses all capacity, cap 64": loses_all,
    "A's 20,000 cancelled, B K200": cancelled,
    "K0 beside K32, cap 64": dead(32, 64, 3200),
    "K0 beside K64, cap 32": dead(64, 32, 3200),
    "20 dead types beside K64, cap 16": dead(64, 16, 1600, 20),
    "mixed K0/K32, feeder per type": mixed_manifest,
    "a type that hangs, cap 64": hanging,
    "interactive, one type, cap 256": Interactive(256),
    "interactive, one type, cap 24": Interactive(24),
    "interactive, two types, cap 256": Interactive(256, 2),
    "interactive, two types, cap 24": Interactive(24, 2),
    "interactive, one type, n4": Interactive(SIMULATED_CAP, n=4),
    "interactive, walk 4..64, n4": Interactive(SIMULATED_CAP, n=4, walks=True),
    "50 types x 8, K4, cap 256": many_types(256, 8),
    "50 types x 20, K4, cap 16": many_types(16, 20),
    "K32 n1, feeder 1024": fed(Setup(fixed(32), 1, 3200), 1024),
    "K32 n4, feeder 1024": fed(Setup(fixed(32), 4, 3200), 1024),
    **{f"32>128, feeder {ahead}": fed(STEP_UP, ahead) for ahead in (1024, 256, 64)},
    **{f"32>128, 0.3 s, feeder {ahead}": fed(STEP_UP_FAST, ahead) for ahead in (1024, 512, 256)},
    "download, free at last byte": downloads(SHORT),
    "download, free at headers": downloads(SHORT, at_headers=True),
    "download, 0.3 s, at last byte": downloads(SHORT, mean=0.3),
    "download, 0.3 s, at headers": downloads(SHORT, at_headers=True, mean=0.3),
    "slow reader, at last byte": downloads(SLOW_READER),
    "slow reader, at headers": downloads(SLOW_READER, at_headers=True),
    "download, n4, at last byte": downloads(SHORT, 4),
    "download, n4, at headers": downloads(SHORT, 4, at_headers=True),
    "burst, 140 s idle, burst, K 256>8": bursts,
}
