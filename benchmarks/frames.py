"""How many Python frames one small job takes over sockets, beside bare aiohttp's for the same.

    python benchmarks/frames.py [--calls] [--depth] [--json FILE]

A job's output of 20 KB goes into a folder; the server is a process of its own. Counted is each call of a
Python function, and each time that a coroutine goes on, in all threads (`sys.setprofile`): counts do not
drift as times do. Printed is the median of the jobs, by whose code it is. Bare aiohttp is a session as its
documentation shows it, which reads the reply whole, parses nothing, and writes it with one blocking call.
`as_completed` runs many jobs into the folder, 32 at once.

`--calls` lists our functions by how often a job enters them, `--depth` the coroutines between the call and
its transport. `tests/test_frames.py` holds the figures to their bounds.
"""

from __future__ import annotations

import argparse
import asyncio
import collections
import json
import os
import pathlib
import subprocess
import sys
import sysconfig
import tempfile
import threading
from collections import Counter
from collections.abc import Awaitable, Callable
from types import FrameType
from typing import Self

import aiohttp

import prodia_async
from prodia_async import Fixed, Job, Prodia

JOBS = 50
WARM = 20
OUTPUT = bytes(range(256)) * 80  # 20,480 bytes
CONFIG = {"prompt": "a cat", "steps": 4}
KIND = "inference.small.v1"
_RESULT = {
    "type": KIND,
    "config": CONFIG,
    "id": "2f8d8ab0-0000-4000-8000-000000000000",
    "state": {"current": "completed"},
    "metrics": {"elapsed": 0.25, "ips": 12.5},
    "created_at": "2026-01-01T00:00:00Z",
    "updated_at": "2026-01-01T00:00:01Z",
}
_BODY = (
    b'--frames\r\nContent-Disposition: form-data; name="job"; filename="job.json"\r\n'
    b"Content-Type: application/json\r\n\r\n" + json.dumps(_RESULT).encode() + b"\r\n--frames\r\n"
    b'Content-Disposition: form-data; name="output"; filename="output.jpg"\r\n'
    b"Content-Type: image/jpeg\r\n\r\n" + OUTPUT + b"\r\n--frames--\r\n"
)
_REPLY = (
    b"HTTP/1.1 200 OK\r\nContent-Type: multipart/form-data; boundary=frames\r\n"
    b"x-request-id: request-1\r\nContent-Length: %d\r\n\r\n" % len(_BODY)
) + _BODY


# The server


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while head := await reader.readuntil(b"\r\n\r\n"):
            length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
            await reader.readexactly(int(length.partition(b":")[2]))
            writer.write(_REPLY)
            await writer.drain()
    except (asyncio.IncompleteReadError, OSError):
        writer.close()


async def serve() -> None:
    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.to_thread(sys.stdin.read)  # until the client closes it


# Counting

PLACES = {
    "ours": str(pathlib.Path(prodia_async.__file__).parent),
    "aiohttp": str(pathlib.Path(aiohttp.__file__).parent),
    "asyncio": str(pathlib.Path(asyncio.__file__).parent),
    "threading": sysconfig.get_path("stdlib"),
}
HERE = __file__


class Frames:
    """Counts the frames of a block, in every thread that was started since `main` set the profiler."""

    current: Frames | None = None

    def __init__(self) -> None:
        self.calls: Counter[tuple[str, str]] = Counter()

    def __enter__(self) -> Self:
        Frames.current = self
        sys.setprofile(count)
        return self

    def __exit__(self, *_: object) -> None:
        sys.setprofile(None)
        Frames.current = None

    def by_place(self) -> Counter[str]:
        places: Counter[str] = Counter()
        for (file, _), count in self.calls.items():
            if file == HERE:
                continue
            place = next((name for name, folder in PLACES.items() if file.startswith(folder)), "other")
            places["asyncio" if place == "threading" else place] += count
        return places


def count(frame: FrameType, event: str, _: object) -> None:
    frames = Frames.current
    if event == "call" and frames is not None:
        frames.calls[frame.f_code.co_filename, frame.f_code.co_qualname] += 1


