"""One large job in a process of its own, which prints the peak of its RSS above that of the connected client.

memory_client.py in|out MIB FOLDER
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


async def main(direction: str, size: int, folder: pathlib.Path) -> None:
    async with Prodia() as prodia:
        await prodia.run("emulator.bytes.v1", {"size": 100_000}, to=folder / "warm.bin")
        pathlib.Path("/proc/self/clear_refs").write_text("5")  # resets the peak
        before = peak_rss()
        if direction == "out":
            result = await prodia.run("emulator.bytes.v1", {"size": size}, to=folder / "big.bin")
            assert result.outputs[0].size == size
        else:
            await prodia.run("inference.ping.v1", inputs=[folder / "input.bin"])
        sys.stdout.write(f"{peak_rss() - before}\n")


asyncio.run(main(sys.argv[1], int(sys.argv[2]) << 20, pathlib.Path(sys.argv[3])))
