"""Further fields of a job: they arrive beside its config, by each way in which a job can be run."""

from __future__ import annotations

import json

import pytest

from prodia_async import Job, Prodia
from prodia_async.batch import run_batch
from prodia_async.emulator import Emulator

JOBS = [
    {"type": "inference.flux.txt2img.v1", "config": {"prompt": "a hill", "width": 64, "height": 64}},
    {"type": "inference.resrgan.upscale.v1", "config": {"upscale": 3}},
]
SERIAL = "workflow.serial.v1"


@pytest.fixture
async def prodia():
    async with (
        Emulator(latency=0) as emulator,
        Prodia(base_url=emulator.base_url, token=emulator.token) as prodia,
    ):
        yield prodia


async def check(result):
    [output] = result.outputs
    assert result.raw["jobs"] == JOBS
    assert output.content_type == "image/jpeg"


@pytest.mark.parametrize("mode", ["sync", "async"])
async def test_run(prodia, mode):
    await check(await prodia.run(SERIAL, extra={"jobs": JOBS}, mode=mode))
    await check(await prodia.run(Job(SERIAL, extra={"jobs": JOBS}, mode=mode)))


async def test_what_is_given_counts_as_it_is_at_the_call(prodia):
    extra = {"jobs": [*JOBS]}
    running = prodia.run(SERIAL, extra=extra)
    extra["jobs"].clear()
    await check(await running)


async def test_submit_stream_and_many(prodia):
    handle = await prodia.submit(SERIAL, extra={"jobs": JOBS})
    await check(await handle.result())
    async with prodia.stream(SERIAL, extra={"jobs": JOBS}) as reply:
        names = [output.filename async for output in reply]
    assert len(names) == 1
    async with prodia.as_completed([Job(SERIAL, extra={"jobs": JOBS})]) as outcomes:
        async for outcome in outcomes:
            await check(outcome.result)


@pytest.mark.parametrize("suffix", [".jsonl", ".csv"])
async def test_a_batch(prodia, tmp_path, suffix):
    manifest = tmp_path / f"jobs{suffix}"
    cell = json.dumps(JOBS).replace('"', '""')
    line = {"type": SERIAL, "extra": {"jobs": JOBS}}
    text = json.dumps(line) if suffix == ".jsonl" else f'type,extra.jobs\n{SERIAL},"{cell}"'
    manifest.write_text(text + "\n")
    report = await run_batch(manifest, tmp_path / "out", prodia=prodia)
    assert (report.done, report.failed, report.problem_count) == (1, 0, 0)