async def median(jobs: int, run: Callable[[int], Awaitable[object]]) -> tuple[Counter[str], Frames]:
    """Count job by job, and return the job in the middle."""
    for number in range(WARM):
        await run(number)
    counted = []
    for number in range(jobs):
        frames = Frames()
        with frames:
            await run(WARM + number)
        counted.append((sum(frames.by_place().values()), number, frames))
    frames = sorted(counted)[len(counted) // 2][2]
    return frames.by_place(), frames


async def floor(url: str, folder: pathlib.Path, jobs: int) -> tuple[Counter[str], Frames]:
    headers = {"Authorization": "Bearer none", "Accept": "multipart/form-data"}
    async with aiohttp.ClientSession() as session:

        async def run(number: int) -> None:
            job = {"type": KIND, "config": CONFIG}
            async with session.post(f"{url}/v2/job", json=job, headers=headers) as response:
                response.raise_for_status()
                content = await response.read()
            with (folder / f"floor-{number}.jpg").open("wb") as file:
                file.write(content)

        return await median(jobs, run)


async def one(url: str, folder: pathlib.Path, jobs: int) -> tuple[Counter[str], Frames]:
    to = str(folder)
    async with Prodia(base_url=url, token="none") as prodia:

        async def run(number: int) -> None:
            await prodia.run(KIND, CONFIG, custom_id=f"one-{number}", to=to)

        return await median(jobs, run)


async def many(url: str, folder: pathlib.Path, jobs: int) -> tuple[Counter[str], Frames]:
    """Return the mean of many jobs: they share wakes of the loop."""
    frames = Frames()
    jobs *= 10
    async with Prodia(base_url=url, token="none", limiter=Fixed(32)) as prodia:
        for name, number in {"warm": WARM * 32, "many": jobs}.items():
            listed = [Job(KIND, CONFIG, custom_id=f"{name}-{index}") for index in range(number)]
            counting = frames if name == "many" else Frames()
            with counting:
                async with prodia.as_completed(listed, to=str(folder)) as outcomes:
                    async for outcome in outcomes:
                        if outcome.error is not None:
                            raise outcome.error
    return Counter({place: round(count / jobs) for place, count in frames.by_place().items()}), frames


async def depth(url: str, folder: pathlib.Path) -> list[str]:
    """Return the coroutines from the call to the transport's `send`, as they stand on the stack there."""
    found: list[str] = []

    def look(frame: FrameType, event: str, _: object) -> None:
        code = frame.f_code
        if found or event != "call" or code.co_name != "send" or "_http" not in code.co_filename:
            return
        at: FrameType | None = frame
        while at is not None:
            if at.f_code.co_flags & 0x80 and at.f_code.co_filename.startswith(PLACES["ours"]):
                found.insert(0, f"{pathlib.Path(at.f_code.co_filename).name}:{at.f_code.co_qualname}")
            at = at.f_back

    async with Prodia(base_url=url, token="none") as prodia:
        await prodia.run(KIND, CONFIG, custom_id="warm", to=str(folder))
        sys.setprofile(look)
        await prodia.run(KIND, CONFIG, custom_id="depth", to=str(folder))
        sys.setprofile(None)
    return found


# The program

ROWS = {"bare aiohttp": floor, "prodia-async": one, "as_completed": many}


def line(name: str, counts: Counter[str], bare: int) -> str:
    total = sum(counts.values())
    by_whom = "".join(f"{counts[place]:9}" for place in ("ours", "aiohttp", "asyncio", "other"))
    return f"{name:14}{by_whom}{total:9}{total / bare:9.2f}"


async def measure(given: argparse.Namespace, url: str, folder: pathlib.Path) -> None:
    figures, bare = {}, 0
    print(f"{'frames a job':14}{'ours':>9}{'aiohttp':>9}{'asyncio':>9}{'other':>9}{'all':>9}{'to bare':>9}")
    for name, row in ROWS.items():
        counts, frames = await row(url, folder, given.jobs)
        bare = bare or sum(counts.values())
        figures[name] = dict(counts) | {"all": sum(counts.values()), "ratio": sum(counts.values()) / bare}
        print(line(name, counts, bare), flush=True)
        if given.calls and name == "prodia-async":
            print_calls(frames)
    stack = await depth(url, folder)
    figures["depth"] = len(stack)
    print(f"\ncoroutines from the call to its transport: {len(stack)}")
    if given.depth:
        print(*(f"  {coroutine}" for coroutine in stack), sep="\n")
    if given.json is not None:
        given.json.write_text(json.dumps(figures, indent=1))


def print_calls(frames: Frames) -> None:
    by_file: dict[str, list[str]] = collections.defaultdict(list)
    for (file, name), count in sorted(frames.calls.items(), key=lambda item: item[0]):
        if file.startswith(PLACES["ours"]):
            by_file[os.path.relpath(file, PLACES["ours"])].append(f"{name} ×{count}" if count > 1 else name)
    for file, names in by_file.items():
        print(f"  {file}: {', '.join(names)}")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--jobs", type=int, default=JOBS)
    parser.add_argument("--calls", action="store_true")
    parser.add_argument("--depth", action="store_true")
    parser.add_argument("--json", type=pathlib.Path)
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.serve:
        asyncio.run(serve())
        return
    with (
        tempfile.TemporaryDirectory() as folder,
        subprocess.Popen(
            [sys.executable, __file__, "--serve"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        ) as server,
    ):
        threading.setprofile(count)  # before any thread of a client is started
        try:
            port = int(server.stdout.readline())
            asyncio.run(measure(given, f"http://127.0.0.1:{port}", pathlib.Path(folder)))
        finally:
            server.stdin.close()


if __name__ == "__main__":
    main()
