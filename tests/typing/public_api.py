"""What type checkers see of the public face. Never run: mypy reads it.

Each `# type: ignore` states that its line must be refused: one that is not needed is an error.
"""

from __future__ import annotations

import gzip
import http.client
import io
import mmap
import os
import socket
import subprocess
import sys
import tarfile
import tempfile
import urllib.request
import zipfile
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import IO, Any, BinaryIO, assert_type

from multidict import CIMultiDictProxy
from starlette.datastructures import UploadFile

import prodia_async
from prodia_async import (
    Attempt,
    CapacityError,
    Content,
    Event,
    File,
    FileSink,
    Fixed,
    Folder,
    FolderSink,
    Handle,
    InputError,
    Job,
    JobFailedError,
    JobResult,
    JobState,
    LimitChange,
    Limits,
    MemorySink,
    Metrics,
    Outcome,
    Output,
    OutputError,
    OutputInfo,
    Polling,
    Price,
    Prodia,
    ProdiaError,
    ProdiaTimeoutError,
    QueueFullError,
    Retry,
    Sink,
    Stats,
    Stream,
    StreamedOutput,
    Timeouts,
    TypeStats,
    Writer,
)
from prodia_async.batch import BatchReport, check_manifest, run_batch


class UploadWriter:
    """A writer of a user's own; it inherits nothing."""

    async def write(self, data: bytes) -> None:
        """Take bytes."""

    async def close(self) -> None:
        """Take note of the end."""


class UploadSink:
    """A sink of a user's own; it inherits nothing."""

    def __init__(self, job: Job) -> None:
        self.job = job

    async def open(self, output: OutputInfo) -> UploadWriter:
        """Begin an output."""
        assert_type(output.index, int)
        assert_type(output.filename, str | None)
        assert_type(output.content_type, str)
        return UploadWriter()

    async def commit(self, result: JobResult) -> None:
        """Keep."""

    async def discard(self) -> None:
        """Drop."""


class HalfSink:
    """No sink: it can neither commit nor discard."""

    async def open(self, output: OutputInfo) -> UploadWriter:
        """Begin an output."""
        return UploadWriter()


def make_sink(job: Job) -> Sink:
    """Return a sink for the job."""
    return UploadSink(job)


async def stream() -> AsyncIterator[bytes]:
    """Yield a body."""
    yield b"x"


async def run(prodia: Prodia, opened: BinaryIO, job: Job) -> None:
    """One job."""
    result = await prodia.run("inference.test.v1", {"prompt": "a cat"})
    assert_type(result, JobResult)
    assert_type(await prodia.run(job), JobResult)
    await prodia.run("t", accept="image/png", custom_id="c", priority=1, price=True, timeout=9, spool=True)

    await prodia.run(
        "t", inputs=["a.png", Path("b.png"), b"c", bytearray(b"d"), memoryview(b"e"), opened, stream()]
    )
    await prodia.run("t", inputs=[("a.png", b"a"), ("b.png", Path("b"), "image/png"), ("c", opened, None)])
    await prodia.run("t", inputs=("a.png", ("b.png", stream())))

    await prodia.run("t", to="out/")
    await prodia.run("t", to=Path("x.png"))
    await prodia.run("t", to=File("x"))
    await prodia.run("t", to=Folder(Path("x.png")))
    await prodia.run("t", to=UploadSink)
    await prodia.run("t", to=make_sink)
    await prodia.run("t", to=lambda _: MemorySink(1000))
    await prodia.run("t", to=None)


