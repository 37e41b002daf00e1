"""What a batch tells: how far it is, and what became of it."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping
from typing import Literal, TypeAlias

from msgspec import Struct

from prodia_async._plain import Plain
from prodia_async.batch._manifest import Problem

Ending: TypeAlias = Literal[
    "complete",  # every line of the manifest was dealt with
    "stopped",  # it was asked to stop: jobs in flight finished, no others began
    "refused",  # the service refused the token (401 or 403)
    "spent",  # the next job might have cost more than `max_spend` leaves
    "gave_up",  # the service, its room for jobs, or room on the disk was gone for longer than `give_up_after`
]


class Progress(Struct, Plain, frozen=True):
    """How far a batch is: counts of jobs, of manifest lines with a problem, and of requests.

    `done` and `failed` count earlier runs of the same batch too; `skipped` of them ended in such a run, and
    were not run again. `in_flight` jobs were sent and are not answered yet; `limit` is how many may be, now.
    `requests` were sent, of which `shed` were answered 429. `dollars` is the sum of the prices that the
    service reported for this batch, earlier runs included; None if it reported none. `paused` tells why
    nothing but trials is sent now, or for how long the service has accepted nothing (429).

    `total` jobs, about, are to be done by the end of this run, bad lines and earlier runs included. All jobs
    of the manifest may cost `expected` dollars at the mean price of those that are done, and this run spends
    `dollars_a_minute`. Each is None as long as it cannot be told.
    """

    done: int = 0
    failed: int = 0
    skipped: int = 0
    problems: int = 0
    in_flight: int = 0
    limit: int = 0
    requests: int = 0
    shed: int = 0
    dollars: float | None = None
    paused: str | None = None
    total: int | None = None
    expected: float | None = None
    dollars_a_minute: float | None = None


class BatchReport(Struct, Plain, frozen=True):
    """What became of a batch; the counts are those of `Progress`.

    `problems` holds the first 100 of the manifest's `problem_count` bad lines. `interrupted` jobs were in
    flight when an earlier run was cut: they may have been billed for that, and were run again. `submitted`
    jobs were at the service then (`mode: async`), and were asked for by their ids. `missing` jobs were done,
    but their outputs no longer stood: they were run again. `lost` has the custom_ids of the first 100 of
    `lost_count` asynchronous jobs that the service no longer knew: they may have been billed, and were sent
    again where `resend_unknown` allows it, those of an earlier run in any case; which of them failed in the
    end, results.jsonl tells.

    `seconds` is the time that this run took. Money, in dollars, is that of all runs of the batch: `dollars`
    as the service reported it, `uncertain` what is reckoned for `uncertain_attempts` whose outcome is
    unknown, `overrun` by how much both together exceed `max_spend`. `jobs`, about, are in the manifest, of
    this shard, and all of them may cost `expected`; None where there is no `on_progress`.

    `reason` tells why the batch ended early. `results` is the file with a line for each job; outputs stand in
    `out`/outputs. `service` is the address of the one that ran the jobs, or tells that it was one of this
    computer, such as an emulator.
    """

    ending: Ending
    done: int
    failed: int
    skipped: int
    problem_count: int
    problems: tuple[Problem, ...]
    interrupted: int
    submitted: int
    missing: int
    lost_count: int
    lost: tuple[str, ...]
    requests: int
    shed: int
    seconds: float
    dollars: float | None
    uncertain: float
    uncertain_attempts: int
    overrun: float
    reason: str | None
    out: pathlib.Path
    results: pathlib.Path
    service: str = ""
    jobs: int | None = None
    expected: float | None = None
    dollars_a_minute: float | None = None


class ManifestCheck(Struct, Plain, frozen=True):
    """What stands in a manifest: how many jobs, in all and by type, and bad lines, the first 100 in full.

    They cost `dollars` at the prices that were given; None if none was. `unpriced` jobs are of other types.
    """

    jobs: int
    by_type: Mapping[str, int]
    problem_count: int
    problems: tuple[Problem, ...]
    dollars: float | None = None
    unpriced: int = 0
