"""What a batch tells: how far it is, and what became of it."""

from __future__ import annotations

import pathlib
from typing import Literal, TypeAlias

from msgspec import Struct

from prodia_async.batch.manifest import Problem

Ending: TypeAlias = Literal[
    "complete",  # every line of the manifest was dealt with
    "stopped",  # it was asked to stop: jobs in flight finished, no others began
    "refused",  # the service refused the token (401 or 403)
]


class Progress(Struct, frozen=True):
    """How far a batch is: counts of jobs, of manifest lines with a problem, and of requests.

    `in_flight` jobs were sent and are not answered yet. `requests` were sent, of which `shed` were answered
    429. `dollars` is the sum of the prices that the service reported; None if it reported none.
    """

    done: int = 0
    failed: int = 0
    problems: int = 0
    in_flight: int = 0
    requests: int = 0
    shed: int = 0
    dollars: float | None = None


class BatchReport(Struct, frozen=True):
    """What became of a batch; the counts are those of `Progress`.

    `problems` holds the first 100 of the manifest's `problem_count` bad lines. `seconds` is the time that
    the batch took. `reason` tells why the token was refused. `results` is the file with a line for each job;
    outputs stand in `out`/outputs.
    """

    ending: Ending
    done: int
    failed: int
    problem_count: int
    problems: tuple[Problem, ...]
    requests: int
    shed: int
    seconds: float
    dollars: float | None
    reason: str | None
    out: pathlib.Path
    results: pathlib.Path
