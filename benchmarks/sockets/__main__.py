"""The limiter over real sockets: what it makes of a service that sheds load, beside what other clients make.

    python benchmarks/sockets [--only herd|share|steps|demo] [--rounds 3] [--pictures docs/pictures]

The service is the emulator in a process of its own; the client has nothing configured. `herd`: 200 jobs at
once against 5 slots. `share`: two client processes, and four, run once, and a picture. `steps`: a capacity
that drops and rises, run once, and its picture. `demo`: 200 jobs of five types at a capacity of 8. Requests
and sheds are the emulator's own count. Exit status 1 where a goal is missed.
"""

from __future__ import annotations

import argparse
import pathlib
import platform
import sys

import aiohttp
import demo
import herd
import share
import steps

import prodia_async

PICTURES = pathlib.Path(__file__).parents[2] / "docs" / "pictures"


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", choices=["herd", "share", "steps", "demo"])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--pictures", type=pathlib.Path, default=PICTURES)
    options = parser.parse_args()
    scenarios = {
        "herd": lambda: herd.main(options.rounds),
        "share": lambda: share.main(options.pictures / "sharing.png"),
        "steps": lambda: steps.main(options.pictures / "capacity.png"),
        "demo": lambda: demo.main(options.rounds),
    }
    versions = f"Python {platform.python_version()}, aiohttp {aiohttp.__version__}"
    print(f"prodia-async {prodia_async.__version__}, {versions}, emulator on loopback")
    missed = False
    for name, run in scenarios.items():
        if options.only in (None, name):
            print()
            goals = run()
            print(*goals, sep="\n", flush=True)
            missed = missed or not all(goal.met or goal.known for goal in goals)
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
