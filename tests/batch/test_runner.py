from __future__ import annotations

import asyncio
import hashlib
import os

import anyio
import pytest
from batch.helpers import echo, read_results

from prodia_async import Event, Prodia, Retry
from prodia_async.batch import BatchReport, Problem, Progress, run_batch
from prodia_async.emulator import Emulator


def hh(custom_id: str) -> str:
    return hashlib.sha256(custom_id.encode()).hexdigest()[:2]


async def test_a_batch_from_manifest_to_results(prodia, emulator, write_manifest, tmp_path):
    two = {
        "type": "emulator.bytes.v1",
        "config": {"size": 3, "outputs": 2, "content_type": "image/png"},
        "custom_id": "../a b",
    }
    bad = echo("bad", fail="no such style")
    manifest = write_manifest(echo("one"), two, "{", bad, echo("shed", shed=2, retry_after=0.01))
    problems: list[Problem] = []
    report = await run_batch(
        manifest, tmp_path / "out", prodia=prodia, price=True, on_problem=problems.append
    )

    assert report == BatchReport(
        ending="complete",
        done=3,
        failed=1,
        skipped=0,
        problem_count=1,
        problems=tuple(problems),
        interrupted=0,
        submitted=0,
        lost_count=0,
        lost=(),
        missing=0,
        requests=6,
        shed=2,
        seconds=report.seconds,
        dollars=pytest.approx(3 * 0.0025),
        uncertain=0.0,
        uncertain_attempts=0,
        overrun=0.0,
        reason=None,
        out=tmp_path / "out",
        results=tmp_path / "out" / "results.jsonl",
        service="a service on this computer (an emulator?)",
        dollars_a_minute=report.dollars_a_minute,
    )
    assert problems == [Problem(3, "not JSON: Input data was truncated")]
    assert (emulator.stats().requests, emulator.stats().shed) == (6, 2)
    records = read_results(tmp_path / "out")
    assert set(records) == {"one", "../a b", "bad", "shed"}
    assert records["bad"]["error"]["type"] == "BadRequestError"
    assert records["bad"]["job"]["error"] == "no such style"
    assert [attempt["status"] for attempt in records["shed"]["attempts"]] == [429, 429, 200]
    assert records["one"]["outputs"] == [
        {"path": f"outputs/{hh('one')}/one.txt", "content_type": "text/plain", "bytes": 10}
    ]
    folder = tmp_path / "out" / "outputs" / hh("../a b")
    digest = hashlib.sha256(b"../a b").hexdigest()[:8]
    names = [f".._a_b-{digest}", f".._a_b-{digest}-2"]
    paths = [output["path"] for output in records["../a b"]["outputs"]]
    assert [path.rpartition("/")[2].lstrip("._") for path in paths] == [
        f"{name.lstrip('._')}.png" for name in names
    ]
    assert sorted(path.name for path in folder.iterdir()) == sorted(path.rpartition("/")[2] for path in paths)


async def test_progress_tells_of_each_change(prodia, write_manifest, tmp_path):
    seen: list[Progress] = []
    manifest = write_manifest(echo(shed=1, retry_after=0.01), "{", echo(status=400))
    await run_batch(manifest, tmp_path / "out", prodia=prodia, on_progress=seen.append)
    last = seen[-1]
    assert last == Progress(done=1, failed=1, problems=1, limit=last.limit, requests=3, shed=1, total=3)
    assert max(progress.in_flight for progress in seen) >= 1
    assert [progress.requests for progress in seen] == sorted(progress.requests for progress in seen)


async def test_the_clients_own_hook_is_called_too(emulator, write_manifest, tmp_path):
    events: list[Event] = []
    async with Prodia(base_url=emulator.base_url, token=emulator.token, on_event=events.append) as prodia:
        await run_batch(write_manifest(echo()), tmp_path / "out", prodia=prodia)
    assert [event.kind for event in events] == ["queued", "sent", "completed"]


async def test_only_the_first_problems_are_kept(prodia, write_manifest, tmp_path):
    report = await run_batch(write_manifest(*["{"] * 150), tmp_path / "out", prodia=prodia)
    assert report.problem_count == 150
    assert [problem.line for problem in report.problems] == list(range(1, 101))
    assert read_results(tmp_path / "out") == {}


async def test_the_same_command_again_sends_nothing_when_all_is_done(
    prodia, emulator, write_manifest, tmp_path
):
    manifest = write_manifest(echo("one"), echo("two"), echo("bad", status=400), echo())
    first = await run_batch(manifest, tmp_path / "out", prodia=prodia)
    before = read_results(tmp_path / "out")
    again = await run_batch(manifest, tmp_path / "out", prodia=prodia)
    assert (first.done, first.failed, first.skipped) == (3, 1, 0)
    assert (again.done, again.failed, again.skipped, again.requests) == (3, 1, 4, 0)
    assert emulator.stats().requests == 4
    assert read_results(tmp_path / "out") == before


