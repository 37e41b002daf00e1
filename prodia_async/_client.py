"""`Prodia`: what users call. It hands every call to the door and on; it decides nothing."""

from __future__ import annotations

from collections.abc import Coroutine, Mapping, Sequence
from functools import partial
from typing import Any

from msgspec.structs import replace

from prodia_async import _door, _handles
from prodia_async._arguments import checked
from prodia_async._errors import InputError
from prodia_async._files import outputs
from prodia_async._files.outputs import To
from prodia_async._handles import Handle
from prodia_async._lifetime import Client
from prodia_async._many import AsCompleted, Jobs
from prodia_async._models import Input, Job, JobResult, Mode
from prodia_async._run import Run
from prodia_async._stream import Stream


class Prodia(Client):
    """A client of the Prodia Inference API v2. Share one; close it with `async with` or `aclose()`.

    All arguments are keyword-only and optional:

    - `token`: the API token; default: the environment's PRODIA_TOKEN. Or a function that gives it, plain (it
      is called in a thread) or async: before the first request of each event loop, and again on a 401, once
      for all jobs that hear of it; they are sent again with the new one. It may take 60 s; where it gives
      none, jobs raise AuthenticationError.
    - `base_url`: default: PRODIA_BASE_URL, or https://inference.prodia.com; with or without `/v2`.
    - `limiter`: `Adaptive(...)`, the default, learns the service's capacity; `Fixed(n)` is told it.
    - `max_concurrency`: the most jobs in flight, short for `limiter=Adaptive(max_concurrency=...)`;
      default 256, or fewer where the process may open too few files.
    - `retry`, `timeouts`, `polling`, `limits`: see `Retry`, `Timeouts`, `Polling` and `Limits`.
    - `timeout`: seconds for each job whose call names none, `math.inf` for none; default none. A handle has
      its own.
    - `price`: ask for each job's price; default False.
    - `headers`, `user_agent`: sent with each request; a call's own `headers` go beside these.
    - `on_event`: called with each `Event` of each job, in order, in a thread of its own within the job's
      contextvars; what it raises is logged, and no job waits for it.
    - `allow_insecure`: allow `http://` to another computer; default: whether PRODIA_ALLOW_INSECURE is 1.
    - `pickle_token`: allow a client with an explicit token to be pickled, token included; default False.
    - `ssl_context`: for TLS; default: the system's certificates.
    - `session_options`: passed on to `aiohttp.ClientSession`.
    - `transport`: makes the `Transport` of each event loop; `clock`: its time. Seams for tests.

    Raises InputError for arguments that cannot work. A client can be used in several event loops and
    threads, one after another or at once, and in forked children; each has connections of its own.

        async with Prodia() as prodia:
            await prodia.run("inference.flux-fast.schnell.txt2img.v2", {"prompt": "a cat"}, to="cat.jpg")
    """

    def run(
        self,
        job: str | Job,
        config: Mapping[str, Any] | None = None,
        *,
        inputs: Sequence[Input] | None = None,
        to: To = None,
        accept: str | None = None,
        custom_id: str | None = None,
        priority: int | None = None,
        mode: Mode | None = None,
        extra: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        price: bool | None = None,
        timeout: float | None = None,
        spool: bool = False,
        expect_continue: bool | int | None = None,
    ) -> Coroutine[Any, Any, JobResult]:
        """Await it: run one job and return its result, with its outputs stored as `to` says.

        `job` is a job type, with `config` and `inputs`, or a `Job`. `to`: None keeps outputs in memory; a
        path to a file or into a folder; `File(...)`, `Folder(...)`; or a factory of sinks, `Callable[[Job],
        Sink]`. `accept`: the media type wanted for the first output. `mode`: "async" runs it through the
        asynchronous API, for jobs of minutes. `extra`: further fields of the job's JSON, beside type and
        config. `headers`: sent with its requests, beside the client's; none that the client makes itself,
        such as Accept, Content-Type and Host. `timeout`: seconds for all of it, waiting included; default:
        the client's. `spool`: keep one-shot inputs so that they can be sent again. `expect_continue`: ask the
        server whether it wants the inputs before they are sent, so that a shed job costs none of them; by
        default for one-shot inputs, with a number for bodies of so many bytes, with True or False for all or
        none.

        Raises InputError before anything is sent for a job that cannot work, and another ProdiaError when
        the job did not bring its outputs; `error.may_have_run` tells whether it may have been billed.
        """
        return self._new_run(_door.call(self._options, **locals())).result()

    def stream(
        self,
        job: str | Job,
        config: Mapping[str, Any] | None = None,
        *,
        inputs: Sequence[Input] | None = None,
        accept: str | None = None,
        custom_id: str | None = None,
        priority: int | None = None,
        extra: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        price: bool | None = None,
        timeout: float | None = None,
        spool: bool = False,
        expect_continue: bool | int | None = None,
    ) -> Stream:
        """Run one job and hand its outputs out while they arrive: see `Stream`.

        The arguments are those of `run`; `timeout`, in seconds, counts until the block is entered.
        """
        call = _door.call(self._options, **locals())
        if call.job.mode == "async":
            raise InputError("an asynchronous job cannot be streamed: use submit(), or run(mode='async')")
        return Stream(self._engines, call)

    def submit(
        self,
        job: str | Job,
        config: Mapping[str, Any] | None = None,
        *,
        inputs: Sequence[Input] | None = None,
        accept: str | None = None,
        custom_id: str | None = None,
        priority: int | None = None,
        extra: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        price: bool | None = None,
        timeout: float | None = None,
        spool: bool = False,
        expect_continue: bool | int | None = None,
    ) -> Coroutine[Any, Any, Handle]:
        """Await it: have the service take a job, through its asynchronous API, and return its handle.

        The arguments are those of `run`; `timeout`, in seconds, counts until the service has the job. A
        submitted job keeps its place in `max_concurrency` until its result is stored or its handle is
        dropped: to run many, submit and collect each in one task, or say `run(mode="async")`.
        """
        return _handles.submit(self._engines, _door.call(self._options, mode="async", **locals()))

    def handle(self, job_id: str, *, custom_id: str | None = None) -> Handle:
        """Return the handle of a job that was submitted before, perhaps by another process.

        Nothing is sent. `custom_id` names its outputs in a folder. Raises InputError for what is no id.
        """
        given = checked({"job_id": job_id, "custom_id": custom_id}, needed=("job_id",))
        wanted = Job("", custom_id=given["custom_id"], mode="async")
        return Handle(self._engines, self._options, given["job_id"], wanted=wanted)

    def as_completed(
        self,
        jobs: Jobs,
        *,
        to: To = None,
        ahead: int | None = None,
        headers: Mapping[str, str] | None = None,
        price: bool | None = None,
        timeout: float | None = None,
        spool: bool = False,
    ) -> AsCompleted:
        """Run many jobs and hand out each `Outcome` as it completes; one failure never sinks the rest.

            async with prodia.as_completed(jobs, to="out/") as outcomes:
                async for outcome in outcomes:
                    ...

        `jobs` is any iterable or async iterable of `Job`, read as there is room: `ahead` jobs of each type
        are kept started (default: 4 × the limiter's `max_concurrency`). `to`: None, a folder or a factory of
        sinks; a file is an InputError. `timeout`: seconds for each job; `headers`, `price` and `spool` are
        each job's, too: see `run`. Leaving the block cancels what is in flight; the service may still finish,
        and bill, such jobs.
        """
        own = {"headers": headers, "price": price, "timeout": timeout, "spool": spool}
        given = checked({**own, "to": to, "ahead": ahead})
        folder, ahead = given.pop("to"), given.pop("ahead")
        outputs.check_many(folder)

        def new_run(job: Job) -> Run:
            return self._new_run(replace(_door.call(self._options, job, bounded=False, **given), to=folder))

        def most() -> int:
            return ahead or 4 * (self._engines.limit or self._limiter.max_concurrency)

        return AsCompleted(jobs, new_run, self._engines, most)

    def _new_run(self, call: _door.Call) -> Run:
        if call.job.mode == "async":
            call = replace(call, make_handle=partial(Handle, self._engines, call.options, wanted=call.job))
        return Run(self._engines, call)
