"""The SDK's own cost, beside its peers: python benchmarks/wire [small] [large] [waiting] [codec].

`small`: CPU a job against bare aiohttp (the floor), aiohttp by hand, httpx, requests and the official
JavaScript client; at 1, 32 and 1,000 at once; with up to 10,000 waiting; over TLS. `large`: 1 GiB in and out,
beside curl. `waiting`: memory of jobs that wait and of jobs in flight. `codec`: decoder and encoder alone.

The server is a Go program (`go` is needed) on a CPU of its own, each client a new process on another; CPU is
user and system time of all threads. The clients take turns, a ratio compares two of one round, and the median
of the rounds is printed with the least and the most. "server busy" is the share of its CPU that the server
used meanwhile: well below 1, so that it does not set the pace. Exit status 1 where a goal is missed.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import pathlib
import signal
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass

import codec
import large
import machine
import overhead
import peers
import service
import small
import waiting
from figures import Goal
from rounds import Bench, ClientError, Entry, medians


@dataclass(frozen=True)
class Given:
    parts: tuple[str, ...]
    rounds: int
    mib: int
    quick: bool


@dataclass(frozen=True)
class Places:
    """Temporary folders: `programs` for what is built, `files` on the RAM disk where there is one."""

    programs: pathlib.Path
    files: pathlib.Path


@contextlib.contextmanager
def _places() -> Iterator[Places]:
    with (
        tempfile.TemporaryDirectory(prefix="prodia-wire-") as programs,
        tempfile.TemporaryDirectory(prefix="prodia-wire-", dir=machine.ram_disk()) as files,
    ):
        (pathlib.Path(files) / "out").mkdir()
        yield Places(pathlib.Path(programs), pathlib.Path(files))


def _small(given: Given, places: Places, binary: pathlib.Path, bench: Bench) -> list[Goal]:
    scale = small.Scale(jobs=700 if given.quick else 1_500, rounds=given.rounds)
    clients = [peers.FLOOR, peers.BY_HAND, peers.SDK, *([] if given.quick else peers.uvloop())]
    clients += peers.available(places.programs)
    with service.running(binary) as plain, service.running(binary, tls=True) as tls:
        return [
            *small.compare(bench, plain, clients, places.files, scale),
            *overhead.measure(bench, plain, tls, scale),
        ]


def _large(given: Given, places: Places, binary: pathlib.Path, bench: Bench) -> list[Goal]:
    clients, others = [*peers.curl(), peers.BY_HAND, peers.SDK], []
    if not given.quick:
        others = [peers.FLOOR, *peers.available(places.programs)]
    with service.running(binary) as plain:
        trial = large.Trial(bench, plain, clients, others, given.rounds)
        return large.measure(trial, places.files, given.mib)


def _waiting(given: Given, _: Places, binary: pathlib.Path, bench: Bench) -> list[Goal]:
    with service.running(binary) as plain:
        return waiting.measure(bench, plain, min(given.rounds, 2))


def _codec(given: Given, _: Places, __: pathlib.Path, bench: Bench) -> list[Goal]:
    codec.measure(given.rounds, bench.log)
    return []


def _told(log: Sequence[Entry], goals: Sequence[Goal]) -> dict:
    """Return what the JSON file holds: figures in seconds and bytes."""
    return {
        "versions": machine.versions(),
        "cpus": machine.cpus(),
        "ram_disk": machine.ram_disk() is not None,
        "goals": [asdict(goal) for goal in goals],
        "medians": medians(log),
        "rounds": [asdict(entry) for entry in log],
    }


RUNS = {"small": _small, "large": _large, "waiting": _waiting, "codec": _codec}


def _run(part: str, given: Given, places: Places, binary: pathlib.Path, bench: Bench) -> list[Goal]:
    try:
        return RUNS[part](given, places, binary, bench)
    except ClientError as error:
        return [Goal(part, f"a client failed: {error}", met=False)]


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("parts", nargs="*", choices=[*RUNS, []], help="default: all")
    parser.add_argument("--rounds", type=int, help="default: 3, or 1 with --quick")
    parser.add_argument("--quick", action="store_true", help="one round of fewer jobs: within 2 minutes")
    parser.add_argument("--mib", type=int, default=1024, help="size of the large job")
    parser.add_argument("--json", type=pathlib.Path, help="file for every figure of every round")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that all is ended and removed, as on Ctrl-C
    rounds = options.rounds or (1 if options.quick else 3)
    given = Given(tuple(options.parts) or tuple(RUNS), rounds, options.mib, options.quick)
    print(machine.described(), flush=True)
    with _places() as places:
        binary = service.build(places.programs)
        bench = Bench(places.files / "out")
        goals: list[Goal] = []
        for part in given.parts:
            goals += _run(part, given, places, binary, bench)
    if goals:
        print("\nGoals", *goals, sep="\n")
    if options.json:
        options.json.write_text(json.dumps(_told(bench.log, goals), indent=1))
    return int(not all(goal.met for goal in goals))


if __name__ == "__main__":
    sys.exit(main())
