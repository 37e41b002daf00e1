"""What importing costs: `import prodia_async` and `Prodia` beside `import aiohttp`, and the command's --help.

    python benchmarks/imports.py [--rounds 15]

Each figure is the median wall time of a fresh interpreter in milliseconds, less that of an empty one; the
variants take turns, so a slow spell of the machine hits all of them.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time

VARIANTS = {
    "empty interpreter": "pass",
    "import aiohttp": "import aiohttp",
    "import prodia_async": "import prodia_async",
    "from prodia_async import Prodia": "from prodia_async import Prodia",
    "prodia-async --help": "import sys; sys.argv[1:] = ['--help']; from prodia_async.cli import main; main()",
}
ENVIRONMENT = {
    **os.environ,
    "PYTHONDONTWRITEBYTECODE": "",
}  # compiling is no part of an installed package's import


def run(code: str) -> float:
    began = time.perf_counter()
    command = [sys.executable, "-c", code]
    subprocess.run(command, env=ENVIRONMENT, check=True, stdout=subprocess.DEVNULL, timeout=60)
    return (time.perf_counter() - began) * 1000


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=15)
    rounds = parser.parse_args().rounds
    times: dict[str, list[float]] = {name: [] for name in VARIANTS}
    for code in VARIANTS.values():
        run(code)
    for _ in range(rounds):
        for name, code in VARIANTS.items():
            times[name].append(run(code))
    empty = statistics.median(times["empty interpreter"])
    for name, values in times.items():
        above = 0.0 if name == "empty interpreter" else statistics.median(values) - empty
        print(f"{name:35} {statistics.median(values):7.1f} ms   {above:+7.1f} ms")
    pairs = zip(times["from prodia_async import Prodia"], times["import aiohttp"], strict=True)
    print(f"{'Prodia above aiohttp':35} {statistics.median(a - b for a, b in pairs):+7.1f} ms")


if __name__ == "__main__":
    main()
