"""`Prodia`: the facade. It gathers settings and hands every call on; it decides nothing."""

from __future__ import annotations

import logging
import platform
import random
import threading
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from prodia_async import __version__, _handles
from prodia_async._arguments import address_of, headers_of, hook_of, job_of, limiter_of, plain, token_of
from prodia_async._call import Asynchronous, Call
from prodia_async._engine import Engine, Options, Outcome
from prodia_async._errors import ClientClosedError, InputError
from prodia_async._events import set_up_log
from prodia_async._files import targets
from prodia_async._files.hops import start
from prodia_async._files.sinks import Budget
from prodia_async._handles import Handle
from prodia_async._http.descriptors import allowed_concurrency
from prodia_async._http.proxies import proxy_for
from prodia_async._http.sessions import AiohttpTransport, ConnectionSettings
from prodia_async._loops import OnExit, PerLoop
from prodia_async._many import AsCompleted, Jobs, Work
from prodia_async._models import Event, Input, Job, JobResult, Mode, Stats
from prodia_async._pacing.clock import Clock, SystemClock
from prodia_async._pacing.limiter import Learned, Pool
from prodia_async._run import run
from prodia_async._settings import Adaptive, Fixed, Limits, Polling, Retry, Timeouts, Token, require
from prodia_async._stream import Stream

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Mapping, Sequence
    from types import TracebackType

    from prodia_async._files.targets import To
    from prodia_async._http.transport import Transport

log = logging.getLogger("prodia_async")

_TELL = 5.0
"""Seconds that `on_event` may take to hear of the last events when the client is closed."""


