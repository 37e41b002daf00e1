"""Memory of jobs that wait for the limiter and of jobs in flight, each measured in a fresh process."""

from __future__ import annotations

import resource
import sys

import figures
from figures import Goal
from peers import CLIENTS
from rounds import Bench, Entry
from service import Service

KIB = 1024
WAITING, RUNNING = 10_000, 1_000
HELD_MS, ANSWERED_MS = 120_000, 4_000
SIZE = 20_000
WAITING_GOAL, RUNNING_GOAL = 6.0, 64.0  # KiB


def measure(bench: Bench, service: Service, rounds: int) -> list[Goal]:
    """Print what each job holds; return the goals."""
    if not sys.platform.startswith("linux"):
        print("\nmemory is read from /proc: this part is left out here")
        return []
    return _waiting(bench, service, rounds) + _running(bench, service, rounds)


def _waiting(bench: Bench, service: Service, rounds: int) -> list[Goal]:
    print(f"\nKiB for each of {WAITING:,} tasks\n{'':44}{'RSS':>20}{'traced by Python':>20}")
    found = {}
    for what, label in {
        "bare": "that await a future",
        "waiting": "that wait in run(), one in flight",
    }.items():
        rss, traced = [], []
        for _ in range(rounds):
            rss.append(_run(bench, service, what, WAITING, HELD_MS)["each"])
            traced.append(_run(bench, service, what, WAITING, HELD_MS, "--trace")["each"])
        found[what] = figures.spread(rss)
        told = [figures.spread(values).text(2, 1 / KIB) for values in (rss, traced)]
        print(f"{label:44}{told[0]:>20}{told[1]:>20}", flush=True)
    return [figures.at_most("a waiting run()", found["waiting"].median / KIB, WAITING_GOAL, " KiB")]


def _running(bench: Bench, service: Service, rounds: int) -> list[Goal]:
    told = [_run(bench, service, "flight", RUNNING, ANSWERED_MS) for _ in range(rounds)]
    peak, held = (figures.spread([each[name] for each in told]) for name in ("each", "held"))
    together = min(each["together"] for each in told)
    needed = max(each["descriptors"] for each in told)
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    print(f"\nKiB of RSS for each of {RUNNING:,} jobs in flight ({together:,} at once), {SIZE:,} bytes each")
    print(f"until the first is answered {held.text(1, 1 / KIB)}, at the peak {peak.text(1, 1 / KIB)}")
    print(f"open descriptors at the peak: {needed:,}; `ulimit -n` is {soft:,} and was left as it is")
    return [
        figures.at_most("a job in flight, at the peak", peak.median / KIB, RUNNING_GOAL, " KiB"),
        Goal(f"{RUNNING:,} in flight together", f"{together:,}", together >= RUNNING),
    ]


def _run(bench: Bench, service: Service, what: str, number: int, hold_ms: int, *extra: str) -> dict:
    command = [sys.executable, str(CLIENTS / "memory.py"), what, service.base_url(SIZE, hold_ms)]
    told = bench.run([*command, "--number", str(number), "--out", str(bench.out), *extra])
    case = {"number": number, "hold_ms": hold_ms, "extra": extra}
    bench.log.append(Entry(f"memory of {what}", case, told))
    return told
