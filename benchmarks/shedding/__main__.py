"""How well the limiter follows the service's capacity, in simulated time, beside its goals.

    python benchmarks/shedding [--quick] [--only NAME]

Each scenario drives the package's own limiter and turns through ten seeds (--quick: three) on all
cores; --only runs the scenarios whose name contains NAME. Printed is the mean (worst) over the seeds. The
status is 1 if a limit is missed without a reason in limits.py.
"""

from __future__ import annotations

import argparse
import functools
import multiprocessing
import sys
import time
from collections import defaultdict
from typing import TYPE_CHECKING

from fairness import FAIRNESS
from limits import FAIRNESS_LIMITS, LIMITS, SHARING_LIMITS
from peers import PEERS, WORLDS
from public import PUBLIC
from report import fairness_table, limits_table, peers_table, sharing_table, table
from scenarios import SCENARIOS, Play
from sharing import SHARING

if TYPE_CHECKING:
    from trial import Measures

ALONE: dict[str, Play] = {
    f"{peer}: {world}": functools.partial(play, world) for world in WORLDS for peer, play in PEERS.items()
}
PLAYS: dict[str, Play] = {**FAIRNESS, **SHARING, **SCENARIOS, **PUBLIC, **ALONE}


def play(task: tuple[str, int]) -> tuple[str, int, Measures]:
    name, seed = task
    return name, seed, PLAYS[name](seed)


def run_all(names: list[str], seeds: int) -> dict[str, list[Measures]]:
    """Run every scenario with every seed; the results come in the order of the seeds."""
    tasks = [(name, seed) for name in names for seed in range(1, seeds + 1)]
    found: dict[str, dict[int, Measures]] = defaultdict(dict)
    with multiprocessing.Pool() as workers:
        for name, seed, measures in workers.imap_unordered(play, tasks):
            found[name][seed] = measures
    return {name: [by_seed[seed] for seed in sorted(by_seed)] for name, by_seed in found.items()}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="three seeds instead of ten")
    parser.add_argument("--only", default="", metavar="NAME", help="scenarios whose name contains this")
    options = parser.parse_args()
    names = [name for name in PLAYS if options.only in name]
    if not names:
        parser.error(f"no scenario's name contains {options.only!r}; there are: {', '.join(PLAYS)}")
    began = time.perf_counter()
    runs = run_all(names, 3 if options.quick else 10)
    table("The limiter's scenarios", runs, SCENARIOS)
    sharing_table(runs, SHARING)
    fairness_table(runs, FAIRNESS)
    table("The same through the public as_completed", runs, PUBLIC)
    unexplained = limits_table("Limits", runs, LIMITS)
    unexplained += limits_table("The shared slots' limits", runs, SHARING_LIMITS)
    unexplained += limits_table("Limits of fair shares", runs, FAIRNESS_LIMITS)
    peers_table(runs)
    print(f"\n{len(names)} scenarios in {time.perf_counter() - began:.0f} s")
    if unexplained:
        sys.exit(f"{unexplained} limits missed without a reason")


if __name__ == "__main__":
    main()
