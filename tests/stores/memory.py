"""One large output into a bucket, or input out of it, in a process of its own, which prints what it took.

memory.py out|in MIB URL: prints bytes above the RSS of the connected client.
"""

from __future__ import annotations

import asyncio
import pathlib
import re
import sys

from prodia_async import Prodia


def peak_rss() -> int:
    """Return the peak of the resident memory in bytes, since it was last reset."""
    found = re.search(r"VmHWM:\s*(\d+) kB", pathlib.Path("/proc/self/status").read_text())
    return int(found[1]) * 1024


async def main(way: str, size: int, url: str) -> None:
    async with Prodia() as prodia:
        await prodia.run("emulator.bytes.v1", {"size": 100_000}, to=f"{url}/", custom_id="warm")
        if way == "in":
            await prodia.run("emulator.bytes.v1", {"size": size}, to=f"{url}/", custom_id="large")
        pathlib.Path("/proc/self/clear_refs").write_text("5")  # resets the peak
        before = peak_rss()
        if way == "out":
            result = await prodia.run("emulator.bytes.v1", {"size": size}, to=f"{url}/", custom_id="large")
            assert result.outputs[0].size == size
        else:
            await prodia.run("inference.ping.v1", inputs=[f"{url}/large.bin"])
        sys.stdout.write(f"{peak_rss() - before}\n")


asyncio.run(main(sys.argv[1], int(sys.argv[2]) << 20, sys.argv[3]))
