"""The emulator's lifetime: its socket, its routes, its worker threads."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from typing import TYPE_CHECKING
from uuid import uuid4

from aiohttp import web

from prodia_async.emulator.capacity import Slots
from prodia_async.emulator.service import Service
from prodia_async.emulator.settings import Settings

if TYPE_CHECKING:
    import ssl as ssl_module
    from collections.abc import Collection
    from types import TracebackType

    from aiohttp.typedefs import Handler
    from typing_extensions import Self

    from prodia_async.emulator.account import EmulatorStats
    from prodia_async.emulator.orders import RetryAfter
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
    ) -> None:
        settings = Settings(
            latency=latency,
            latency_sigma=latency_sigma,
            retry_after=retry_after,
            free_at=free_at,
            token=token,
            forbidden=frozenset(forbidden),
            price=price,
        )
        self.token = token
        self._place = (host, port)
        self._ssl = ssl
        self._slots = Slots(capacity)
        self._workers = ThreadPoolExecutor(_WORKERS, thread_name_prefix="emulator")
        self._service = Service(settings, self._slots, self._workers, seed)
        self._jobs: set[asyncio.Task[object]] = set()
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
        return self._service.stats()

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
        await asyncio.to_thread(self._workers.shutdown, cancel_futures=True)

    def _application(self) -> web.Application:
        application = web.Application(middlewares=[_errors_as_json])
        application.on_response_prepare.append(self._add_request_id)
        application.on_shutdown.append(self._cancel_jobs)
        application.router.add_post("/v2/job", self._post_job, expect_handler=self._service.expect)
        application.router.add_get("/stats", self._get_stats)
        application.router.add_get("/health", _get_health)
        return application

    async def _post_job(self, request: web.Request) -> web.StreamResponse:
        # Tracked by us: aiohttp forgets the handlers of connections that were lost.
        job = asyncio.current_task()
        if job is None:
            raise AssertionError("a handler runs in a task")
        self._jobs.add(job)
        try:
            return await self._service.post_job(request)
        finally:
            self._jobs.discard(job)

    async def _get_stats(self, _request: web.Request) -> web.Response:
        return web.json_response(asdict(self.stats()))

    async def _add_request_id(self, _request: web.Request, response: web.StreamResponse) -> None:
        response.headers["x-request-id"] = str(uuid4())

    async def _cancel_jobs(self, _application: web.Application) -> None:
        for job in self._jobs:
            job.cancel()
        if self._jobs:
            await asyncio.wait(self._jobs)


async def _get_health(_request: web.Request) -> web.Response:
    return web.json_response({"status": "ok"})


@web.middleware
async def _errors_as_json(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answer an unknown path or method in JSON, as the service does."""
    try:
        return await handler(request)
    except web.HTTPException as error:
        return web.json_response({"message": error.reason}, status=error.status)
