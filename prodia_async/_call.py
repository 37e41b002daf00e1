"""One job, and how it is to be run."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from msgspec import Struct

from prodia_async._errors import ClientClosedError, ProdiaError, ProdiaTimeoutError
from prodia_async._files.targets import Target
from prodia_async._http.received import JobPartHook
from prodia_async._models import Attempt, Job, JobResult
from prodia_async._pacing.attempts import BeforeSend, Notify


class Standing:
    """How a submitted job stands in a client's counts (`tally`): once it is over, it is not counted again.

    `number` is that of its first run; 0 until then.
    """

    def __init__(self, number: int = 0, tally: object = None) -> None:
        self.number = number
        self.tally = tally
        self.over = False

    def ends_with(self, error: ProdiaError | None) -> bool:
        """Tell whether it is over now: a job that we merely stopped to wait for is not."""
        if self.over or isinstance(error, ProdiaTimeoutError | ClientClosedError):
            return False
        self.over = True
        return True


class Asynchronous(Struct, frozen=True, kw_only=True):
    """What differs for a job of the asynchronous API.

    `job_id`: the service has it already, and it is only collected; `standing` says how it stands. `is_new`:
    it was submitted just now, and need not be asked for at once. `detached`: it is only submitted, and its
    permit stays open, in `Run.permit`, for whoever has it to end. `submitted` is awaited as soon as the
    service has the job. `handle` makes what a timeout's error carries.
    """

    job_id: str | None = None
    is_new: bool = True
    standing: Standing | None = None
    detached: bool = False
    submitted: Callable[[JobResult], Awaitable[None]] | None = None
    handle: Callable[[str], Any] | None = None


class Call(Struct, frozen=True, kw_only=True):
    """One job and how it is to be run; `timeout` in seconds bounds all of it, waiting included.

    With `patient` that time begins when the first attempt is sent, and waiting in line before it costs none.
    `expect_continue`: see `Prodia.run`. `before_send` is awaited before the first byte of each attempt;
    `notify` hears of the job's events before the client's own hook does, and must not raise. `job_part` hears
    of a reply's job part as soon as it has come; `has_begun` tells whether a reader has seen a part of the
    reply, so that nothing may follow this attempt. `attempts`: those that were made before.
    """

    job: Job
    target: Target
    timeout: float | None = None
    price: bool | None = None
    spool: bool = False
    expect_continue: bool | int | None = None
    bounded: bool = True
    patient: bool = False
    before_send: BeforeSend | None = None
    notify: Notify | None = None
    job_part: JobPartHook | None = None
    has_begun: Callable[[], bool] | None = None
    asynchronous: Asynchronous = Asynchronous()
    attempts: tuple[Attempt, ...] = ()


def subject(job: Job) -> str:
    """Name a job in a message."""
    kind = job.type or "the job"
    return kind if job.custom_id is None else f"{kind} (custom_id {job.custom_id!r})"
