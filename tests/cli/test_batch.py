from __future__ import annotations

import json
import os
import pty
import signal

import pytest
from cli.helpers import echo, wait_for

from prodia_async.emulator import background_emulator

pytestmark = pytest.mark.newest

FAST = ["--emulator", "--latency", "0.01"]


def test_the_command_runs_a_batch_and_sums_it_up(start, write_manifest, tmp_path):
    manifest = write_manifest(*[echo(str(number)) for number in range(10)])
    ended = start(
        "batch", manifest, "--out", "out", "--capacity", 2, "--max-concurrency", 3, "--ask-price", *FAST
    )
    stdout, stderr = ended.communicate(timeout=60)
    assert (ended.returncode, stderr) == (0, "")
    jobs, sheds, speed, service, price, outputs, results, report = stdout.splitlines()
    assert service == "these ran on a service on this computer (an emulator?)"
    assert jobs == "10 done, 0 failed"
    shed, _, requests, *_ = sheds.split()
    assert int(requests) == 10 + int(shed)
    assert sheds.endswith(
        f"requests were shed (429) and tried again; the emulator counts {shed} of {requests}"
    )
    assert "jobs/s in" in speed
    assert speed.endswith("against the emulator's ideal 200.0")
    assert price == "$0.025 in all"
    assert (outputs, results) == ("outputs: out/outputs", "results: out/results.jsonl")
    assert report == "report: out/report.html"
    assert (tmp_path / "out" / "report.html").stat().st_size > 1000
    assert len((tmp_path / "out" / "results.jsonl").read_text().splitlines()) == 10


def test_failed_jobs_end_with_1(invoke, write_manifest):
    result = invoke("batch", write_manifest(echo("a"), echo("b", fail="no")), "--out", "out", *FAST)
    assert result.exit_code == 1
    assert result.stdout.startswith("1 done, 1 failed\n")


def test_bad_lines_among_good_ones_end_with_1_and_are_shown_without_control_characters(
    invoke, write_manifest
):
    lines = [echo("a"), '{"type":"\x1b[31m"}', json.dumps({"type": "t", "inputs": ["\x9b2Jx"]}), *["{"] * 30]
    result = invoke("batch", write_manifest(*lines), "--out", "out", *FAST)
    assert result.exit_code == 1
    assert result.stdout.startswith("1 done, 0 failed, 32 bad lines in the manifest\n")
    shown = result.stderr.splitlines()
    assert r"line 3: input '\x9b2Jx' is missing" in shown[1]
    assert len(shown) == 21
    assert shown[20] == "further bad lines are only counted"
    assert all(char.isprintable() or char == "\n" for char in result.stderr)


def test_no_manifest_or_a_bad_option_ends_with_2(invoke, write_manifest):
    result = invoke("batch", "none.jsonl", "--out", "out", *FAST)
    assert (result.exit_code, result.stdout) == (2, "")
    assert "'none.jsonl' does not exist" in result.stderr
    manifest = write_manifest(echo("a"))
    result = invoke("batch", manifest, "--out", "out", "--capacity", "3", "--latency", "0")
    assert result.exit_code == 2
    assert "--capacity and --latency: only with --emulator" in result.stderr


def test_a_refused_token_ends_with_3(invoke, write_manifest):
    manifest = write_manifest(*[echo(str(number)) for number in range(100)])
    with background_emulator(latency=0.01) as emulator:
        environment = {"PRODIA_BASE_URL": emulator.base_url, "PRODIA_TOKEN": "a-wrong-token"}
        result = invoke("batch", manifest, "--out", "out", env=environment)
    assert result.exit_code == 3
    assert "status 401" in result.stderr
    assert "a-wrong-token" not in result.output
    assert result.stdout.splitlines()[0] == "0 done, 0 failed, ended early: the token was refused"
    assert "results:" not in result.stdout


def test_json_gives_one_object(invoke, write_manifest):
    result = invoke(
        "batch", write_manifest(echo("a")), "--out", "out", "--json", "--emulator", "--latency", "0"
    )
    summary = json.loads(result.stdout)
    assert {
        name: summary[name] for name in ("ending", "done", "failed", "problem_count", "requests", "shed")
    } == {
        "ending": "complete",
        "done": 1,
        "failed": 0,
        "problem_count": 0,
        "requests": 1,
        "shed": 0,
    }
    assert summary["emulator"] == {
        "ideal_jobs_per_second": None,
        "requests": 1,
        "completed": 1,
        "shed": 0,
        "dollars": 0.0025,
    }
    assert summary["jobs_per_second"] > 0


def test_a_manifest_from_standard_input_runs_before_it_ends(start, tmp_path):
    reading, writing = os.pipe()
    process = start("batch", "-", "--out", "out", *FAST, stdin=reading)
    os.close(reading)
    with open(writing, "wb", buffering=0) as pipe:
        pipe.write(b'{"type":"emulator.bytes.v1"}\nbad\n')
        wait_for(lambda: list(tmp_path.glob("out/outputs/*/*.bin")), process)
    stdout, stderr = process.communicate(timeout=60)
    assert stdout.startswith("1 done, 0 failed, 1 bad line in the manifest")
    assert stderr.startswith("standard input line 2: not JSON")
    assert process.returncode == 1


