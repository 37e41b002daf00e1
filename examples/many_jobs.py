"""Many pictures, each told of as it is there. Without PRODIA_BASE_URL: on a local emulator."""

from __future__ import annotations

import asyncio
import os
import sys

from prodia_async import Job, Prodia
from prodia_async.emulator import Emulator

TYPE = "inference.flux-fast.schnell.txt2img.v2"


async def main() -> None:
    """Run on the service if the environment names it, else on an emulator with few slots."""
    if "PRODIA_BASE_URL" in os.environ:
        async with Prodia() as prodia:
            await draw(prodia)
    else:
        async with (
            Emulator(capacity=4, latency=0.1) as emulator,
            Prodia(base_url=emulator.base_url, token=emulator.token) as prodia,
        ):
            await draw(prodia)


async def draw(prodia: Prodia) -> None:
    """Draw one picture for each hour, named by it."""
    jobs = (Job(TYPE, {"prompt": f"a harbour at {h}:00"}, custom_id=f"harbour-{h:02}") for h in range(24))
    folder = sys.argv[1] if len(sys.argv) > 1 else "out/harbour"
    async with prodia.as_completed(jobs, to=folder) as outcomes:
        async for outcome in outcomes:
            print(outcome.result.outputs[0].path if outcome.result else outcome.error)
    print(f"{prodia.stats().shed} requests were shed, and no job was lost")


if __name__ == "__main__":
    asyncio.run(main())
