"""The emulator's lifetime: its socket, its routes, its worker threads; and one in a thread of its own."""

from __future__ import annotations

import asyncio
import contextlib
import os  # noqa: F401 - see below
import ssl as ssl_module  # noqa: F401 - see below
from collections.abc import Callable, Collection, Iterator, Mapping  # noqa: F401 - see below
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, Self  # noqa: F401 - the options' types are looked for here
from uuid import uuid4

from aiohttp import ClientPayloadError, web
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.typedefs import Handler

from prodia_async.emulator._account import EmulatorStats
from prodia_async.emulator._options import Options
from prodia_async.emulator._routes import Routes

# How long a client that is still sending after its answer is read from, so that it gets the answer (seconds).
_LINGER = 2.0
_WORKERS = 4
_BACKLOG = 1024
_PATIENCE = 10.0
"""Seconds that the thread of a background emulator may take to start and to stop."""


@dataclass(kw_only=True, repr=False, eq=False)
class Emulator(Options):
    """A local server that behaves like the service, for tests and demonstrations.

        async with Emulator(capacity=8, latency=0.5) as emulator:
            emulator.base_url, emulator.token

    `capacity`: how many jobs run at once; a job that finds no idle slot is answered 429. It can be set at
    any time, and running jobs survive a cut. `latency`: the mean seconds for which a job holds its slot;
    `latency_sigma` spreads it (lognormal). `retry_after`: what a 429 carries, in seconds or as given; None
    sends none. `free_at`: whether the slot is idle again with the answer's headers or with its last byte.
    `token`: the only token that is accepted; `forbidden` tokens are answered 403, as are job types that
    contain `forbidden`. `port=0` takes a free one. `seed` makes latencies and filled-in seeds repeatable.
    `ssl` serves TLS. `price`: dollars for a job, or a mapping from job type to dollars; None for no price;
    "list" for the prices on the vendor's pages, some of which depend on the config. `strict`: answer 400 to
    a config that does not keep to the schema of its type, where that is known.
    At most `async_limit` asynchronous jobs are kept, each for `async_lifetime` seconds after its end.
    `record`: a folder into which each request and its reply are written, without tokens; `replay`: one that
    was recorded, from which jobs are answered, in their recorded time or `at_once`. `upstream`: the URL of a
    service to which all is handed on, with the client's own token, to be recorded.
    `faults`: with what chance, from 0 to 1, a request meets each of the faults that docs/emulator.md lists;
    `fault_time`: for how many seconds, at most, a fault holds a connection.

    Belongs to the event loop in which it is started, and can be started once. Raises ValueError for an
    option that cannot be.
    """

    def __post_init__(self) -> None:
        self._account = EmulatorStats()
        self._workers = ThreadPoolExecutor(_WORKERS, thread_name_prefix="emulator")
        self._routes = Routes(self, self._account, self._workers)
        self._handlers: set[asyncio.Task[object]] = set()
        self._runner: web.AppRunner | None = None

    def __repr__(self) -> str:
        return f"Emulator(capacity={self.capacity}, busy={self._routes.slots.busy})"

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    @property
    def base_url(self) -> str:
        """Where it listens, such as `http://127.0.0.1:41234`. Raises RuntimeError before it is started."""
        if self._runner is None or not self._runner.addresses:
            raise RuntimeError("the emulator is not running: use `async with` or await start()")
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'http' if self.ssl is None else 'https'}://{host}:{self._runner.addresses[0][1]}"

    def stats(self) -> EmulatorStats:
        """Return a snapshot of the account, as `GET /stats` gives it."""
        slots, store = self._routes.slots, self._routes.store
        return replace(
            self._account,
            faults=dict(self._account.faults),
            async_jobs=len(store),
            expired=store.expired,
            busy=slots.busy,
            capacity=self.capacity,
            peak_busy=slots.peak,
            busy_seconds=slots.busy_seconds,
        )

    async def start(self) -> None:
        """Listen. Raises OSError where the address is taken, RuntimeError at a second start."""
        if self._runner is not None:
            raise RuntimeError("an emulator can be started once")
        application = web.Application(middlewares=[self._guard])
        application.on_shutdown.append(self._cancel_handlers)
        self._routes.add_to(application.router)
        application.router.add_get("/stats", self._get_stats)
        application.router.add_get("/health", _get_health)
        self._runner = web.AppRunner(
            application, access_log=None, shutdown_timeout=0.1, lingering_time=_LINGER
        )
        try:
            await self._runner.setup()
            site = web.TCPSite(self._runner, self.host, self.port, ssl_context=self.ssl, backlog=_BACKLOG)
            await site.start()
        except BaseException:
            await self.aclose()
            raise

    async def aclose(self) -> None:
        """Stop: running jobs are cancelled, connections closed, threads ended. Calling it again is fine."""
        if self._runner is not None:
            await self._runner.cleanup()
        await self._routes.aclose()
        await asyncio.to_thread(self._workers.shutdown, cancel_futures=True)

    @web.middleware
    async def _guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """See to it that each request is in the account, and that each answer has an id.

        Whatever a handler raises is a 500 that is counted. Its task is kept, so that it can be cancelled:
        aiohttp forgets those of connections that were lost.
        """
        task = asyncio.current_task()
        if task is None:
            raise AssertionError("a handler runs in a task")
        self._handlers.add(task)
        try:
            response = await handler(request)
        except (ConnectionError, ClientPayloadError, HttpProcessingError):
            self._account.disconnected += 1
            return web.Response(status=499)  # for nobody: the client left
        except web.HTTPException as error:  # an unknown path or method, in JSON as the service does
            response = web.json_response({"message": error.reason}, status=error.status)
        except Exception as error:  # noqa: BLE001 - no request without an account
            self._account.failed += request.method == "POST" and id(request) not in self._routes.counted
            if request.transport is not None and request.writer.output_size:
                request.transport.close()  # the answer has begun: it can only be cut
            body = {"message": "Internal server error", "detail": type(error).__name__}
            response = web.json_response(body, status=500)
        finally:
            self._handlers.discard(task)
            self._routes.counted.discard(id(request))
            if self._routes.recorder is not None:
                self._routes.recorder.end(request)
        if not response.prepared:
            response.headers["x-request-id"] = str(uuid4())
        return response

    async def _get_stats(self, _request: web.Request) -> web.Response:
        return web.json_response(asdict(self.stats()))

    async def _cancel_handlers(self, _application: web.Application) -> None:
        for handler in self._handlers:
            handler.cancel()
        if self._handlers:
            await asyncio.wait(self._handlers)


async def _get_health(_request: web.Request) -> web.Response:
    return web.json_response({"status": "ok"})


@contextlib.contextmanager
def background_emulator(**options: Any) -> Iterator[Emulator]:
    """Run `Emulator(**options)` in a thread while the block lasts. Raises what starting it raises.

    For tests, and for programs whose event loop should stay theirs. Its `base_url`, `token` and `stats()`
    may be used from any thread.
    """
    started: Future[tuple[Emulator, Callable[[], object]]] = Future()

    async def serve() -> None:
        loop, stop = asyncio.get_running_loop(), asyncio.Event()
        async with Emulator(**options) as emulator:
            started.set_result((emulator, lambda: loop.call_soon_threadsafe(stop.set)))
            await stop.wait()

    def run() -> None:
        try:
            asyncio.run(serve())
        except BaseException as error:
            if started.done():
                raise
            started.set_exception(error)

    with ThreadPoolExecutor(1, thread_name_prefix="emulator") as thread:
        ended = thread.submit(run)
        emulator, stop = started.result(_PATIENCE)
        try:
            yield emulator
        finally:
            stop()
            ended.result(_PATIENCE)