async def test_lines_that_were_added_run_with_the_same_command(prodia, emulator, write_manifest, tmp_path):
    await run_batch(write_manifest(echo("one")), tmp_path / "out", prodia=prodia)
    report = await run_batch(write_manifest(echo("two"), echo("one")), tmp_path / "out", prodia=prodia)
    assert (report.done, report.skipped, report.requests) == (2, 1, 1)
    assert set(read_results(tmp_path / "out")) == {"one", "two"}


async def test_an_output_that_was_removed_or_cut_is_made_again(prodia, write_manifest, tmp_path):
    out = tmp_path / "out"
    manifest = write_manifest(echo("one"), echo("two"), echo("three"))
    await run_batch(manifest, out, prodia=prodia)
    paths = {name: out / record["outputs"][0]["path"] for name, record in read_results(out).items()}
    paths["one"].unlink()
    os.truncate(paths["two"], 3)
    report = await run_batch(manifest, out, prodia=prodia)
    assert (report.done, report.skipped, report.missing, report.requests) == (3, 1, 2, 2)
    for record in read_results(out).values():
        assert (out / record["outputs"][0]["path"]).stat().st_size == 10


async def test_failed_jobs_are_run_again_when_that_is_asked_for(prodia, write_manifest, tmp_path):
    out = tmp_path / "out"
    await run_batch(write_manifest(echo("bad", status=400), echo("one")), out, prodia=prodia)
    mended = write_manifest(echo("bad"), echo("one"), echo("new"))
    only = await run_batch(mended, out, prodia=prodia, only_failed=True)
    assert (only.done, only.failed, only.requests) == (2, 0, 1)
    assert set(read_results(out)) == {"bad", "one"}
    both = await run_batch(mended, out, prodia=prodia, retry_failed=True)
    assert (both.done, both.requests) == (3, 1)


@pytest.mark.parametrize("state", ["done", "failed"])
async def test_a_line_that_changed_is_an_error_and_not_a_guess(prodia, write_manifest, tmp_path, state):
    out = tmp_path / "out"
    orders = {"status": 400} if state == "failed" else {}
    await run_batch(write_manifest(echo("one", **orders)), out, prodia=prodia)
    before = read_results(out)
    changed = write_manifest(echo("one", latency=0.02))
    report = await run_batch(changed, out, prodia=prodia)
    assert (report.problem_count, report.requests) == (1, 0)
    assert "'one'" in report.problems[0].reason
    assert read_results(out) == before


async def test_an_input_that_changed_is_an_error(prodia, write_manifest, tmp_path):
    picture = tmp_path / "in.txt"
    picture.write_text("one")
    manifest = write_manifest(
        {
            "custom_id": "a",
            "type": "emulator.echo.v1",
            "config": {"files": ["in.txt"]},
            "inputs": ["in.txt"],
        }
    )
    first = await run_batch(manifest, tmp_path / "out", prodia=prodia)
    picture.write_text("three")
    report = await run_batch(manifest, tmp_path / "out", prodia=prodia)
    assert first.done + first.failed == 1
    assert (report.problem_count, report.requests) == (1, 0)
    assert "input" in report.problems[0].reason


async def test_shards_share_a_manifest(prodia, emulator, write_manifest, tmp_path):
    manifest = write_manifest(*[echo(str(number)) for number in range(60)])
    for number in (1, 2, 3):
        report = await run_batch(manifest, tmp_path / str(number), prodia=prodia, shard=f"{number}/3")
        assert 5 < report.done < 40
    seen = [name for number in (1, 2, 3) for name in read_results(tmp_path / str(number))]
    assert sorted(seen) == sorted(str(number) for number in range(60))
    assert emulator.stats().requests == 60


@pytest.mark.parametrize("token", ["wrong-token", "forbidden-token"])
async def test_a_refused_token_stops_the_batch(write_manifest, tmp_path, token):
    manifest = write_manifest(*[echo(str(number)) for number in range(100)])
    async with (
        Emulator(latency=0.01, forbidden=["forbidden-token"]) as emulator,
        Prodia(base_url=emulator.base_url, token=token, max_concurrency=2) as prodia,
    ):
        report = await run_batch(manifest, tmp_path / "out", prodia=prodia)
    assert report.ending == "refused"
    assert token not in report.reason
    assert (report.done, report.failed) == (0, 0)
    assert report.requests < 10
    assert read_results(tmp_path / "out") == {}  # the same command runs them all


async def stop_when(report_of, reached):
    """Run a batch, and set its stop event when `reached` says so of its progress."""
    stop = asyncio.Event()
    return await report_of(stop, lambda progress: stop.set() if reached(progress) else None)


