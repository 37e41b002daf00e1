"""What worker.py tells of itself over HTTP: /metrics for Prometheus, /healthz for whoever restarts it."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import msgspec
from aiohttp import web

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from worker_queue import Queue

    from prodia_async import Prodia, Stats

GAUGES = ("in_flight", "waiting")


@asynccontextmanager
async def serve(
    host: str,
    port: int,
    prodia: Prodia,
    queue: Queue,
    health: Callable[[], tuple[bool, dict[str, float]]],
) -> AsyncIterator[str]:
    """Serve both while the block lasts, and give it the address. `health` tells whether all is well."""

    async def metrics(_: web.Request) -> web.Response:
        return web.Response(text=exposition(prodia.stats(), await queue.counts()))

    async def healthz(_: web.Request) -> web.Response:
        is_well, told = health()
        return web.json_response(text=quoted(told), status=200 if is_well else 503)

    app = web.Application()
    app.add_routes([web.get("/metrics", metrics), web.get("/healthz", healthz)])
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
    try:
        await runner.setup()
        await web.TCPSite(runner, host, port).start()
        yield f"http://{host}:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


def exposition(stats: Stats, rows: dict[str, int]) -> str:
    """Return the client's counts and the queue's in Prometheus's text format."""
    lines = []
    counts = msgspec.to_builtins(stats)
    types = counts.pop("by_type").items()
    for name, value in counts.items():
        full, kind = (f"prodia_{name}", "gauge") if name in GAUGES else (f"prodia_{name}_total", "counter")
        lines += [f"# TYPE {full} {kind}", f"{full} {value}"]
    for name in ("limit", "in_flight", "waiting"):
        lines += [f"# TYPE prodia_type_{name} gauge"]
        lines += [f"prodia_type_{name}{{type={quoted(kind)}}} {of[name]}" for kind, of in types]
    lines += ["# TYPE prodia_rows gauge"]
    lines += [f"prodia_rows{{state={quoted(state)}}} {count}" for state, count in rows.items()]
    return "\n".join([*lines, ""])


def quoted(value: object) -> str:
    """Return a value as JSON, whose quotes are Prometheus's too."""
    return msgspec.json.encode(value).decode()