async def files(prodia: Prodia, opened: IO[bytes], content: Content, uploaded: UploadFile) -> None:
    """Open files of every kind, with and without a name."""
    with (
        tempfile.NamedTemporaryFile() as named,
        tempfile.TemporaryFile() as temporary,
        tempfile.SpooledTemporaryFile(1000) as spooled,
        zipfile.ZipFile("a.zip") as zipped,
        zipped.open("a.png") as member,
        tarfile.open("a.tar") as archive,
        gzip.open("a.gz") as packed,
        mmap.mmap(-1, 1) as mapped,
        socket.create_connection(("localhost", 1)) as connection,
        connection.makefile("rb") as received,
        urllib.request.urlopen("https://localhost") as answer,
        Path("a.png").open("rb") as buffered,
        Path("a.png").open("rb", buffering=0) as raw,
        Path("a.png").open("r+b") as updated,
    ):
        response = http.client.HTTPConnection("localhost").getresponse()
        extracted = archive.extractfile("a.png")
        assert extracted is not None
        await prodia.run("t", inputs=[named, temporary, spooled, member, extracted, packed, mapped, received])
        await prodia.run(
            "t", inputs=[answer, response, buffered, raw, updated, opened, content, uploaded.file]
        )
        await prodia.run("t", inputs=[io.BytesIO(), sys.stdin.buffer, subprocess.Popen("x").stdout or b""])
        Job("t", inputs=[("a", named), ("b", temporary), ("c", spooled), ("d", member), ("e", extracted)])
        Job("t", inputs=[("a", response, None), ("b", opened, "image/png"), ("c", content), ("d", Least())])
        Job("t", inputs=[("a", uploaded.file, uploaded.content_type)])
        kept: Content = received
        del kept
    await prodia.run("t", inputs=[io.StringIO()])  # type: ignore[list-item]
    await prodia.run("t", inputs=[sys.stdin])  # type: ignore[list-item]
    await prodia.run("t", inputs=[("a", uploaded)])  # type: ignore[list-item]
    await prodia.run("t", inputs=[("a", Least)])  # type: ignore[list-item]


class Least:
    """The least that a file can be."""

    def read(self, size: int) -> bytes:
        """Give bytes."""
        return b"x" * size


async def run_refuses(prodia: Prodia, job: Job) -> None:
    """What is no job, no input, no target."""
    await prodia.run(1)  # type: ignore[arg-type]
    await prodia.run("t", [("prompt", "a cat")])  # type: ignore[arg-type]
    await prodia.run("t", inputs=[1])  # type: ignore[list-item]
    await prodia.run("t", inputs=[("a.png", 1)])  # type: ignore[list-item]
    await prodia.run("t", inputs=[("a.png",)])  # type: ignore[list-item]
    await prodia.run("t", inputs=[(b"a.png", b"a")])  # type: ignore[list-item]
    await prodia.run("t", inputs=Path("a.png"))  # type: ignore[arg-type]
    await prodia.run("t", to=1)  # type: ignore[arg-type]
    await prodia.run("t", to=b"x.png")  # type: ignore[arg-type]
    await prodia.run("t", to=HalfSink)  # type: ignore[arg-type]
    await prodia.run("t", to=UploadSink(job))  # type: ignore[arg-type]
    await prodia.run("t", timeout="9")  # type: ignore[arg-type]
    await prodia.run("t", priority="high")  # type: ignore[arg-type]
    await prodia.run("t", custom_id=7)  # type: ignore[arg-type]
    await prodia.run("t", {}, ["a.png"])  # type: ignore[call-arg]
    prodia.run("t").outputs  # type: ignore[attr-defined] # noqa: B018 - the await is missing


async def many(prodia: Prodia, jobs: list[Job], later: AsyncIterator[Job], lazy: Iterator[Job]) -> None:
    """Many jobs."""
    async with prodia.as_completed(jobs, to="out/", ahead=64, price=True, timeout=60, spool=True) as outcomes:
        async for outcome in outcomes:
            assert_type(outcome, Outcome)
            assert_type(outcome.job, Job)
            assert_type(outcome.result, JobResult | None)
            assert_type(outcome.error, ProdiaError | None)
    prodia.as_completed(later, to=Folder("out"))
    prodia.as_completed(lazy, to=UploadSink)
    prodia.as_completed(Job(kind) for kind in "ab")
    prodia.as_completed(["t"])  # type: ignore[list-item]
    prodia.as_completed(Job("t"))  # type: ignore[arg-type]
    prodia.as_completed(jobs, ahead="all")  # type: ignore[arg-type]
    for _ in prodia.as_completed(jobs):  # type: ignore[attr-defined]
        pass


async def streams(prodia: Prodia, job: Job) -> None:
    """Outputs as they arrive."""
    async with prodia.stream("t", {"a": 1}, inputs=[b"x"], timeout=9, expect_continue=1 << 20) as reply:
        assert_type(reply, Stream)
        async for output in reply:
            assert_type(output, StreamedOutput)
            assert_type(output.filename, str | None)
            assert_type(output.content_type, str)
            async for chunk in output:
                assert_type(chunk, bytes)
        assert_type(reply.result, JobResult | None)
    opened = await prodia.stream(job).open()
    assert_type(opened.output, StreamedOutput | None)
    await opened.aclose()
    prodia.stream("t", to="x")  # type: ignore[call-arg]


