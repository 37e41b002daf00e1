"""Spans and metrics of a real client's jobs."""

from __future__ import annotations

import asyncio
import os
import pathlib
import re
import subprocess
import sys

import pytest
from opentelemetry import trace
from support.leaks import TOKEN, client
from support.telemetry import World, common

from prodia_async import BadRequestError, CapacityError, Job, Retry
from prodia_async.emulator import Emulator

pytestmark = pytest.mark.usefixtures("nothing_left")

TYPE = "inference.ping.v1"


@pytest.fixture
async def emulator():
    async with Emulator(capacity=8, latency=0.01, token=TOKEN) as emulator:
        yield emulator


def config(**orders):
    return {"prompt": "a secret cat", "emulator": orders}


async def test_a_job_that_is_shed_and_then_done(emulator):
    world = World()
    async with client(emulator.base_url, on_event=world.telemetry) as prodia:
        result = await prodia.run(TYPE, config(shed=2, retry_after=0.01))
    [job], attempts = world.jobs(), world.attempts()
    assert common(TYPE).items() <= job.attributes.items()
    assert (job.attributes["prodia.outcome"], job.attributes["prodia.job.attempts"]) == ("completed", 3)
    assert [span.attributes["prodia.verdict"] for span in attempts] == ["shed", "shed", "done"]
    assert [span.attributes["http.response.status_code"] for span in attempts] == [429, 429, 200]
    assert [span.attributes["http.response.header.x-request-id"][0] for span in attempts] == [
        attempt.request_id for attempt in result.attempts
    ]
    assert all(job.start_time <= span.start_time < span.end_time for span in attempts)
    assert (
        attempts[1].start_time - attempts[0].end_time >= 0.009e9
    )  # the start is the wall clock's, the end is measured
    assert job.end_time >= attempts[-1].start_time


async def test_a_job_that_fails(emulator):
    world = World()
    async with client(emulator.base_url, on_event=world.telemetry) as prodia:
        with pytest.raises(BadRequestError):
            await prodia.run(TYPE, config(fail="a secret reason"))
    [job] = world.jobs()
    assert (job.attributes["prodia.outcome"], job.attributes["error.type"]) == ("failed", "BadRequestError")
    told = "".join(span.to_json() for span in world.spans()) + world.reader.get_metrics_data().to_json()
    assert "secret" not in told
    assert TOKEN not in told


async def test_the_spans_stand_below_the_caller_s(emulator):
    world = World()
    tracer = world.tracers.get_tracer("test")

    async def request(number):
        with tracer.start_as_current_span(f"request {number}") as span:
            await prodia.run(TYPE, config(shed=1, retry_after=0.01))
        return span.get_span_context()

    async with client(emulator.base_url, on_event=world.telemetry) as prodia:
        callers = await asyncio.gather(*(request(number) for number in range(5)))
    assert {span.parent.span_id for span in world.jobs()} == {caller.span_id for caller in callers}
    assert {span.context.trace_id for span in world.attempts()} == {caller.trace_id for caller in callers}
    assert {span.parent.span_id for span in world.attempts()} == {
        span.context.span_id for span in world.jobs()
    }


async def test_a_stream_and_a_batch_s_way(emulator):
    world = World()
    jobs = [Job(TYPE, config(shed=number % 2, retry_after=0.01, key=str(number))) for number in range(20)]
    async with client(emulator.base_url, on_event=world.telemetry) as prodia:
        async with prodia.as_completed(jobs) as outcomes:
            done = [outcome async for outcome in outcomes]
        async with prodia.stream(TYPE, config()) as reply:
            async for _ in reply:
                pass
    assert len(done) == 20
    assert [span.attributes["prodia.outcome"] for span in world.jobs()] == ["completed"] * 21
    assert set(world.values("prodia.client.jobs").values()) == {0}
    counted = world.values("prodia.client.attempts")
    stats = emulator.stats()
    assert (stats.completed, stats.shed) == (21, counted[(429, "shed")])
    assert counted[(200, "done")] == 21


async def test_a_submitted_job_ends_with_its_result(emulator):
    world = World()
    async with client(emulator.base_url, on_event=world.telemetry) as prodia:
        handle = await prodia.submit(TYPE, config())
        await handle.result()
    [job], [submission] = world.jobs(), world.attempts()
    assert (job.attributes["prodia.outcome"], job.attributes["prodia.job.mode"]) == ("completed", "async")
    assert (submission.name, submission.attributes["prodia.verdict"]) == ("POST /v2/job/async", "submitted")
    assert submission.end_time <= job.end_time


async def test_patience_that_ends(emulator):
    world = World()
    async with client(emulator.base_url, on_event=world.telemetry, retry=Retry(max_retry_after=1)) as prodia:
        with pytest.raises(CapacityError):
            await prodia.run(TYPE, config(shed=9, retry_after=5))
    assert world.jobs()[0].attributes["error.type"] == "CapacityError"
    assert world.values("prodia.client.attempts") == {(429, "shed"): 1}


async def test_the_caller_s_span_is_not_kept(emulator):
    world = World()
    async with client(emulator.base_url, on_event=world.telemetry) as prodia:
        with world.tracers.get_tracer("test").start_as_current_span("request") as span:
            handle = await prodia.submit(TYPE, config())
        await asyncio.to_thread(next(iter(prodia._hooks)).wait, 5)
        [waiting] = world.telemetry._open.values()
        kept = trace.get_current_span(waiting.context)
        assert isinstance(kept, trace.NonRecordingSpan)
        assert kept.get_span_context() == span.get_span_context()
        await handle.result()


async def test_the_example_of_the_documentation_prints_its_spans(tmp_path):
    documentation = pathlib.Path(__file__).parents[2] / "docs" / "telemetry.md"
    [program] = re.findall(
        r"^```python\n(import .*?)^```$", documentation.read_text(), re.DOTALL | re.MULTILINE
    )
    (tmp_path / "example.py").write_text(program)
    ended = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-W", "error", "example.py"],
        cwd=tmp_path,
        env={**os.environ, "PRODIA_LOG": "info"},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    for name in ("make a thumbnail", "generate_content inference.ping.v1", "POST /v2/job"):
        assert f'"name": "{name}"' in ended.stdout
    for name in ("gen_ai.client.operation.duration", "prodia.client.attempts", "prodia.client.jobs"):
        assert f'"name": "{name}"' in ended.stdout
    assert "INFO prodia_async: completed: inference.ping.v1: attempt 2" in ended.stderr
