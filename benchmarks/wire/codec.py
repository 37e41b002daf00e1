"""Decoder and encoder alone, in this process and without a socket, beside a copy."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from types import SimpleNamespace

import figures
import machine
from rounds import Entry

from prodia_async import Job
from prodia_async._settings import Limits
from prodia_async._wire import decoder as decoders
from prodia_async._wire import job as jobs

PIECE = 64 * 1024  # as aiohttp's socket reads come
SIZES = {"20 KB": 20_000, "300 KB": 300_000, "64 MiB": 64 << 20}
SECONDS = 0.2  # CPU of one measurement, at least
BOUNDARY = "5f2f6a1e0d9c4b7f8a3e6d1c2b4a59687f0e1d2c3b4a59687f6e5d4c3b2a"
CONFIG = {"prompt": "a hill at dawn", "width": 1024, "height": 1024, "steps": 4}

_HEAD = (
    f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="job"; filename="job.json"\r\n'
    "Content-Type: application/json\r\n\r\n"
    '{"type":"wire.bytes.v1","id":"b15460fe-0000-4000-8000-000000000000","state":{"current":"completed"}}'
    f'\r\n--{BOUNDARY}\r\nContent-Disposition: form-data; name="output"; filename="output.bin"\r\n'
    "Content-Type: application/octet-stream\r\n\r\n"
).encode()
_TAIL = f"\r\n--{BOUNDARY}--\r\n".encode()

Work = Callable[[], object]


def measure(rounds: int, log: list[Entry]) -> None:
    """Print the tables."""
    with machine.pinned("client"):
        _decoder(rounds, log)
        _encoder(rounds, log)


def _decoder(rounds: int, log: list[Entry]) -> None:
    print(f"\nCPU µs for a reply in pieces of {PIECE // 1024} KiB, and GB/s\n{'':8}", end="")
    print("".join(f"{name:>34}" for name in ("decoder", "copy")))
    for name, size in SIZES.items():
        pieces = _reply(size)
        works = {
            "decoder": lambda pieces=pieces: _decoded(pieces),
            "copy": lambda pieces=pieces: _copied(pieces),
        }
        times = _turns(works, rounds)
        _log(log, f"a reply of {name}", times)
        cells = []
        for taken in times.values():
            found = figures.spread(taken)
            cells.append(f"{found.text(1, 1e6)} {size / found.median / 1e9:6.2f}")
        print(f"{name:8}" + "".join(f"{cell:>34}" for cell in cells), flush=True)


def _encoder(rounds: int, log: list[Entry]) -> None:
    times = _turns({"encoder": _encoded}, rounds)
    _log(log, "a job with one input", times)
    print(
        f"\nencoder, a job with one input: {figures.spread(times['encoder']).text(1, 1e6)} µs CPU", flush=True
    )


def _log(log: list[Entry], of: str, times: dict[str, list[float]]) -> None:
    log.extend(Entry(name, {"of": of}, {"cpu": cpu}) for name, taken in times.items() for cpu in taken)


def _reply(size: int) -> list[bytes]:
    whole = _HEAD + random.Random(1).randbytes(size) + _TAIL
    return [whole[start : start + PIECE] for start in range(0, len(whole), PIECE)]


def _decoded(pieces: list[bytes]) -> None:
    decoder = decoders.decoder_for(f"multipart/form-data; boundary={BOUNDARY}", Limits())
    for piece in pieces:
        decoder.feed(piece)
    decoder.close()


def _copied(pieces: list[bytes]) -> None:
    for piece in pieces:
        bytes(memoryview(piece))


def _encoded() -> jobs.Plan:
    body = jobs.job_json(Job("wire.bytes.v1", CONFIG))
    heads = [SimpleNamespace(filename="input.png", content_type="image/png", size=1_000_000)]
    return jobs.plan(body, heads, random.randbytes(30).hex())


def _turns(works: dict[str, Work], rounds: int) -> dict[str, list[float]]:
    """Return CPU seconds of one call, in each round, the works taking turns."""
    calls = {name: _calls(work) for name, work in works.items()}
    found: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(rounds):
        for name, work in works.items():
            found[name].append(_time(work, calls[name]))
    return found


def _calls(work: Work) -> int:
    """Return how many calls take long enough to be measured."""
    calls = 1
    while _time(work, calls) * calls < SECONDS / 10:
        calls *= 4
    return max(1, round(SECONDS / _time(work, calls)))


def _time(work: Work, calls: int) -> float:
    """Return CPU seconds of each call."""
    before = time.process_time()
    for _ in range(calls):
        work()
    return (time.process_time() - before) / calls
