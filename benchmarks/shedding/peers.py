"""Clients without a limiter in the same world: a semaphore of 100, and the official JavaScript client's loop.

The semaphore's jobs are sent again at their Retry-After, for ever. The official loop starts all jobs at once
and gives a job up after 11 attempts that were shed.
"""

from __future__ import annotations

from scenarios import SCENARIOS
from trial import Measures, Trial
from world import Capacity, constant, outage, step

SEMAPHORE = 100
OFFICIAL_ATTEMPTS = 11

WORLDS: dict[str, tuple[Capacity, int]] = {
    "const K32 n1": (constant(32), 3200),
    "down 32>8 n1": (step(32, 8), 1600),
    "outage K32 n1": (outage(32), 3200),
}


def semaphore(name: str, seed: int) -> Measures:
    return _alone(name, seed, most=SEMAPHORE)


def official(name: str, seed: int) -> Measures:
    return _alone(name, seed, most=float("inf"), attempts=OFFICIAL_ATTEMPTS)


def limiter(name: str, seed: int) -> Measures:
    return SCENARIOS[name](seed)


def _alone(name: str, seed: int, *, most: float, attempts: int | None = None) -> Measures:
    trial = Trial(seed)
    capacity, jobs = WORLDS[name]
    trial.hammer(trial.server(capacity), jobs, most=most, attempts=attempts).start()
    return trial.run()


PEERS = {
    "prodia-async": limiter,
    f"semaphore of {SEMAPHORE}": semaphore,
    f"official loop, {OFFICIAL_ATTEMPTS} attempts": official,
}
