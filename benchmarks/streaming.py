"""What 1 GiB in and 1 GiB out cost: peak RSS above the connected client, and the longest stall of the loop.

    python benchmarks/streaming.py [--mib 1024] [--rounds 3] [--out FOLDER]

The server is the emulator in a process of its own. The client runs in a fresh process per measurement, sends
one small job first (so that the connection, TLS-free here, and all imports are paid for), and is then watched
by a timer of 1 ms in its own loop: the longest gap between two ticks beyond that is the stall. RSS is the
kernel's peak (VmHWM), reset after the small job. Run on Linux.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

MIB = 1024 * 1024
BLOCK = os.urandom(MIB)


def peak_rss() -> int:
    """Return the peak of this process's resident memory in bytes since the last reset."""
    for line in pathlib.Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise SystemExit("this benchmark reads /proc: run it on Linux")


class Stall:
    """The longest that the loop kept a 1 ms timer waiting, in seconds."""

    def __init__(self) -> None:
        self.longest = 0.0

    async def watch(self) -> None:
        while True:
            before = time.perf_counter()
            await asyncio.sleep(0.001)
            self.longest = max(self.longest, time.perf_counter() - before - 0.001)


async def client(direction: str, mib: int, folder: pathlib.Path) -> dict[str, float]:
    from prodia_async import Prodia  # noqa: PLC0415 - imports are paid for here, in the measured process

    async with Prodia() as prodia:
        await prodia.run("emulator.bytes.v1", {"size": 100_000}, to=folder / "warm.bin")
        pathlib.Path("/proc/self/clear_refs").write_text("5")  # resets VmHWM
        stall = Stall()
        watcher = asyncio.ensure_future(stall.watch())
        await asyncio.sleep(0.01)
        rss, cpu, wall = peak_rss(), time.process_time(), time.perf_counter()
        if direction == "out":
            result = await prodia.run("emulator.bytes.v1", {"size": mib * MIB}, to=folder / "big.bin")
            assert result.outputs[0].size == mib * MIB
        else:
            await prodia.run("inference.ping.v1", inputs=[folder / "input.bin"])
        watcher.cancel()
        return {
            "rss_mib": (peak_rss() - rss) / MIB,
            "stall_ms": stall.longest * 1000,
            "cpu_s": time.process_time() - cpu,
            "wall_s": time.perf_counter() - wall,
        }


SERVER = """
import asyncio, sys
from prodia_async.emulator import Emulator

async def main():
    async with Emulator(latency=0.0) as emulator:
        print(emulator.base_url, emulator.token, flush=True)
        await asyncio.to_thread(sys.stdin.read)

asyncio.run(main())
"""


def measure(direction: str, mib: int, folder: str, environment: dict[str, str]) -> dict[str, float]:
    command = [sys.executable, __file__, "--client", direction, "--mib", str(mib), "--out", folder]
    ended = subprocess.run(
        command, env=environment, stdout=subprocess.PIPE, text=True, check=True, timeout=300
    )
    return json.loads(ended.stdout)


def print_row(direction: str, rounds: list[dict[str, float]]) -> None:
    columns = {name: [row[name] for row in rounds] for name in rounds[0]}
    median = {name: statistics.median(values) for name, values in columns.items()}
    print(
        f"{direction:5} {median['rss_mib']:25.1f} ({max(columns['rss_mib']):.1f}) MiB"
        f" {median['stall_ms']:12.1f} ({max(columns['stall_ms']):.1f}) ms"
        f" {median['cpu_s']:6.2f} s {median['wall_s']:6.2f} s"
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--mib", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", help="folder for the files (default: a temporary one)")
    parser.add_argument("--client", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.client:
        print(json.dumps(asyncio.run(client(options.client, options.mib, pathlib.Path(options.out)))))
        return
    command = [sys.executable, "-c", SERVER]
    server = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        base_url, token = server.stdout.readline().split()
        environment = {**os.environ, "PRODIA_BASE_URL": base_url, "PRODIA_TOKEN": token}
        with tempfile.TemporaryDirectory(dir=options.out) as folder:
            with (pathlib.Path(folder) / "input.bin").open("wb") as file:
                for _ in range(options.mib):
                    file.write(BLOCK)
            print(f"{options.mib} MiB, {options.rounds} rounds, median (worst)")
            print(f"{'':5} {'peak RSS above the client':>38} {'longest stall':>22} {'CPU':>8} {'wall':>8}")
            for direction in ("in", "out"):
                print_row(
                    direction,
                    [measure(direction, options.mib, folder, environment) for _ in range(options.rounds)],
                )
    finally:
        server.stdin.close()
        server.wait(10)
        server.stdout.close()


if __name__ == "__main__":
    main()
