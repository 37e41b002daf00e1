"""Small jobs: CPU for each, beside the floor and other clients."""

from __future__ import annotations

import pathlib
from collections.abc import Sequence
from dataclasses import dataclass

import figures
import peers
from figures import Goal
from rounds import BUSY, Bench, Case, Figures
from service import Service

MIB = 1024 * 1024
AT_ONCE = 32
KB20, KB300 = 20_000, 300_000


@dataclass(frozen=True)
class Scale:
    """How much is measured: `jobs` with an output of 20 KB, of the fast clients, in each process."""

    jobs: int
    rounds: int


def compare(
    bench: Bench, service: Service, clients: Sequence[peers.Client], folder: pathlib.Path, scale: Scale
) -> list[Goal]:
    """Print a table for each of three sizes; return the goals."""
    content = folder / "input.bin"
    content.write_bytes(bytes(range(256)) * (MIB // 256))
    warm = 3 * AT_ONCE
    columns = {
        "20 KB output": (Case(KB20, scale.jobs, warm, AT_ONCE), 1.6),
        "300 KB output": (Case(KB300, scale.jobs // 2, warm, AT_ONCE), 1.25),
        "1 MiB in and out": (Case(MIB, scale.jobs // 5, warm, AT_ONCE, content), 1.0),
    }
    goals = []
    for name, (case, bound) in columns.items():
        found = bench.turns(clients, case, service, scale.rounds)
        _print(name, clients, found)
        if {"sdk", "floor"} <= found.keys():
            ratio = figures.ratios(each(found["sdk"]), each(found["floor"])).median
            goals.append(figures.at_most(f"{name}, CPU over the floor's", ratio, bound))
        if {"sdk", "by_hand"} <= found.keys():
            ratio = figures.ratios(each(found["sdk"]), each(found["by_hand"])).median
            goals.append(figures.at_most(f"{name}, CPU over aiohttp's by hand", ratio, 1.0))
    content.unlink()
    return goals


def each(rounds: Sequence[Figures]) -> list[float]:
    return [figure.each for figure in rounds]


def _print(name: str, clients: Sequence[peers.Client], found: dict[str, list[Figures]]) -> None:
    print(f"\n{name}, {AT_ONCE} at once")
    print(f"{'':26}{'CPU ms a job':>22}{'ratio to the floor':>22}{'jobs/s':>10}{'server busy':>13}")
    for client in clients:
        if client.name not in found:
            continue
        rounds = found[client.name]
        ratio = figures.ratios(each(rounds), each(found["floor"])).text() if "floor" in found else "-"
        print(
            f"{client.label:26}{figures.spread(each(rounds)).text(3, 1e3):>22}{ratio:>22}"
            f"{figures.spread([figure.rate for figure in rounds]).median:10,.0f}{busy(rounds)}",
            flush=True,
        )


def busy(rounds: Sequence[Figures]) -> str:
    most = max(figure.busy for figure in rounds)
    return f"{most:13.2f}{'  server-bound' if most > BUSY else ''}"