async def test_stopping_lets_jobs_in_flight_finish_and_begins_no_others(write_manifest, tmp_path):
    lines = [echo(str(number)) for number in range(50)]
    lines[1] = echo("failing", fail="on purpose", latency=0.05)
    async with Emulator(capacity=4, latency=0.05) as emulator:
        async with Prodia(base_url=emulator.base_url, token=emulator.token, max_concurrency=4) as prodia:
            report = await stop_when(
                lambda stop, on_progress: run_batch(
                    write_manifest(*lines),
                    tmp_path / "out",
                    prodia=prodia,
                    stop=stop,
                    on_progress=on_progress,
                ),
                lambda progress: progress.in_flight == 4,
            )
        assert emulator.stats().requests == 4
    assert (report.ending, report.done, report.failed) == ("stopped", 3, 1)
    assert set(read_results(tmp_path / "out")) == {"0", "2", "3", "failing"}


async def test_stopping_does_not_wait_for_a_job_that_was_only_shed(prodia, write_manifest, tmp_path):
    manifest = write_manifest(echo(shed=1, retry_after=100))
    with anyio.fail_after(5):
        report = await stop_when(
            lambda stop, on_progress: run_batch(
                manifest, tmp_path / "out", prodia=prodia, stop=stop, on_progress=on_progress
            ),
            lambda progress: progress.shed == 1,
        )
    assert (report.ending, report.done, report.failed) == ("stopped", 0, 0)


async def test_stopping_tells_of_a_job_that_may_have_run(emulator, write_manifest, tmp_path):
    retry = Retry(backoff=0.05, max_backoff=0.05)
    async with Prodia(base_url=emulator.base_url, token=emulator.token, retry=retry) as prodia:
        report = await stop_when(
            lambda stop, on_progress: run_batch(
                write_manifest(echo("x", drop="before", times=1)),
                tmp_path / "out",
                prodia=prodia,
                stop=stop,
                on_progress=on_progress,
            ),
            lambda progress: progress.requests == 1,
        )
    assert (report.ending, report.failed, report.requests) == ("stopped", 0, 1)
    assert report.uncertain_attempts == 1
    async with Prodia(base_url=emulator.base_url, token=emulator.token) as prodia:
        report = await run_batch(
            write_manifest(echo("x", drop="before", times=1)), tmp_path / "out", prodia=prodia
        )
    assert (report.ending, report.done, report.uncertain_attempts) == ("complete", 1, 1)


async def test_stopping_does_not_wait_for_a_pipe(prodia, tmp_path):
    reading, writing = os.pipe()
    with open(reading, "rb") as stream, open(writing, "wb", buffering=0) as pipe, anyio.fail_after(5):
        pipe.write(b'{"type":"emulator.bytes.v1","custom_id":"one"}\n')
        report = await stop_when(
            lambda stop, on_progress: run_batch(
                stream, tmp_path / "out", prodia=prodia, stop=stop, on_progress=on_progress
            ),
            lambda progress: progress.done == 1,
        )
        pipe.write(b"\n")
    assert (report.ending, report.done) == ("stopped", 1)


async def test_a_cancelled_batch_has_written_down_what_stands(emulator, write_manifest, tmp_path):
    manifest = write_manifest(echo("slow", latency=60), echo("one"))

    def cancel_at_the_end_of_a_job(event: Event) -> None:
        if event.kind == "completed":  # its outcome has not been handed out yet
            running.cancel()

    async with Prodia(
        base_url=emulator.base_url, token=emulator.token, on_event=cancel_at_the_end_of_a_job
    ) as prodia:
        running = asyncio.create_task(run_batch(manifest, tmp_path / "out", prodia=prodia))
        with pytest.raises(asyncio.CancelledError), anyio.fail_after(5):
            await running
    [record] = read_results(tmp_path / "out").values()
    assert (record["custom_id"], record["status"]) == ("one", "done")
    [output] = record["outputs"]
    assert (tmp_path / "out" / output["path"]).stat().st_size == output["bytes"] == 10


async def test_memory_is_for_jobs_in_flight_not_for_the_manifest(prodia, write_manifest, tmp_path):
    """Lines are read as there is room: with 4 jobs at once, 24 are started and at most 96 put aside."""
    manifest = write_manifest(*[{"type": "inference.ping.v1"}] * 300)
    queued = 0
    most = 0

    def follow(event: Event) -> None:
        nonlocal queued, most
        queued += {"queued": 1, "completed": -1, "failed": -1}.get(event.kind, 0)
        most = max(most, queued)

    report = await run_batch(manifest, tmp_path / "out", prodia=prodia.with_options(on_event=follow))
    assert report.done == 300
    assert most <= 24
    assert len(read_results(tmp_path / "out")) == 300
