"""One large output to a file and one large input from a file: CPU, memory, and the longest stall of the loop.

Each client has been connected by one small job before. Stalls are measured in rounds of their own, by a timer
of 1 ms in the client's loop: what it was late by at most. curl's memory is that of its whole process. Clients
that hold the whole body, several times over, run once: they take up to 6 GB of memory.
"""

from __future__ import annotations

import pathlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

import figures
import peers
from figures import Goal
from rounds import BUSY, Bench, Case, Figures
from service import Service

MIB = 1024 * 1024
BLOCK = bytes(range(256)) * (MIB // 256)
STALL = 0.020  # seconds
RSS = 32 * MIB

Found = dict[str, list[Figures]]


@dataclass(frozen=True)
class Trial:
    """`clients` run in every round; `others` run once."""

    bench: Bench
    service: Service
    clients: Sequence[peers.Client]
    others: Sequence[peers.Client]
    rounds: int

    def direction(self, name: str, case: Case) -> list[Goal]:
        """Print the table of one direction; return its goals."""
        found = self.bench.turns(self.clients, case, self.service, self.rounds)
        found |= self.bench.turns(self.others, case, self.service, 1)
        watched = replace(case, extra=("--stall",))
        stalls = self.bench.turns([peers.SDK, peers.BY_HAND], watched, self.service, self.rounds)
        _print(name, [*self.clients, *self.others], found, stalls)
        return _goals(name, found, stalls, 1.7 if case.input is None else 1.5)


def measure(trial: Trial, folder: pathlib.Path, mib: int) -> list[Goal]:
    """Measure both directions; return the goals."""
    goals = trial.direction(f"{mib} MiB out", Case(mib * MIB, 1, 1, 1, small_warm_up=True))
    content = folder / "input.bin"
    try:
        with content.open("wb") as file:
            for _ in range(mib):
                file.write(BLOCK)
        case = Case(20_000, 1, 1, 1, content, small_warm_up=True)
        return goals + trial.direction(f"{mib} MiB in", case)
    finally:
        content.unlink(missing_ok=True)


def _print(name: str, clients: Sequence[peers.Client], found: Found, stalls: Found) -> None:
    print(f"\n{name}, median (worst)")
    print(
        f"{'':26}{'CPU s':>14}{'to curl':>9}{'to by hand':>12}{'wall s':>14}"
        f"{'peak RSS MiB':>18}{'stall ms':>16}{'server busy':>13}"
    )
    for client in clients:
        if client.name not in found:
            continue
        rounds = found[client.name]
        stalled = [figure.stall for figure in stalls.get(client.name, [])]
        memory = [figure.rss for figure in rounds]
        busy = max(figure.busy for figure in rounds)
        print(
            f"{client.label:26}{_worst([figure.cpu for figure in rounds], 2):>14}"
            f"{_ratio(found, client.name, 'curl'):>9}{_ratio(found, client.name, 'by_hand'):>12}"
            f"{_worst([figure.wall for figure in rounds], 2):>14}{_worst(memory, 1, 1 / MIB):>18}"
            f"{_worst(stalled, 1, 1e3):>16}{busy:13.2f}{'  server-bound' if busy > BUSY else ''}",
            flush=True,
        )


def _worst(values: Sequence[float | None], digits: int, factor: float = 1.0) -> str:
    known = [value * factor for value in values if value is not None]
    if not known:
        return "-"
    found = figures.spread(known)
    worst = f" ({found.most:,.{digits}f})" if len(known) > 1 else ""
    return f"{found.median:,.{digits}f}{worst}"


def _ratio(found: Found, name: str, other: str) -> str:
    return f"{_ratio_of(found, name, other):.2f}" if other in found else "-"


def _ratio_of(found: Found, name: str, other: str) -> float:
    mine, its = ([figure.cpu for figure in found[each]] for each in (name, other))
    return figures.ratios(mine, its[: len(mine)]).median


def _goals(name: str, found: Found, stalls: Found, to_curl: float) -> list[Goal]:
    goals = []
    if "sdk" not in found:
        return goals
    if "curl" in found:
        goals.append(figures.at_most(f"{name}, CPU over curl's", _ratio_of(found, "sdk", "curl"), to_curl))
    if "by_hand" in found and to_curl == 1.7:
        goals.append(
            figures.at_most(f"{name}, CPU over aiohttp by hand", _ratio_of(found, "sdk", "by_hand"), 1)
        )
    memory = [figure.rss for figure in found["sdk"] if figure.rss is not None]
    if memory:
        goals.append(figures.at_most(f"{name}, peak RSS", max(memory) / MIB, RSS / MIB, " MiB"))
    if "sdk" in stalls:
        longest = max(figure.stall for figure in stalls["sdk"])
        goals.append(figures.at_most(f"{name}, longest stall", longest * 1e3, STALL * 1e3, " ms"))
    return goals
