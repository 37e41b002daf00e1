"""The emulator's lifetime: its socket, its routes, its worker threads."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from typing import TYPE_CHECKING
from uuid import uuid4

from aiohttp import ClientPayloadError, web
from aiohttp.http_exceptions import HttpProcessingError

from prodia_async.emulator.account import Account, EmulatorStats
from prodia_async.emulator.asynchronous import AsynchronousRoute
from prodia_async.emulator.capacity import Slots
from prodia_async.emulator.runner import Runner
from prodia_async.emulator.settings import Settings
from prodia_async.emulator.synchronous import SynchronousRoute

if TYPE_CHECKING:
    import ssl as ssl_module
    from collections.abc import Collection, Mapping
    from types import TracebackType
    from typing import Self

    from aiohttp.typedefs import Handler

    from prodia_async.emulator.answer import RetryAfter
    from prodia_async.emulator.settings import FreeAt, Prices

# How long a client that is still sending after its answer is read from, so that it gets the answer (seconds).
_LINGER = 2.0
_WORKERS = 4
_BACKLOG = 1024


class Emulator:
    """A local server that behaves like the service, for tests and demonstrations.

        async with Emulator(capacity=8, latency=0.5) as emulator:
            emulator.base_url, emulator.token

    `capacity`: how many jobs run at once; a job that finds no idle slot is answered 429. It can be set at
    any time, and running jobs survive a cut. `latency`: the mean seconds for which a job holds its slot;
    `latency_sigma` spreads it (lognormal). `retry_after`: what a 429 carries, in seconds or as given; None
    sends none. `free_at`: whether the slot is idle again with the answer's headers or with its last byte.
    `token`: the only token that is accepted; `forbidden` tokens are answered 403, as are job types that
    contain `forbidden`. `port=0` takes a free one. `seed` makes latencies and filled-in seeds repeatable.
    `ssl` serves TLS. `price`: dollars for a job, or a mapping from job type to dollars; None for no price.
    At most `async_limit` asynchronous jobs are kept, each for `async_lifetime` seconds after its end.
    `faults`: with what chance, from 0 to 1, a request meets each of the faults that docs/emulator.md lists;
    `fault_time`: for how many seconds, at most, a fault holds a connection.

    Belongs to the event loop in which it is started, and can be started once.
    """

    def __init__(
        self,
        *,
        capacity: int = 8,
        latency: float = 0.5,
        latency_sigma: float = 0.0,
        retry_after: RetryAfter = 1.0,
        free_at: FreeAt = "headers",
        token: str = "emulator-token",  # noqa: S107 - opens nothing but this emulator
        forbidden: Collection[str] = (),
        host: str = "127.0.0.1",
        port: int = 0,
        seed: int = 0,
        ssl: ssl_module.SSLContext | None = None,
        price: Prices = 0.0025,
        async_limit: int = 1000,
        async_lifetime: float = 300.0,
        faults: Mapping[str, float] | None = None,
        fault_time: float = 60.0,
    ) -> None:
        settings = Settings(
            latency=latency,
            latency_sigma=latency_sigma,
            retry_after=retry_after,
            free_at=free_at,
            token=token,
            forbidden=frozenset(forbidden),
            price=price,
            async_limit=async_limit,
            async_lifetime=async_lifetime,
            faults=dict(faults or {}),
            fault_time=fault_time,
        )
        self.token = token
        self._place = (host, port)
        self._ssl = ssl
        self._slots = Slots(capacity)
        self._workers = ThreadPoolExecutor(_WORKERS, thread_name_prefix="emulator")
        self._account = Account()
        runner = Runner(settings, self._slots, self._account, self._workers, seed)
        self._synchronous, self._asynchronous = SynchronousRoute(runner), AsynchronousRoute(runner)
        self._handlers: set[asyncio.Task[object]] = set()
        self._runner: web.AppRunner | None = None

    def __repr__(self) -> str:
        return f"Emulator(capacity={self.capacity}, busy={self._slots.busy})"

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.aclose()

    @property
    def base_url(self) -> str:
        """Where it listens, such as `http://127.0.0.1:41234`. Raises RuntimeError before it is started."""
        if self._runner is None or not self._runner.addresses:
            raise RuntimeError("the emulator is not running: use `async with` or await start()")
        host = f"[{self._place[0]}]" if ":" in self._place[0] else self._place[0]
        return f"{'http' if self._ssl is None else 'https'}://{host}:{self._runner.addresses[0][1]}"

    @property
    def capacity(self) -> int:
        """How many jobs may run at once; set it at any time."""
        return self._slots.capacity

    @capacity.setter
    def capacity(self, capacity: int) -> None:
        self._slots.capacity = capacity

    def stats(self) -> EmulatorStats:
        """Return a snapshot of the account, as `GET /stats` gives it."""
        return EmulatorStats(
            **vars(self._account) | {"faults": dict(self._account.faults)},
            async_jobs=len(self._asynchronous.store),
            expired=self._asynchronous.store.expired,
            busy=self._slots.busy,
            capacity=self._slots.capacity,
            peak_busy=self._slots.peak,
            busy_seconds=self._slots.busy_seconds,
        )

    async def start(self) -> None:
        """Listen. Raises OSError where the address is taken, RuntimeError at a second start."""
        if self._runner is not None:
            raise RuntimeError("an emulator can be started once")
        self._runner = web.AppRunner(
            self._application(), access_log=None, shutdown_timeout=0.1, lingering_time=_LINGER
        )
        try:
            await self._runner.setup()
            host, port = self._place
            await web.TCPSite(self._runner, host, port, ssl_context=self._ssl, backlog=_BACKLOG).start()
        except BaseException:
            await self.aclose()
            raise

    async def aclose(self) -> None:
        """Stop: running jobs are cancelled, connections closed, threads ended. Calling it again is fine."""
        if self._runner is not None:
            await self._runner.cleanup()
        await self._asynchronous.aclose()
        await asyncio.to_thread(self._workers.shutdown, cancel_futures=True)

    def _application(self) -> web.Application:
        application = web.Application(middlewares=[_errors_as_json])
        application.on_response_prepare.append(self._add_request_id)
        application.on_shutdown.append(self._cancel_handlers)
        router = application.router
        for path, route in (("/v2/job", self._synchronous), ("/v2/job/async", self._asynchronous)):
            router.add_post(path, self._tracked(route.post), expect_handler=route.expect)
        for path, handler in (
            ("job.state.current", self._asynchronous.get_state),
            ("job.json", self._asynchronous.get_result),
            ("output", self._asynchronous.get_names),
            ("output/{filename:(?s:.+)}", self._asynchronous.get_output),
        ):
            router.add_get(f"/v2/job/async/{{id}}/{path}", self._tracked(handler), allow_head=False)
        router.add_get("/stats", self._get_stats)
        router.add_get("/health", _get_health)
        return application

    def _tracked(self, handler: Handler) -> Handler:
        """Return a handler that we can cancel: aiohttp forgets those of connections that were lost."""

        async def tracked(request: web.Request) -> web.StreamResponse:
            task = asyncio.current_task()
            if task is None:
                raise AssertionError("a handler runs in a task")
            self._handlers.add(task)
            try:
                return await handler(request)
            except (ConnectionError, ClientPayloadError, HttpProcessingError):
                self._account.disconnected += 1
                return web.Response(status=499)  # for nobody: the client left
            finally:
                self._handlers.discard(task)

        return tracked

    async def _get_stats(self, _request: web.Request) -> web.Response:
        return web.json_response(asdict(self.stats()))

    async def _add_request_id(self, _request: web.Request, response: web.StreamResponse) -> None:
        response.headers["x-request-id"] = str(uuid4())

    async def _cancel_handlers(self, _application: web.Application) -> None:
        for handler in self._handlers:
            handler.cancel()
        if self._handlers:
            await asyncio.wait(self._handlers)


async def _get_health(_request: web.Request) -> web.Response:
    return web.json_response({"status": "ok"})


@web.middleware
async def _errors_as_json(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answer an unknown path or method in JSON, as the service does."""
    try:
        return await handler(request)
    except web.HTTPException as error:
        return web.json_response({"message": error.reason}, status=error.status)
