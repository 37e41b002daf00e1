"""One picture from words, then another from that picture. Without PRODIA_BASE_URL: on a local emulator."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

from prodia_async import Prodia
from prodia_async.emulator import Emulator


async def main() -> None:
    """Run on the service if the environment names it."""
    if "PRODIA_BASE_URL" in os.environ:
        async with Prodia() as prodia:
            await paint(prodia)
    else:
        async with Emulator() as emulator, Prodia(base_url=emulator.base_url, token=emulator.token) as prodia:
            await paint(prodia)


async def paint(prodia: Prodia) -> None:
    """Make explorer.png, and from it a picture in the folder painted/."""
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "out")
    explorer = {"prompt": "grainy photograph of a space explorer"}
    first = await prodia.run("inference.flux-fast.schnell.txt2img.v2", explorer, to=folder / "explorer.png")
    second = await prodia.run(
        "inference.flux.schnell.img2img.v1",
        {"prompt": "as an oil painting", "image": "explorer.png"},
        inputs=[folder / "explorer.png"],
        to=folder / "painted",
    )
    print(first.outputs[0].path, second.outputs[0].path, sep="\n")


if __name__ == "__main__":
    asyncio.run(main())
