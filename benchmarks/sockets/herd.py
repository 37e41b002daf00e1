"""200 jobs at once against 5 slots, beside other clients, and with slots that free with the last byte."""

from __future__ import annotations

import asyncio
import statistics
from dataclasses import dataclass, replace

import clients
from goals import Goal
from service import Setting, running

COUNT = 200
PLAIN = Setting(capacity=5, latency=0.2)
SLOW_TO_FREE = replace(PLAIN, free_at="end", output_bytes=1024 * 1024)
IDEAL = COUNT * PLAIN.latency / PLAIN.capacity
LONGEST = 120.0  # seconds for one run

AS_COMPLETED = "prodia-async, as_completed"
GATHER = "prodia-async, gather of run()"
FREE_AT_END = "  slot free at the end, 1 MiB"
ROWS: dict[str, tuple[clients.Client, Setting]] = {
    AS_COMPLETED: (clients.as_completed, PLAIN),
    GATHER: (clients.gather, PLAIN),
    FREE_AT_END: (clients.as_completed, SLOW_TO_FREE),
    "JavaScript client, 10 retries": (clients.javascript, PLAIN),
    "openai-style, 2 retries": (clients.openai_style, PLAIN),
    "Semaphore(100), endless": (clients.semaphore, PLAIN),
}


@dataclass(frozen=True)
class Figures:
    done: float
    requests: float
    shed: float
    makespan: float


def measure(client: clients.Client, setting: Setting) -> Figures:
    with running(setting) as service:
        run = asyncio.run(asyncio.wait_for(client(service, COUNT, setting.output_bytes), LONGEST))
        account = service.account()
    return Figures(len(run.done), account.requests, account.shed, run.makespan)


def main(rounds: int) -> list[Goal]:
    measured: dict[str, list[Figures]] = {name: [] for name in ROWS}
    for _ in range(rounds):
        for name, (client, setting) in ROWS.items():
            measured[name].append(measure(client, setting))
    print(
        f"{COUNT} jobs at once, {PLAIN.capacity} slots, {PLAIN.latency} s a job, "
        f"Retry-After: {PLAIN.retry_after:g}; median of {rounds} (worst)"
    )
    print(f"{'':31} {'done':>11} {'requests':>13} {'shed':>13} {'makespan':>17} {'of ideal':>9}")
    for name, figures in measured.items():
        print(f"{name:31} {_row(figures)}")
    ours = [figures for name in (AS_COMPLETED, GATHER, FREE_AT_END) for figures in measured[name]]
    lost = COUNT - min(figures.done for figures in ours)
    goals = [Goal("no job lost", f"{lost:g}", lost == 0)]
    for name in (AS_COMPLETED, GATHER):
        span, shed = _median(measured[name], "makespan") / IDEAL, _median(measured[name], "shed")
        goals.append(Goal(f"{name}: makespan/ideal at most 1.15", f"{span:.3f}", span <= 1.15))
        goals.append(Goal(f"{name}: fewer than 60 shed", f"{shed:g}", shed < 60))
    ratio = _median(measured[FREE_AT_END], "shed") / max(1, _median(measured[AS_COMPLETED], "shed"))
    goals.append(Goal("slot free at the end: at most twice the sheds", f"{ratio:.2f} times", ratio <= 2))
    return goals


def _median(figures: list[Figures], name: str) -> float:
    return statistics.median(getattr(one, name) for one in figures)


def _row(figures: list[Figures]) -> str:
    least = min(one.done for one in figures)
    row = f"{_median(figures, 'done'):4g} {f'({least:g})':>6}"
    for name in ("requests", "shed"):
        worst = max(getattr(one, name) for one in figures)
        row += f" {_median(figures, name):6g} {f'({worst:g})':>6}"
    makespan = _median(figures, "makespan")
    row += f" {makespan:7.1f} s {f'({max(one.makespan for one in figures):.1f})':>7}"
    return f"{row} {'lost jobs' if least < COUNT else f'{makespan / IDEAL:9.2f}'}"
