"""What the SDK adds to the floor: by jobs at once, by tasks that wait for the limiter, and over TLS."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import figures
import peers
from figures import Goal
from rounds import Bench, Case, Figures
from service import Service
from small import AT_ONCE, KB20, Scale, busy, each

RUNNING = (1, 32, 1_000)
WAITING = (1, 32, 1_000, 10_000)
WARM = 200


@dataclass(frozen=True)
class Row:
    """The SDK's case, and that of the floor which it is measured against."""

    service: Service
    sdk: Case
    floor: Case


def measure(bench: Bench, plain: Service, tls: Service, scale: Scale) -> list[Goal]:
    """Print a row for each case, all measured in turns; return the goals."""
    rows = {f"{number:,} at once": _running(plain, scale, number) for number in RUNNING}
    rows |= {f"{AT_ONCE} at once, {number:,} waiting": _waiting(plain, scale, number) for number in WAITING}
    rows["32 at once, TLS"] = _running(tls, scale, AT_ONCE)
    print(
        f"\nprodia-async, 20 KB output\n{'':28}{'CPU µs a job':>22}{'above the floor':>20}{'server busy':>13}"
    )
    own = []
    for name, (sdk, floor) in _turns(bench, rows, scale.rounds).items():
        added = figures.differences(each(sdk), each(floor))
        own.append(added.median)
        used = figures.spread(each(sdk)).text(0, 1e6)
        print(f"{name:28}{used:>22}{added.text(0, 1e6):>20}{busy([*sdk, *floor])}", flush=True)
    return [
        figures.alike("own overhead at 1, 32 and 1,000 at once", own[:3]),
        figures.alike("own overhead with none to 10,000 waiting", [own[1], *own[3:7]]),
        figures.alike("own overhead, plain and over TLS", [own[1], own[7]]),
    ]


def _running(service: Service, scale: Scale, number: int) -> Row:
    case = Case(KB20, scale.jobs, max(WARM, 2 * number), number)
    return Row(service, case, case)


def _waiting(service: Service, scale: Scale, number: int) -> Row:
    extra = ("--max-concurrency", str(AT_ONCE))
    sdk = Case(KB20, scale.jobs, WARM, AT_ONCE + number, extra=extra)
    return Row(service, sdk, Case(KB20, scale.jobs, WARM, AT_ONCE))


Pair = tuple[Sequence[Figures], Sequence[Figures]]


def _turns(bench: Bench, rows: dict[str, Row], rounds: int) -> dict[str, Pair]:
    """Return the figures of SDK and floor; rows of one and the same floor share it in each round."""
    sdk: dict[str, list[Figures]] = {name: [] for name in rows}
    floor: dict[str, list[Figures]] = {name: [] for name in rows}
    for _ in range(rounds):
        measured: dict[tuple[str, Case], Figures] = {}
        for name, row in rows.items():
            key = row.service.origin, row.floor
            if key not in measured:
                measured[key] = bench.measure(peers.FLOOR, row.floor, row.service)
            floor[name].append(measured[key])
            sdk[name].append(bench.measure(peers.SDK, row.sdk, row.service))
    return {name: (sdk[name], floor[name]) for name in rows}
