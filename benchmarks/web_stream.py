"""What 1 GiB costs on its way through a web server: the examples' FastAPI and aiohttp apps, at full speed.

    python benchmarks/web_stream.py [--mib 1024] [--rounds 3] [--rate MIB]

The emulator, the web server and the reader are three processes; the reader throws away what it reads, with
`--rate` no faster than so many MiB a second. The row "direct" reads from the emulator without a web server
between: the ratio is to that, from the same round. CPU is the web server's own; RSS is its kernel peak
(VmHWM) above where it stood before the picture, reset after a small one. Uvicorn takes uvloop and httptools
where they are installed. Run on Linux, with fastapi and uvicorn installed.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import importlib.metadata
import json
import os
import pathlib
import platform
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator

MIB = 1024 * 1024
EXAMPLES = pathlib.Path(__file__).parents[1] / "examples"
EMULATOR = """
import asyncio, sys
from prodia_async.emulator import Emulator

async def main():
    async with Emulator(latency=0.0) as emulator:
        print("Running on", emulator.base_url, flush=True)
        await asyncio.Event().wait()

asyncio.run(main())
"""
TOKEN = "emulator-token"
COMMANDS = {
    "direct": ["-c", EMULATOR],
    "fastapi": ["-m", "uvicorn", "fastapi_app:app", "--app-dir", str(EXAMPLES), "--port", "0"],
    "aiohttp": [str(EXAMPLES / "aiohttp_app.py"), "0"],
}
PACKAGES = ("aiohttp", "fastapi", "starlette", "uvicorn", "h11", "httptools", "uvloop")


@contextlib.contextmanager
def running(name: str, environment: dict[str, str]) -> Iterator[tuple[int, int]]:
    """Run a server; the block gets its process id and its port."""
    process = subprocess.Popen(
        [sys.executable, *COMMANDS[name]],
        env={**os.environ, "PYTHONUNBUFFERED": "1", **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        for line in process.stdout:
            found = re.search(r"[Rr]unning on http://127.0.0.1:(\d+)", line)
            if found:
                yield process.pid, int(found[1])
                break
        else:
            raise SystemExit(f"{name} did not start")
    finally:
        process.terminate()
        process.communicate(timeout=20)


def read(port: int, name: str, size: int, rate: float = 0.0) -> float:
    """Order an output of so many bytes and read it, at most `rate` bytes a second; return the seconds."""
    config = {"prompt": "a cat", "size": size, "seed": 1}
    order = {"type": "emulator.bytes.v1", "config": config} if name == "direct" else config
    headers = {"Content-Type": "application/json"}
    if name == "direct":
        headers |= {"Authorization": f"Bearer {TOKEN}", "Accept": "application/octet-stream"}
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=300)
    started, came, buffer = time.perf_counter(), 0, bytearray(MIB // 4 if rate else MIB)
    path = "/v2/job" if name == "direct" else "/pictures"
    connection.request("POST", path, json.dumps(order), headers)
    answer = connection.getresponse()
    while got := answer.readinto(buffer):
        came += got
        if rate:
            time.sleep(max(0.0, started + came / rate - time.perf_counter()))
    connection.close()
    if (answer.status, came) != (200, size):
        raise SystemExit(f"{name}: {answer.status}, {came} bytes")
    return time.perf_counter() - started


def cpu(pid: int) -> float:
    """Return the CPU seconds that a process has used."""
    user, system = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def peak(pid: int) -> int:
    status = pathlib.Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) * 1024


def measure(name: str, size: int, rate: float) -> dict[str, float]:
    with running("direct", {}) as (_, port):
        if name == "direct":
            return {"mb_s": size / 1e6 / read(port, name, size, rate), "cpu_s": 0.0, "rss_mib": 0.0}
        settings = {
            "PRODIA_BASE_URL": f"http://127.0.0.1:{port}",
            "PRODIA_TOKEN": TOKEN,
            "PICTURE_TYPE": "emulator.bytes.v1",
        }
        with running(name, settings) as (pid, own_port):
            read(own_port, name, MIB)
            pathlib.Path(f"/proc/{pid}/clear_refs").write_text("5")  # resets VmHWM
            idle, used = peak(pid), cpu(pid)
            seconds = read(own_port, name, size, rate)
            return {
                "mb_s": size / 1e6 / seconds,
                "cpu_s": cpu(pid) - used,
                "rss_mib": (peak(pid) - idle) / MIB,
            }


def versions() -> str:
    found = [f"Python {platform.python_version()}"]
    for package in PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found.append(f"{package} {importlib.metadata.version(package)}")
    return ", ".join(found)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--mib", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--rate", type=float, default=0.0)
    options = parser.parse_args()
    rounds: dict[str, list[dict[str, float]]] = {name: [] for name in COMMANDS}
    for _ in range(options.rounds):
        for name, rows in rounds.items():
            rows.append(measure(name, options.mib * MIB, options.rate * MIB))
            rows[-1]["ratio"] = rows[-1]["mb_s"] / rounds["direct"][-1]["mb_s"]
    at = f" at {options.rate:g} MiB/s" if options.rate else ""
    print(f"{versions()}\n{options.mib} MiB{at}, {options.rounds} rounds, median (worst RSS)")
    print(f"{'':8} {'MB/s':>7} {'of direct':>10} {'server CPU':>11} {'peak RSS above idle':>28}")
    for name, rows in rounds.items():
        median = {key: statistics.median(row[key] for row in rows) for key in rows[0]}
        worst = max(row["rss_mib"] for row in rows)
        own = f"{median['cpu_s']:9.2f} s {median['rss_mib']:15.1f} ({worst:.1f}) MiB"
        print(f"{name:8} {median['mb_s']:7.0f} {median['ratio']:10.2f} {'' if name == 'direct' else own}")


if __name__ == "__main__":
    main()