async def handles(prodia: Prodia, job: Job) -> None:
    """Asynchronous jobs."""
    handle = await prodia.submit("t", {"a": 1}, custom_id="c", timeout=9)
    assert_type(handle, Handle)
    assert_type(await prodia.submit(job), Handle)
    assert_type(prodia.handle(handle.id), Handle)
    assert_type((handle.id, handle.job, handle.expires_at), tuple[str, JobResult | None, datetime | None])
    assert_type(await handle.state(), str)
    assert_type(await handle.wait(timeout=None), str)
    assert_type(await handle.outputs(), tuple[str, ...])
    assert_type(await handle.download("a", Folder("out")), Output)
    assert_type(await handle.result(to="a.mp4", timeout=900), JobResult)
    assert_type(await handle.result(on_state=print), JobResult)
    await handle.result(on_state=3)  # type: ignore[arg-type]
    try:
        await prodia.run("t", mode="async", timeout=1)
    except ProdiaTimeoutError as error:
        if error.handle is not None:
            assert_type(error.handle.id, str)
            assert_type(await error.handle.state(), str)
            assert_type(await error.handle.wait(timeout=9), str)
            assert_type(await error.handle.result(Folder("out"), price=True), JobResult)
    Job("t", mode="later")  # type: ignore[arg-type]
    Prodia(polling=Polling(interval=0.5))
    assert_type(await prodia.aclose(drain=30), tuple[Outcome, ...])


async def token_now() -> str:
    """Give a token."""
    return "t"


async def headers(prodia: Prodia, job: Job, error: ProdiaError) -> None:
    """Those of a call, and those of a reply."""
    result = await prodia.run(job, headers={"a": "b"})
    assert_type(result.headers, CIMultiDictProxy[str])
    assert_type(error.headers, CIMultiDictProxy[str])
    await prodia.submit(job, headers={"a": "b"})
    prodia.stream(job, headers={"a": "b"})
    prodia.as_completed([job], headers={"a": "b"})
    await prodia.run(job, headers={"a": 1})  # type: ignore[dict-item]


def client(prodia: Prodia) -> None:
    """The client, its copies and its counts."""
    Prodia(token="t", base_url="https://x", max_concurrency=8, price=True, headers={"a": "b"}, user_agent="u")
    Prodia(
        limiter=Fixed(8, max_waiting=5),
        retry=Retry(),
        timeouts=Timeouts(),
        limits=Limits(),
        on_event=on_event,
    )
    Prodia(token=token_now)
    Prodia(token=lambda: "t")
    Prodia(token=len)  # type: ignore[arg-type]
    Prodia("t")  # type: ignore[call-arg]
    Prodia(retry=3)  # type: ignore[arg-type]
    Prodia(timeouts=60)  # type: ignore[arg-type]
    Prodia(limiter=8)  # type: ignore[arg-type]
    Prodia(on_event=len)  # type: ignore[arg-type]
    Retry(4)  # type: ignore[call-arg]
    Retry(max_errors="4")  # type: ignore[arg-type]
    Timeouts(read=3)  # type: ignore[call-arg]

    copy = prodia.with_options(
        retry=Retry(resend_unknown=1), price=True, headers={"a": "b"}, on_event=on_event
    )
    assert_type(copy, Prodia)
    prodia.with_options(token="t")  # type: ignore[call-arg]

    stats = prodia.stats()
    assert_type(stats, Stats)
    assert_type((stats.jobs, stats.shed, stats.stale, stats.in_flight), tuple[int, int, int, int])
    assert_type(stats.by_type, Mapping[str, TypeStats])
    assert_type(stats.by_type["t"].latency, float | None)
    assert_type((stats.by_type["t"].moving, stats.by_type["t"].shares), tuple[bool, tuple[str, ...]])
    assert_type(prodia.limit_history(), tuple[LimitChange, ...])
    assert_type(prodia.set_limit(4), None)
    assert_type(prodia_async.__version__, str)