class Prodia:
    """A client of the Prodia Inference API v2. Share one; close it with `async with` or `aclose()`.

    All arguments are keyword-only and optional:

    - `token`: the API token; default: the environment's PRODIA_TOKEN.
    - `base_url`: default: PRODIA_BASE_URL, or https://inference.prodia.com; with or without `/v2`.
    - `limiter`: `Adaptive(...)`, the default, learns the service's capacity; `Fixed(n)` is told it.
    - `max_concurrency`: the most jobs in flight, short for `limiter=Adaptive(max_concurrency=...)`;
      default 256, or fewer where the process may open too few files.
    - `retry`, `timeouts`, `polling`, `limits`: see `Retry`, `Timeouts`, `Polling` and `Limits`.
    - `price`: ask for each job's price; default False.
    - `headers`, `user_agent`: sent with each request.
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

    def __init__(
        self,
        *,
        token: str | None = None,
        base_url: str | None = None,
        max_concurrency: int | None = None,
        limiter: Adaptive | Fixed | None = None,
        retry: Retry | None = None,
        timeouts: Timeouts | None = None,
        polling: Polling | None = None,
        limits: Limits | None = None,
        price: bool = False,
        headers: Mapping[str, str] | None = None,
        user_agent: str | None = None,
        on_event: Callable[[Event], object] | None = None,
        allow_insecure: bool | None = None,
        pickle_token: bool = False,
        ssl_context: ssl.SSLContext | None = None,
        session_options: Mapping[str, Any] | None = None,
        transport: Callable[[], Transport] | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._arguments = {name: value for name, value in locals().items() if name != "self"}
        checked = token_of(token)
        self._arguments["token"] = None if token is None else checked
        del token  # a traceback may show the variables of its frames
        if isinstance(checked, InputError):
            raise checked
        set_up_log()
        self._token = checked
        self._address = address_of(base_url, allow_insecure)
        self._arguments["base_url"] = self._address.url
        self._limiter = limiter_of(limiter, max_concurrency)
        self._arguments |= {"limiter": self._limiter, "max_concurrency": None}
        self._clock: Clock = clock if clock is not None else SystemClock()
        self._options = Options(
            url=f"{self._address.url}/v2/job",
            headers=headers_of(headers),
            redact=self._token.redact,
            clock=self._clock,
            retry=retry if retry is not None else Retry(),
            timeouts=timeouts if timeouts is not None else Timeouts(),
            polling=polling if polling is not None else Polling(),
            limits=limits if limits is not None else Limits(),
            price=price,
            hook=hook_of(on_event),
        )
        self._learned: Learned = {}
        self._proxy = proxy_for(self._address)
        self._engines: PerLoop[Engine] = PerLoop(self._make_engine)
        self._owns_engines = True
        self._stopped = threading.Event()  # shared with copies

    async def run(
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
        price: bool | None = None,
        timeout: float | None = None,
        spool: bool = False,
        expect_continue: bool | int | None = None,
    ) -> JobResult:
        """Run one job and return its result, with its outputs stored as `to` says.

        `job` is a job type, with `config` and `inputs`, or a `Job`. `to`: None keeps outputs in memory; a
        path to a file or into a folder; `File(...)`, `Folder(...)`; or a factory of sinks, `Callable[[Job],
        Sink]`. `accept`: the media type wanted for the first output. `mode`: "async" runs it through the
        asynchronous API, for jobs of minutes. `timeout`: seconds for all of it, waiting included; default
        none. `spool`: keep one-shot inputs so that they can be sent again. `expect_continue`: ask the server
        whether it wants the inputs before they are sent, so that a shed job costs none of them; by default
        for one-shot inputs, with a number for bodies of so many bytes, with True or False for all or none.

        Raises InputError before anything is sent for a job that cannot work, and another ProdiaError when
        the job did not bring its outputs; `error.may_have_run` tells whether it may have been billed.
        """
        whole = job_of(
            job,
            config=config,
            inputs=inputs,
            accept=accept,
            custom_id=custom_id,
            priority=priority,
            mode=mode,
        )
        engine, _ = await self._connect()
        target = await engine.target(to, self._options.limits)
        call = Call(
            job=whole,
            target=target,
            timeout=timeout,
            price=price,
            spool=spool,
            expect_continue=expect_continue,
            asynchronous=self._asynchronous(whole),
        )
        return await run(engine, self._options, call)

    def stream(
        self,
        job: str | Job,
        config: Mapping[str, Any] | None = None,
        *,
        inputs: Sequence[Input] | None = None,
        accept: str | None = None,
        custom_id: str | None = None,
        priority: int | None = None,
        price: bool | None = None,
        timeout: float | None = None,
        spool: bool = False,
        expect_continue: bool | int | None = None,
    ) -> Stream:
        """Run one job and hand its outputs out while they arrive: see `Stream`.

            async with prodia.stream("inference.flux-fast.schnell.txt2img.v2", {"prompt": "a cat"}) as reply:
                async for output in reply:
                    async for chunk in output:
                        ...

        The arguments are those of `run`; `timeout`, in seconds, counts until the block is entered.
        """
        whole = job_of(
            job, config=config, inputs=inputs, accept=accept, custom_id=custom_id, priority=priority
        )
        if whole.mode == "async":
            raise InputError("an asynchronous job cannot be streamed: use submit(), or run(mode='async')")
        call = Call(
            job=whole,
            target=targets.NOWHERE,
            timeout=timeout,
            price=price,
            spool=spool,
            expect_continue=expect_continue,
        )
        return Stream(self._connect, call)

    async def submit(
        self,
        job: str | Job,
        config: Mapping[str, Any] | None = None,
        *,
        inputs: Sequence[Input] | None = None,
        accept: str | None = None,
        custom_id: str | None = None,
        priority: int | None = None,
        price: bool | None = None,
        timeout: float | None = None,
        spool: bool = False,
        expect_continue: bool | int | None = None,
    ) -> Handle:
        """Have the service take a job, through its asynchronous API, and return its handle.

        The arguments are those of `run`; `timeout`, in seconds, counts until the service has the job. A
        submitted job keeps its place in `max_concurrency` until its result is stored or its handle is
        dropped: to run many, submit and collect each in one task, or say `run(mode="async")`.
        """
        whole = job_of(
            job,
            config=config,
            inputs=inputs,
            accept=accept,
            custom_id=custom_id,
            priority=priority,
            mode="async",
        )
        call = Call(
            job=whole,
            target=targets.NOWHERE,
            timeout=timeout,
            price=price,
            spool=spool,
            expect_continue=expect_continue,
        )
        return await _handles.submit(self._connect, call)

    def handle(self, job_id: str, *, custom_id: str | None = None) -> Handle:
        """Return the handle of a job that was submitted before, perhaps by another process.

        Nothing is sent. `custom_id` names its outputs in a folder. Raises InputError for what is no id.
        """
        given: object = job_id  # what a caller without a type checker gave
        if not isinstance(given, str) or not given.strip():
            raise InputError(f"a job's id is text, not {job_id!r}: pass the `id` of a handle")
        return Handle(self._connect, job_id, wanted=Job("", custom_id=custom_id, mode="async"))

    def as_completed(
        self,
        jobs: Jobs,
        *,
        to: To = None,
        ahead: int | None = None,
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
        sinks; a file is an InputError. `timeout`: seconds for each job. Leaving the block cancels what is
        in flight; the service may still finish, and bill, such jobs.
        """
        if ahead is not None and ahead < 1:
            raise InputError(f"ahead cannot be {ahead!r}")
        # Bad values of `to` are told here, not inside the block.
        targets.refuse_single(to)

        async def begin() -> Work:
            engine, _ = await self._connect()
            target = await engine.target(to, self._options.limits)

            async def run_one(job: Job) -> JobResult:
                call = Call(
                    job=job,
                    target=target,
                    timeout=timeout,
                    price=price,
                    spool=spool,
                    bounded=False,
                    asynchronous=self._asynchronous(job),
                )
                return await run(engine, self._options, call)

            return Work(run_one, engine.pool.expect_more)

        return AsCompleted(jobs, begin, ahead or 4 * self._limiter.max_concurrency)

    def with_options(
        self,
        *,
        retry: Retry | None = None,
        timeouts: Timeouts | None = None,
        polling: Polling | None = None,
        limits: Limits | None = None,
        price: bool | None = None,
        headers: Mapping[str, str] | None = None,
        on_event: Callable[[Event], object] | None = None,
    ) -> Prodia:
        """Return a copy with other options that shares connections and limiter, and never closes them."""
        given = {name: value for name, value in locals().items() if name != "self" and value is not None}
        copy = object.__new__(type(self))
        copy.__dict__.update(self.__dict__)
        if headers is not None:
            given["headers"] = {**self._options.headers, **headers_of(headers)}
        copy._arguments = {**self._arguments, **given}
        if on_event is not None:
            given["hook"] = hook_of(given.pop("on_event"))
        copy._options = replace(self._options, **given)
        copy._owns_engines = False
        return copy

    def stats(self) -> Stats:
        """Return the counts of this client, and of its copies, in the running event loop."""
        try:
            engine = self._engines.peek()
        except RuntimeError:  # no running loop
            engine = None
        return engine.stats() if engine is not None else Stats()

    async def aclose(self, *, drain: float = 0.0) -> tuple[Outcome, ...]:
        """Close this event loop's connections, and return the jobs that did not finish.

        No job begins any more, and those that wait are sent away; those in flight have `drain` seconds to
        finish before they are cut. Each that did not is in what is returned, and its own call raises the same
        ClientClosedError, whose `may_have_run` tells whether the service may have run it.

        Using the client again reopens it, but for one that was stopped with a `drain`: it and its copies stay
        closed. A copy made by `with_options` closes nothing.
        """
        require(drain >= 0, "drain", drain)
        if not self._owns_engines:
            return ()
        if drain:
            self._stopped.set()
        engine = self._engines.peek()
        async with OnExit(self._close):
            return () if engine is None else await engine.drain(self._clock, drain)

    async def _close(self) -> None:
        await self._engines.aclose()
        if self._options.hook is not None:
            await start(self._options.hook.wait, _TELL, apart=True).settled()

    async def __aenter__(self) -> Prodia:  # noqa: PYI034 - typing.Self needs Python 3.11
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    def __repr__(self) -> str:
        settings = ", ".join(f"{name}={self._arguments[name]!r}" for name in ("base_url", "limiter"))
        return f"Prodia({settings}, token=***)"

    def __getstate__(self) -> dict[str, Any]:
        token: Token | None = self._arguments["token"]
        if token is not None and not self._arguments["pickle_token"]:
            raise InputError(
                "this client holds an explicit token and is not pickled with it: set PRODIA_TOKEN where it "
                "is unpickled, or say Prodia(pickle_token=True)"
            )
        return self._arguments

    def __setstate__(self, state: dict[str, Any]) -> None:
        # A client is its settings. The token's plain text gets no variable here: a traceback may show them.
        self.__init__(**{**state, "token": plain(state["token"])})  # type: ignore[misc]

    async def _connect(self) -> tuple[Engine, Options]:
        if self._stopped.is_set():
            raise ClientClosedError("this client was stopped, and takes no more jobs: make another")
        return await self._engines.get(), self._options

    def _asynchronous(self, job: Job) -> Asynchronous:
        return Asynchronous(handle=lambda job_id: Handle(self._connect, job_id, wanted=job))

    def _make_engine(self) -> Engine:
        limiter = self._limiter
        limit = allowed_concurrency(limiter.max_concurrency, told=limiter != Adaptive())
        make_transport: Callable[[], Transport] = self._arguments["transport"] or self._make_transport
        chance = random.Random()  # noqa: S311 - jitter and boundaries, not secrets
        pool = Pool(limiter, self._clock, chance, limit=limit, learned=self._learned)
        return Engine(make_transport(), pool, Budget(self._options.limits.collect), chance)

    def _make_transport(self) -> Transport:
        agent = (
            self._arguments["user_agent"] or f"prodia-async/{__version__} Python/{platform.python_version()}"
        )
        return AiohttpTransport(
            ConnectionSettings(
                keepalive=self._options.timeouts.keepalive,
                headers={"User-Agent": agent, "Accept-Encoding": "identity"},
                token=self._token,
                proxy=self._proxy,
                ssl_context=self._arguments["ssl_context"],
                session_options=self._arguments["session_options"] or {},
            )
        )


async def connection(prodia: Prodia) -> tuple[Engine, Options]:
    """Return what runs a client's calls in the running event loop, for rooms that make their own."""
    return await prodia._connect()  # noqa: SLF001 - the class's own module
