"""A minute in which the service refuses every connection, in the middle of a batch."""

from __future__ import annotations

import asyncio
import json
import tempfile
import time
from pathlib import Path

from prodia_async import Prodia
from prodia_async.batch import Progress, run_batch
from prodia_async.emulator import Emulator

JOBS = 2000


def measure(seconds: float) -> None:
    asyncio.run(_measure(seconds))


async def _measure(seconds: float) -> None:
    with tempfile.TemporaryDirectory(prefix="prodia-batches-") as name:
        manifest = Path(name, "jobs.jsonl")
        line = {"type": "emulator.bytes.v1", "config": {"size": 1000}}
        jobs = (json.dumps(line | {"custom_id": f"job-{number}"}) + "\n" for number in range(JOBS))
        manifest.write_text("".join(jobs), encoding="utf-8")
        emulator = Emulator(capacity=32, latency=0.1)
        await emulator.start()
        progress, pauses = Progress(), set()

        def follow(now: Progress) -> None:
            nonlocal progress
            progress = now
            pauses.add(now.paused)

        async def cut() -> Emulator:
            while progress.done < JOBS // 2:
                await asyncio.sleep(0.01)
            await emulator.aclose()
            await asyncio.sleep(seconds)
            port = int(address.rpartition(":")[2])
            other = Emulator(capacity=32, latency=0.1, port=port, token=emulator.token)
            await other.start()
            return other

        address, started = emulator.base_url, time.perf_counter()
        cutting = asyncio.create_task(cut())
        async with Prodia(base_url=address, token=emulator.token) as prodia:
            report = await run_batch(manifest, Path(name, "out"), prodia=prodia, on_progress=follow)
        taken = time.perf_counter() - started
        await (await cutting).aclose()
    print(f"{seconds:.0f} s without the service in the middle of {JOBS:,} jobs of 0.1 s, 32 slots")
    print(f"{report.done} done, {report.failed} failed, {report.requests} requests, {taken:.1f} s")
    print(f"paused: {'; '.join(sorted(pause for pause in pauses if pause)) or 'never'}")
    print(f"outcomes unknown: {report.uncertain_attempts}, each sent again")
