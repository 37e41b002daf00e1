"""Running a job in each of the client's ways, and what Go says of it."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

from msgspec.structs import replace
from support.goserver import TOKEN, GoServer
from support.leaks import client

from prodia_async import Fixed, Job, JobResult, Polling, Prodia

ECHO = "go.echo.v1"
BYTES = "go.bytes.v1"
WAYS = ["run", "stream", "as_completed", "submit", "mode=async"]


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def pattern(size: int, seed: int = 0) -> bytes:
    """Return bytes that hold line ends, dashes and all else that a boundary could be mistaken for."""
    block = hashlib.shake_256(seed.to_bytes(8, "big")).digest(4096) + b"\r\n--\r\n\r\n----\n" + b"\0" * 100
    return (block * (size // len(block) + 1))[:size]


@contextlib.asynccontextmanager
async def go_client(server: GoServer, **options: Any) -> AsyncIterator[Prodia]:
    """Open a client of the Go server; a fixed limit is asked again as soon as Retry-After says."""
    settings = {"token": TOKEN, "limiter": Fixed(4), "polling": Polling(interval=0.01)} | options
    async with client(server.base_url, **settings) as prodia:
        yield prodia


@contextlib.asynccontextmanager
async def refusing_early(server: GoServer, status: int, *, times: int) -> AsyncIterator[None]:
    """Have Go refuse the next so many jobs at their headers, before it reads anything of their bodies."""
    await server.asked("early", early={"times": times, "status": status, "retry_after": "0.01"})
    try:
        yield
    finally:
        await server.asked("early", early={"times": 0})


@dataclass(frozen=True)
class Carried:
    """A job that was done: its result, and each output's file name, media type and bytes."""

    result: JobResult
    outputs: list[tuple[str | None, str, bytes]]

    def received(self) -> list[tuple[str, str, str, int, str]]:
        """Return what Go read of each input: form name, file name, media type, size, SHA-256."""
        parts = self.result.raw["received"]["parts"]
        assert all(part["valid"] for part in parts)
        keys = ("name", "filename", "content_type", "size", "sha256")
        return [tuple(part[key] for key in keys) for part in parts if part["name"] != "job"]

    def assert_outputs_agree(self) -> None:
        """Check every byte that came against what Go says it sent."""
        sent = [
            (part["filename"], part["content_type"], part["size"], part["sha256"])
            for part in self.result.raw["sent"]
        ]
        assert [(name, kind, len(body), sha256(body)) for name, kind, body in self.outputs] == sent


async def carry(prodia: Prodia, job: Job, way: str = "run") -> Carried:
    """Run the job in one of the client's ways."""
    if way == "stream":
        return await _streamed(prodia, job)
    if way == "as_completed":
        async with prodia.as_completed([job]) as outcomes:
            [outcome] = [outcome async for outcome in outcomes]
        assert outcome.error is None
        result = outcome.result
    elif way == "submit":
        handle = await prodia.submit(job)
        result = await handle.result()
        assert result.id == handle.id
    else:
        result = await prodia.run(replace(job, mode="async") if way == "mode=async" else job)
    return Carried(
        result, [(output.filename, output.content_type, output.data or b"") for output in result.outputs]
    )


async def _streamed(prodia: Prodia, job: Job) -> Carried:
    outputs = []
    async with prodia.stream(job) as reply:
        async for output in reply:
            content = b"".join([piece async for piece in output])
            outputs.append((output.filename, output.content_type, content))
        result = reply.result
    assert result is not None
    return Carried(result, outputs)
