"""What the SDK itself costs a job: CPU without a network, one job at a time and 32 at once.

    python benchmarks/own_cost.py [--jobs 20000] [--to FOLDER]

The transport answers at once with 1 KiB, which goes to memory or, with `--to`, into files. Printed are the
least and the median of windows of 32 jobs. To see where the time goes:

    py-spy record -o profile.svg -- python benchmarks/own_cost.py --jobs 60000
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
import time
from pathlib import Path

from prodia_async import Adaptive, Prodia

sys.path.append(str(Path(__file__).with_name("batches")))
from null import NullTransport

WINDOW = 32
WARM = 10  # windows


async def one_by_one(prodia: Prodia, first: int, to: str | None) -> None:
    for number in range(first, first + WINDOW):
        await prodia.run("inference.null.v1", {"prompt": "nothing"}, custom_id=f"{number}", to=to)


async def at_once(prodia: Prodia, first: int, to: str | None) -> None:
    numbers = range(first, first + WINDOW)
    await asyncio.gather(
        *(prodia.run("inference.null.v1", {"prompt": "nothing"}, custom_id=f"{n}", to=to) for n in numbers)
    )


async def main(jobs: int, to: str | None) -> None:
    limiter = Adaptive(max_concurrency=WINDOW, initial=WINDOW)
    async with Prodia(
        token="none", base_url="http://127.0.0.1:1", transport=NullTransport, limiter=limiter
    ) as prodia:
        done = 0
        for name, window in {"one at a time": one_by_one, "32 at once": at_once}.items():
            costs = []
            for _ in range(WARM + jobs // WINDOW // 2):
                began = time.process_time()
                await window(prodia, done, to)
                costs.append((time.process_time() - began) / WINDOW * 1e6)
                done += WINDOW
            least, median = min(costs[WARM:]), statistics.median(costs[WARM:])
            print(f"{name:14} {least:6.0f} µs a job at least, {median:6.0f} in the median", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--jobs", type=int, default=20_000)
    parser.add_argument("--to", help="folder for the outputs (default: they stay in memory)")
    given = parser.parse_args()
    asyncio.run(main(given.jobs, given.to))
