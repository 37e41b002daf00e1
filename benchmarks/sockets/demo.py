"""The demo's jobs, with bytes in place of pictures: types of one client that share one capacity.

Ideal is the time in which the slots, all in use, would have run the jobs: as the emulator measured these.
"""

from __future__ import annotations

import asyncio
import json
import pathlib
import statistics

import clients
from goals import Goal
from service import Service, Setting, running

from prodia_async import Job, Prodia

MANIFEST = pathlib.Path(__file__).parents[2] / "examples" / "demo.jsonl"
SETTING = Setting(capacity=8, latency=0.5)
LONGEST = 120.0
MOST = 1.12


def jobs() -> list[Job]:
    types = [json.loads(line)["type"] for line in MANIFEST.read_text(encoding="utf-8").splitlines()]
    numbers = {job_type: number for number, job_type in enumerate(dict.fromkeys(types))}
    return [Job(f"emulator.bytes.{numbers[job_type]}", {"size": 1024}) for job_type in types]


async def run(service: Service, listed: list[Job]) -> clients.Run:
    async with Prodia(base_url=service.base_url, token=service.token) as prodia:
        found = clients.Run()
        async with prodia.as_completed(listed) as outcomes:
            async for outcome in outcomes:
                found.count(outcome.result is not None)
        return found


def main(rounds: int) -> list[Goal]:
    listed = jobs()
    types = len({job.type for job in listed})
    print(
        f"the demo: {len(listed)} jobs of {types} types, {SETTING.capacity} slots, {SETTING.latency} s a job"
    )
    print("  done    requests   shed   makespan/ideal")
    spans, lost = [], 0
    for _ in range(rounds):
        with running(SETTING) as service:
            found = asyncio.run(asyncio.wait_for(run(service, listed), LONGEST))
            account = service.account()
        spans.append(found.makespan * SETTING.capacity / account.busy)
        lost += len(listed) - len(found.done)
        print(f"  {len(found.done):4} {account.requests:11} {account.shed:6} {spans[-1]:16.2f}", flush=True)
    span = statistics.median(spans)
    return [
        Goal("the demo: no job lost", str(lost), lost == 0),
        Goal(f"the demo: makespan/ideal at most {MOST:g}", f"{span:.3f}", span <= MOST),
    ]
