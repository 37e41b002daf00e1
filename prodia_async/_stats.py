"""What a client tells of itself while it works: its counts, its limiter's state, and what happens to jobs."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Literal, TypeAlias

from msgspec import Struct, field

from prodia_async._models import Attempt, Job
from prodia_async._plain import Plain


class TypeStats(Struct, Plain, frozen=True):
    """How one job type stands in the limiter; `latency` is smoothed, in seconds to the reply's headers.

    `moving`: whether the limit was another not long ago: others use the service, or its capacity changes.
    `shares`: job types of this client that were seen to take their slots from the same capacity.
    """

    state: str
    limit: int
    in_flight: int
    waiting: int
    shed: int
    completed: int
    latency: float | None
    moving: bool = False
    shares: tuple[str, ...] = ()


class LimitChange(Struct, Plain, frozen=True):
    """A job type's limit from `at` on (seconds since the epoch), what was in flight then, and why it changed.

    `why`: "search" for more, "admitted", "shed", or "set_limit".
    """

    at: float
    job_type: str
    limit: int
    in_flight: int
    why: str


class Stats(Struct, Plain, frozen=True):
    """A client's counts since it was made, and its limiter's state, in the running loop.

    `jobs` were started, of which `completed` brought a result, `failed` an error, and `cancelled` ended
    because their caller left; `requests` were sent, of which `shed` were answered 429 (polls and downloads of
    asynchronous jobs are not among them). `stale` counts resets of a reused connection before any answer.
    """

    jobs: int = 0
    completed: int = 0
    failed: int = 0
    cancelled: int = 0
    requests: int = 0
    shed: int = 0
    stale: int = 0
    in_flight: int = 0
    waiting: int = 0
    by_type: Mapping[str, TypeStats] = field(default_factory=dict)


EventKind: TypeAlias = Literal["queued", "sent", "shed", "retried", "completed", "failed", "cancelled"]


class Event(Struct, Plain, frozen=True):
    """Something that happened to a job, for `on_event=`.

    `run` tells runs apart, also those of one and the same job: a number, unique in its process. `attempt` is
    set once an attempt has ended; `error` says why a job failed; `job_id` and `dollars` are what the service
    said of one that is over.
    """

    kind: EventKind
    job: Job
    at: datetime
    attempt: Attempt | None = None
    run: int = 0
    error: Exception | None = None
    job_id: str | None = None
    dollars: float | None = None
