"""The command line that all clients have, and what is measured of each: one line of JSON.

A client begins with `at_once` workers that take one job after the other. What is measured begins when the
`warm`-th job is done and ends when `jobs` more are, while the workers go on: so all are connected, and at the
end as many jobs are under way as at the beginning. Each job's output goes to a file of its own.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import re
import time
from dataclasses import dataclass

TYPE = "wire.bytes.v1"
SMALL_TYPE = "wire.small.v1"
"""The server answers such a job with 20 KB whatever its URL says."""

CONFIG = {"prompt": "a hill at dawn", "width": 1024, "height": 1024, "steps": 4}
HEADERS = {"Accept": "multipart/form-data", "Authorization": "Bearer none"}


@dataclass(frozen=True)
class Options:
    base_url: str
    jobs: int
    warm: int
    at_once: int
    out: pathlib.Path
    input: pathlib.Path | None
    ca: str | None
    small_warm_up: bool
    stall: bool
    uvloop: bool
    max_concurrency: int | None

    @property
    def url(self) -> str:
        return f"{self.base_url}/job"

    def job(self, number: int) -> Task:
        is_small = self.small_warm_up and number < self.warm
        return Task(
            number,
            {"type": SMALL_TYPE if is_small else TYPE, "config": CONFIG},
            None if is_small else self.input,
            self.out / f"{number}.bin",
        )


@dataclass(frozen=True)
class Task:
    """One job, its input if any, and the file that its output goes to."""

    number: int
    job: dict
    input: pathlib.Path | None
    output: pathlib.Path

    @property
    def json(self) -> bytes:
        return json.dumps(self.job).encode()


def options() -> Options:
    parser = argparse.ArgumentParser()
    parser.add_argument("base_url")
    parser.add_argument("--jobs", type=int, required=True)
    parser.add_argument("--warm", type=int, required=True, help="jobs before those measured; at least 1")
    parser.add_argument("--at-once", type=int, required=True, help="workers")
    parser.add_argument("--out", type=pathlib.Path, required=True, help="folder")
    parser.add_argument("--input", type=pathlib.Path)
    parser.add_argument("--ca", help="certificate to trust, PEM")
    parser.add_argument("--small-warm-up", action="store_true", help="warm up with 20 KB outputs, no input")
    parser.add_argument("--stall", action="store_true", help="measure the longest stall of the loop")
    parser.add_argument("--uvloop", action="store_true")
    parser.add_argument("--max-concurrency", type=int, help="of the SDK, where workers are to wait for it")
    return Options(**vars(parser.parse_args()))


class Window:
    """What was used from the end of job `warm` to the end of job `warm + jobs`."""

    def __init__(self, given: Options) -> None:
        self._options = given
        self._taken = 0
        self._ended = 0
        self._began: tuple[float, float] = (0.0, 0.0)
        self._rss: int | None = None
        self.figures: dict | None = None

    @property
    def is_open(self) -> bool:
        return self._ended >= self._options.warm and self.figures is None

    def take(self) -> Task:
        self._taken += 1
        return self._options.job(self._taken - 1)

    def ended(self) -> None:
        """Count a job that is done and stored."""
        self._ended += 1
        if self._ended == self._options.warm:
            self._rss = reset_peak_rss()
            self._began = time.process_time(), time.perf_counter()
        elif self._ended == self._options.warm + self._options.jobs:
            self._close()

    def _close(self) -> None:
        cpu, wall = self._began
        self.figures = {
            "cpu": time.process_time() - cpu,
            "wall": time.perf_counter() - wall,
            "jobs": self._options.jobs,
            "rss": None if self._rss is None else max(0, peak_rss() - self._rss),
        }


def reset_peak_rss() -> int | None:
    """Let the peak of the resident memory begin anew; return it in bytes, None where there is no /proc."""
    reset = pathlib.Path("/proc/self/clear_refs")
    if not reset.exists():
        return None
    reset.write_text("5")
    return peak_rss()


def peak_rss() -> int:
    """Return the peak of this process's resident memory in bytes since it was last reset."""
    found = re.search(r"VmHWM:\s*(\d+) kB", pathlib.Path("/proc/self/status").read_text())
    return int(found[1]) * 1024
