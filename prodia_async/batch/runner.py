"""`run_batch`: jobs from a manifest, outputs into a folder, a line of results for each."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import TYPE_CHECKING

import anyio

from prodia_async._errors import AuthenticationError, PermissionDeniedError, ProdiaError
from prodia_async._loops import OnExit
from prodia_async.batch import results
from prodia_async.batch.manifest import Manifest, Problem
from prodia_async.batch.outputs import Outputs
from prodia_async.batch.report import BatchReport, Ending, Progress
from prodia_async.batch.results import ResultsFile
from prodia_async.batch.tally import Tally

if TYPE_CHECKING:
    import os
    from collections.abc import Callable

    from prodia_async._client import Prodia
    from prodia_async._files.sinks import Sink
    from prodia_async._many import AsCompleted, Outcome
    from prodia_async._models import Event, Job, JobResult
    from prodia_async.batch.manifest import Source

_MOST_PROBLEMS = 100


async def run_batch(
    manifest: Source,
    out: str | os.PathLike[str],
    *,
    prodia: Prodia,
    price: bool | None = None,
    timeout: float | None = None,
    stop: asyncio.Event | None = None,
    on_progress: Callable[[Progress], object] | None = None,
    on_problem: Callable[[Problem], object] | None = None,
) -> BatchReport:
    """Run all jobs of a manifest and return what became of them.

    `manifest`: the path of a file of JSON lines, or a binary stream; it is read lazily. Outputs go to
    `out`/outputs/<first byte of the SHA-256 of the custom_id>/<custom_id>.<ext>, and `out`/results.jsonl gets
    a line for each job as it ends. A bad line and a failed job do not sink the rest; a refused token (401,
    403) stops the batch. `price`: ask for prices; default: as the client does. `timeout`: seconds for each
    job. Setting `stop` starts no more jobs, and lets those in flight finish. `on_progress` hears of each
    change, `on_problem` of each bad line.

    Raises InputError if the manifest cannot be read, or if `out` holds the results of an earlier batch:
    nothing is resumed, and running its jobs again would be paid again. Raises OutputError if results.jsonl
    cannot be written. A cancelled batch has written a line for each job whose outputs stand.
    """
    batch = _Batch(manifest, Path(out), prodia, on_progress, on_problem)
    async with OnExit(batch.close):
        await batch.open()
        await batch.run(stop, price=price, timeout=timeout)
    return batch.report()


class _StoppedError(Exception):
    """The batch was stopped before this job was sent."""


def _unsettled(job: Job, error: ProdiaError) -> ProdiaError:
    return ProdiaError(
        f"{job.type} (custom_id {job.custom_id!r}): an attempt may have run, and the batch was stopped "
        "before the next. Run the job again if its output is wanted.",
        attempts=error.attempts,
    )


class _Batch:
    def __init__(
        self,
        manifest: Source,
        out: Path,
        prodia: Prodia,
        on_progress: Callable[[Progress], object] | None,
        on_problem: Callable[[Problem], object] | None,
    ) -> None:
        options = prodia._options  # noqa: SLF001 - the client's own hook and limits hold in a batch too
        self._out = out
        self._jobs = Manifest(manifest, self._add_problem)
        self._client = prodia.with_options(on_event=self._follow)
        self._on_event = options.on_event
        self._on_problem = on_problem
        self._tally = Tally(on_progress)
        self._outputs = Outputs(out, options.limits.collect)
        self._results = ResultsFile(out)
        self._problems: list[Problem] = []
        self._started = time.monotonic()
        self._seconds = 0.0
        self._ending: Ending = "complete"
        self._reason: str | None = None
        self._wait: anyio.CancelScope | None = None

    def report(self) -> BatchReport:
        counts = self._tally.progress()
        return BatchReport(
            ending=self._ending,
            done=counts.done,
            failed=counts.failed,
            problem_count=counts.problems,
            problems=tuple(self._problems),
            requests=counts.requests,
            shed=counts.shed,
            seconds=self._seconds,
            dollars=counts.dollars,
            reason=self._reason,
            out=self._out,
            results=self._results.path,
        )

    async def open(self) -> None:
        await self._jobs.open()
        await self._results.open()

    async def close(self) -> None:
        """Write down what stands and was not handed out when the batch was cancelled."""
        try:
            for custom_id, result in list(self._outputs.landed.items()):
                await self._write_done(custom_id, result)
        finally:
            await self._results.aclose()
            await self._jobs.aclose()

    async def run(self, stop: asyncio.Event | None, *, price: bool | None, timeout: float | None) -> None:
        watcher = None if stop is None else asyncio.create_task(self._watch(stop))
        try:
            async with self._client.as_completed(
                self._jobs, to=self._sink, price=price, timeout=timeout
            ) as outcomes:
                while (outcome := await self._next(outcomes)) is not None:
                    await self._take(outcome)
        finally:
            self._seconds = time.monotonic() - self._started
            if watcher is not None:
                watcher.cancel()

    async def _next(self, outcomes: AsCompleted) -> Outcome | None:
        """Return the next outcome; None at the end, or when the batch stops and nothing is in flight."""
        with anyio.CancelScope() as self._wait:
            self._leave_if_idle()
            return await anext(outcomes, None)
        with anyio.CancelScope() as ended:  # a job's last event comes just before its outcome
            ended.cancel()
            return await anext(outcomes, None)
        return None

    async def _take(self, outcome: Outcome) -> None:
        """Write down what became of one job."""
        custom_id, error = outcome.job.custom_id or "", outcome.error
        if outcome.result is not None:
            await self._write_done(custom_id, outcome.result)
        elif isinstance(error, AuthenticationError | PermissionDeniedError):
            self._reason = self._reason or error.message
            self._stop("refused")
        elif error is not None and isinstance(error.__cause__, _StoppedError):
            if error.may_have_run:
                await self._write_failed(outcome.job, _unsettled(outcome.job, error))
        elif error is not None:
            await self._write_failed(outcome.job, error)

    async def _write_failed(self, job: Job, error: ProdiaError) -> None:
        self._tally.failed()
        await self._results.add(results.failed(job.custom_id, error, self._out))

    async def _write_done(self, custom_id: str, result: JobResult) -> None:
        self._tally.done(result)
        self._outputs.landed.pop(custom_id, None)  # `add` finishes, come what may
        await self._results.add(results.done(custom_id, result, self._out))

    def _sink(self, job: Job) -> Sink:
        if self._ending != "complete":
            raise _StoppedError
        self._tally.sent(job.custom_id)
        return self._outputs.sink(job)

    def _follow(self, event: Event) -> None:
        self._tally.follow(event)
        self._leave_if_idle()
        if self._on_event is not None:
            self._on_event(event)

    def _add_problem(self, problem: Problem) -> None:
        if len(self._problems) < _MOST_PROBLEMS:
            self._problems.append(problem)
        self._tally.problem()
        if self._on_problem is not None:
            self._on_problem(problem)

    async def _watch(self, stop: asyncio.Event) -> None:
        await stop.wait()
        self._stop("stopped")

    def _stop(self, ending: Ending) -> None:
        """Begin no more jobs."""
        if self._ending == "complete":
            self._ending = ending
            self._jobs.end()
            self._leave_if_idle()

    def _leave_if_idle(self) -> None:
        """Wait no longer for outcomes when the batch stops and no job is in flight: none will come."""
        if self._ending != "complete" and not self._tally.in_flight and self._wait is not None:
            self._wait.cancel()