def test_where_no_line_is_good_nothing_runs_and_it_ends_with_2(invoke, write_manifest):
    result = invoke("batch", write_manifest("{", "["), "--out", "out", *FAST)
    assert result.exit_code == 2
    assert result.stdout.startswith("0 done, 0 failed, 2 bad lines in the manifest\n")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_lets_jobs_in_flight_finish(start, write_manifest, tmp_path, environment, number):
    manifest = write_manifest(*[echo(str(number)) for number in range(40)])
    with background_emulator(capacity=4, latency=0.5) as emulator:
        environment |= {"PRODIA_BASE_URL": emulator.base_url, "PRODIA_TOKEN": emulator.token}
        process = start("batch", manifest, "--out", "out", "--max-concurrency", 4)
        wait_for(lambda: emulator.stats().busy == 4, process)
        process.send_signal(number)
        stdout, stderr = process.communicate(timeout=60)
        assert emulator.stats().requests == 4
    assert process.returncode == 130
    assert stdout.startswith("4 done, 0 failed, stopped before the end\n")
    assert stderr == "stopping: no more jobs begin, 4 jobs in flight may finish; again: stop now\n"
    assert len((tmp_path / "out" / "results.jsonl").read_text().splitlines()) == 4


def test_the_second_signal_stops_at_once_and_tells_what_may_be_billed(
    start, write_manifest, tmp_path, environment
):
    with background_emulator(latency=60) as emulator:
        environment |= {"PRODIA_BASE_URL": emulator.base_url, "PRODIA_TOKEN": emulator.token}
        process = start("batch", write_manifest(echo("a"), echo("b")), "--out", "out")
        wait_for(lambda: emulator.stats().busy == 2, process)
        process.send_signal(signal.SIGINT)
        assert process.stderr.readline().startswith("stopping: no more jobs begin, 2 jobs in flight")
        process.send_signal(signal.SIGINT)
        stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == 130
    assert stdout == ""
    assert stderr == (
        "stopped: 2 jobs were in flight: they may have run and been billed\n"
        "to go on: the same command again\n"
    )


def test_on_a_terminal_a_bar_shows_how_far_it_is(start, write_manifest, environment):
    manifest = write_manifest("{", *[echo(str(number)) for number in range(6)])
    environment |= {"TERM": "xterm", "COLUMNS": "120"}
    ours, theirs = pty.openpty()
    process = start(
        "batch",
        manifest,
        "--out",
        "out",
        "--emulator",
        "--latency",
        0.3,
        "--max-concurrency",
        2,
        stderr=theirs,
    )
    os.close(theirs)
    shown = b""
    while True:
        try:
            piece = os.read(ours, 4096)
        except OSError:  # the other end is closed
            break
        if not piece:
            break
        shown += piece
    os.close(ours)
    stdout, _ = process.communicate(timeout=60)
    assert stdout.startswith("6 done, 0 failed, 1 bad line")
    text = shown.decode()
    assert "line 1: not JSON" in text
    assert "2 in flight" in text
    assert "/7 done" in text
    assert "━" in text


def test_a_named_pipe_is_read_once(start, tmp_path):
    os.mkfifo(tmp_path / "jobs")
    process = start("batch", "jobs", "--out", "out", *FAST)
    (tmp_path / "jobs").write_text('{"type":"emulator.bytes.v1"}\n')
    stdout, stderr = process.communicate(timeout=60)
    assert (process.returncode, stderr) == (0, "")
    assert stdout.startswith("1 done, 0 failed\n")


def test_csv_and_defaults_of_the_command(invoke, tmp_path):
    (tmp_path / "jobs.csv").write_text("custom_id,prompt,config.seed\na,a cat,1\nb,a dog,2\n")
    given = ["--type", "inference.flux-fast.schnell.txt2img.v2", "--accept", "image/png"]
    size = ["-c", "width=64", "-c", "height=64", "-c", "seed=7"]
    result = invoke("batch", "jobs.csv", "--out", "out", *given, *size, *FAST)
    assert (result.exit_code, result.stderr) == (0, "")
    records = [json.loads(line) for line in (tmp_path / "out" / "results.jsonl").read_text().splitlines()]
    told = {record["custom_id"]: record["job"]["config"] for record in records}
    assert [(name, told[name]["prompt"], told[name]["seed"], told[name]["width"]) for name in "ab"] == [
        ("a", "a cat", 1, 64),
        ("b", "a dog", 2, 64),
    ]
    assert all(record["outputs"][0]["content_type"] == "image/png" for record in records)


def test_shards_share_the_work(invoke, write_manifest):
    manifest = write_manifest(*[echo(str(number)) for number in range(20)])
    done = [
        json.loads(
            invoke(
                "batch", manifest, "--out", f"out-{number}", "--shard", f"{number}/2", "--json", *FAST
            ).stdout
        )["done"]
        for number in (1, 2)
    ]
    assert sum(done) == 20
    assert min(done) > 0