def on_event(event: Event) -> None:
    """See what happens to jobs."""
    assert_type(event.job, Job)
    assert_type(event.at, datetime)
    assert_type((event.attempt, event.error), tuple[Attempt | None, Exception | None])
    _ = event.kind == "finished"  # type: ignore[comparison-overlap]


def jobs(path: os.PathLike[str]) -> None:
    """A job is a value."""
    job = Job(
        "t", {"prompt": "x"}, inputs=[path, ("a.png", b"a")], accept="image/png", custom_id="c", priority=-1
    )
    assert_type(job.type, str)
    assert_type(job.config, Mapping[str, Any])
    assert_type(job.custom_id, str | None)
    assert_type(job.priority, int)
    Job(1)  # type: ignore[arg-type]
    Job("t", "a cat")  # type: ignore[arg-type]
    Job("t", inputs=[1])  # type: ignore[list-item]
    Job("t", prompt="a cat")  # type: ignore[call-arg]
    job.priority = 1  # type: ignore[misc]
    File(1)  # type: ignore[arg-type]
    Folder()  # type: ignore[call-arg]


def results(result: JobResult) -> None:
    """What comes back."""
    assert_type(result.id, str | None)
    assert_type(result.state, JobState | None)
    assert_type(result.metrics, Metrics)
    assert_type(result.metrics.elapsed, float | None)
    assert_type(result.price, Price | None)
    assert_type(result.created_at, datetime | None)
    assert_type(result.attempts, tuple[Attempt, ...])
    assert_type(result.warnings, tuple[str, ...])
    assert_type(result.raw, Mapping[str, Any])
    assert_type(result.outputs, tuple[Output, ...])
    output = result.outputs[0]
    assert_type(output.path, Path | None)
    assert_type(output.data, bytes | None)
    assert_type(output.save("x.png"), Path)
    assert_type(output.read(), bytes)
    output.save(1)  # type: ignore[arg-type]
    _ = result.attempts[0].verdict == "overloaded"  # type: ignore[comparison-overlap]


def failures(error: ProdiaError) -> None:
    """The tree, as handlers see it."""
    assert_type(error.may_have_run, bool)
    assert_type(error.attempts, tuple[Attempt, ...])
    if isinstance(error, CapacityError):
        assert_type(error.status, int | None)
        assert_type(error.retry_after, float | None)
    elif isinstance(error, OutputError):
        assert_type(error.written, tuple[Path, ...])
        as_os_error: OSError = error
        del as_os_error
    elif isinstance(error, JobFailedError):
        assert_type(error.result, JobResult | None)
    elif isinstance(error, ProdiaTimeoutError):
        as_timeout: TimeoutError = error
        del as_timeout
    elif isinstance(error, InputError):
        as_value_error: ValueError = error
        del as_value_error
    elif isinstance(error, QueueFullError):
        error.status  # type: ignore[attr-defined] # noqa: B018 - only an answer of the service has a status


async def sinks(
    writer: UploadWriter, memory: MemorySink, file: FileSink, folder: FolderSink
) -> Sequence[Sink]:
    """Our sinks, and a user's, keep the same protocol."""
    as_writer: Writer = writer
    await as_writer.write(b"x")
    wrong: Writer = memory  # type: ignore[assignment]
    del wrong
    return [memory, file, folder, UploadSink(Job("t"))]


async def manifests(prodia: Prodia, file: BinaryIO, rows: AsyncIterator[dict[str, Any]]) -> None:
    """What a batch is made of: a file, a folder, a stream, or jobs of a program's own."""
    assert_type(await run_batch("photos/", "out", prodia=prodia, vary={"steps": [2, 4]}), BatchReport)
    await run_batch(Path("jobs.jsonl"), Path("out"), prodia=prodia, repeat=4, first=20)
    await run_batch(file, "out", prodia=prodia)
    await run_batch([Job("t"), {"type": "t"}], "out", prodia=prodia)
    await run_batch((Job("t") for _ in range(3)), "out", prodia=prodia)
    await run_batch(rows, "out", prodia=prodia)
    await run_batch(5, "out", prodia=prodia)  # type: ignore[arg-type]
    await run_batch([5], "out", prodia=prodia)  # type: ignore[list-item]
    check = await check_manifest("prompts.txt", prices={"t": 0.01}, write_to="jobs.jsonl")
    assert_type(check.dollars, float | None)
