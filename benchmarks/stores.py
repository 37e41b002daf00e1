"""What outputs cost that go into a bucket of moto's: 400 small ones beside obstore alone, and 1 GiB.

python benchmarks/stores.py [MIB]: with a size of the large output other than 1024 MiB.
"""

from __future__ import annotations

import asyncio
import os
import pathlib
import re
import subprocess
import sys
import time
import urllib.request

import obstore
from obstore.store import S3Store

from prodia_async import Job, OutputInfo, Prodia
from prodia_async._models import JobResult
from prodia_async.emulator import EmulatorProcess
from prodia_async.stores import Store

SERVER = """
import logging, time
from moto.server import ThreadedMotoServer
logging.disable()
server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
server.start()
print(server.get_host_and_port()[1], flush=True)
time.sleep(3600)
"""
PUTS, AT_ONCE, SMALL = 400, 16, bytes(60_000)
MiB = 1024 * 1024


async def measured(put) -> tuple[float, float]:
    """Return seconds and CPU seconds of 400 puts, 16 at once."""
    begun, cpu = time.perf_counter(), time.process_time()
    for start in range(0, PUTS, AT_ONCE):
        await asyncio.gather(*(put(number) for number in range(start, start + AT_ONCE)))
    return time.perf_counter() - begun, time.process_time() - cpu


async def small(store: S3Store) -> None:
    place = Store(store, "ours/")

    async def alone(number: int) -> None:
        attributes = {"Content-Type": "image/png"}
        await obstore.put_async(store, f"alone/{number}.png", SMALL, attributes=attributes, mode="create")

    async def ours(number: int) -> None:
        sink = place(Job("inference.ping.v1", custom_id=str(number)))
        writer = await sink.open(OutputInfo(0, None, "image/png"))
        await writer.write(SMALL)
        await writer.close()
        await sink.commit(JobResult("inference.ping.v1", {}))

    bare, own = [], []
    for _ in range(3):
        for put, found in ((alone, bare), (ours, own)):
            found.append(await measured(put))
            for block in store.list():
                await store.delete_async([meta["path"] for meta in block])
    (wall, cpu), (our_wall, our_cpu) = min(bare), min(own)
    print(f"400 outputs of 60 kB    obstore alone {wall:.2f} s, {cpu:.2f} s CPU")
    ratio = f"({our_wall / wall:.2f} times)"
    print(f"                        Store         {our_wall:.2f} s, {our_cpu:.2f} s CPU {ratio}")


def peak_rss() -> int:
    found = re.search(r"VmHWM:\s*(\d+) kB", pathlib.Path("/proc/self/status").read_text())
    return int(found[1]) * 1024


async def large(url: str, size: int) -> None:
    worst = busiest = 0.0

    async def watch() -> None:
        nonlocal worst, busiest
        while True:
            before, worked = time.perf_counter(), time.thread_time()
            await asyncio.sleep(0.005)
            worst = max(worst, time.perf_counter() - before - 0.005)
            busiest = max(busiest, time.thread_time() - worked)

    async with (
        EmulatorProcess(latency=0.0) as emulator,
        Prodia(token=emulator.token, base_url=emulator.base_url) as prodia,
    ):
        await prodia.run("emulator.bytes.v1", {"size": 100_000}, to=url, custom_id="warm")
        watching = asyncio.ensure_future(watch())
        pathlib.Path("/proc/self/clear_refs").write_text("5")  # resets the peak
        before, begun = peak_rss(), time.perf_counter()
        await prodia.run("emulator.bytes.v1", {"size": size * MiB}, to=url, custom_id="large")
        took = time.perf_counter() - begun
        watching.cancel()
    print(f"one output of {size} MiB  {took:.1f} s, +{(peak_rss() - before) / MiB:.0f} MiB RSS, ", end="")
    print(f"longest stall of the loop {worst * 1000:.0f} ms, its own work in one {busiest * 1000:.0f} ms")


def main(size: int) -> None:
    server = subprocess.Popen([sys.executable, "-c", SERVER], stdout=subprocess.PIPE, text=True)
    try:
        endpoint = f"http://127.0.0.1:{server.stdout.readline().strip()}"
        keys = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_REGION": "us-east-1"}
        os.environ |= {**keys, "AWS_ENDPOINT_URL": endpoint, "AWS_ALLOW_HTTP": "true", "AWS_TIMEOUT": "180s"}
        urllib.request.urlopen(urllib.request.Request(f"{endpoint}/bench", method="PUT")).close()
        asyncio.run(large("s3://bench/out/", size))
        asyncio.run(small(S3Store("bench", client_options={"allow_http": True})))
    finally:
        server.terminate()
        server.wait()


main(int(sys.argv[1]) if len(sys.argv) > 1 else 1024)
