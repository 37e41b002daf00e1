from __future__ import annotations

import json
import signal
import socket

import pytest
from cli.helpers import echo, wait_for

from prodia_async.emulator import background_emulator

pytestmark = pytest.mark.newest

PRICE = "emulator.bytes.v1=0.5"


@pytest.fixture
def emulator(monkeypatch):
    """A local service that outlives the commands, and that the environment names."""
    with background_emulator(capacity=8, latency=0.01, retry_after=0.05) as server:
        monkeypatch.setenv("PRODIA_BASE_URL", server.base_url)
        monkeypatch.setenv("PRODIA_TOKEN", server.token)
        yield server


def test_the_same_command_again_runs_what_is_not_done(invoke, write_manifest, emulator, tmp_path):
    first = invoke("batch", write_manifest(*map(echo, "ab")), "--out", "out")
    assert first.stdout.startswith("2 done, 0 failed\n")
    manifest = write_manifest(*map(echo, "abcd"))
    again = invoke("batch", manifest, "--out", "out")
    assert (again.exit_code, again.stderr) == (0, "")
    assert again.stdout.startswith("4 done, 0 failed (2 of them earlier)\n")
    assert (emulator.stats().completed, emulator.stats().repeated) == (4, 0)
    missing = next(tmp_path.glob("out/outputs/*/a*"))
    missing.unlink()
    third = invoke("batch", manifest, "--out", "out", "--json")
    summary = json.loads(third.stdout)
    assert (summary["done"], summary["skipped"], summary["missing"]) == (4, 3, 1)
    assert missing.exists()


def test_failed_jobs_run_again_where_that_is_asked_for(invoke, write_manifest, emulator):
    jobs = [echo("a"), echo("b", fail="no", times=1, key="b"), echo("c", fail="no", times=2, key="c")]
    manifest = write_manifest(*jobs)
    first = invoke("batch", manifest, "--out", "out")
    assert first.exit_code == 1
    assert first.stdout.startswith("1 done, 2 failed\n")
    assert first.stdout.endswith("\nto run the failed jobs again: the same command with --retry-failed\n")
    assert emulator.stats().requests == 3
    same = invoke("batch", manifest, "--out", "out")
    assert (same.exit_code, emulator.stats().requests) == (1, 3)
    assert same.stdout.startswith("1 done, 2 failed (3 of them earlier)\n")
    manifest = write_manifest(*jobs, echo("d"))
    only = invoke("batch", manifest, "--out", "out", "--only-failed")
    assert (only.exit_code, emulator.stats().requests) == (1, 5)
    assert only.stdout.startswith("2 done, 1 failed (1 of them earlier)\n")
    too = invoke("batch", manifest, "--out", "out", "--retry-failed")
    assert (too.exit_code, emulator.stats().requests) == (0, 7)
    assert too.stdout.startswith("4 done, 0 failed (2 of them earlier)\n")


def test_after_a_kill_what_was_in_flight_is_told_and_runs_again(
    start, invoke, write_manifest, emulator, environment
):
    environment |= {"PRODIA_BASE_URL": emulator.base_url, "PRODIA_TOKEN": emulator.token}
    slow = [echo(f"slow-{number}", latency=1) for number in range(3)]
    manifest = write_manifest(*[echo(str(number)) for number in range(4)], *slow)
    process = start("batch", manifest, "--out", "out", "--max-concurrency", 3)
    wait_for(lambda: emulator.stats().completed >= 4 and emulator.stats().busy == 3, process)
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=60)
    result = invoke("batch", manifest, "--out", "out")
    assert result.exit_code == 0
    jobs, again, *_ = result.stdout.splitlines()
    assert jobs.startswith("7 done, 0 failed (")
    told = int(again.partition(" ")[0])
    assert again.endswith("in flight when the last run was cut: they may have been billed, and ran again")
    assert emulator.stats().completed <= 7 + told


def test_money_that_is_spent_ends_with_4_and_more_goes_on(invoke, write_manifest, emulator):
    manifest = write_manifest(*[echo(str(number), price=0.5) for number in range(6)])
    options = ["--out", "out", "--price", PRICE]
    short = invoke("batch", manifest, *options, "--max-spend", 2)
    assert short.exit_code == 4
    assert ", ended early: the money is spent\n" in short.stdout
    assert short.stdout.endswith("to go on: the same command again, with a higher --max-spend\n")
    assert short.stderr.startswith("prodia-async: ")
    assert 0 < emulator.stats().dollars <= 2
    enough = invoke("batch", manifest, *options, "--max-spend", "20")
    assert enough.exit_code == 0
    assert "$3.00 in all" in enough.stdout.splitlines()
    assert (emulator.stats().dollars, emulator.stats().repeated) == (3, 0)


def test_a_lost_connection_counts_as_spent_and_is_told(invoke, write_manifest, emulator):
    manifest = write_manifest(echo("a", price=0.5, drop="before", times=1, key="a"), echo("b", price=0.5))
    result = invoke("batch", manifest, "--out", "out", "--max-spend", 10, "--price", PRICE)
    assert result.exit_code == 0
    assert emulator.stats().dollars == 1.5
    [money] = [line for line in result.stdout.splitlines() if line.startswith("$")]
    assert money.startswith("$1.00 in all; $")
    assert money.endswith(" reckoned for 1 attempt of unknown outcome or price")


def test_a_service_that_is_gone_pauses_the_batch_and_giving_up_ends_with_5(
    start, write_manifest, environment
):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    environment |= {"PRODIA_BASE_URL": f"http://127.0.0.1:{port}", "PRODIA_TOKEN": "x"}
    manifest = write_manifest(*[echo(str(number)) for number in range(40)])
    process = start("batch", manifest, "--out", "out", "--give-up-after", "0.5s", "--no-report")
    stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == 5
    assert stdout.startswith("0 done, 0 failed, ended early: gave up\n")
    assert stderr.startswith("the batch is paused: ")


def test_two_batches_in_one_folder_are_one_too_many(start, invoke, write_manifest, emulator, environment):
    environment |= {"PRODIA_BASE_URL": emulator.base_url, "PRODIA_TOKEN": emulator.token}
    process = start("batch", write_manifest(echo("a", latency=60)), "--out", "out")
    wait_for(lambda: emulator.stats().busy == 1, process)
    result = invoke("batch", write_manifest(echo("b")), "--out", "out")
    assert (result.exit_code, result.stdout) == (2, "")
    assert str(process.pid) in result.stderr
    assert emulator.stats().requests == 1


def test_a_damaged_journal_ends_with_2_and_says_what_to_do(invoke, write_manifest, emulator, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "journal.sqlite").write_bytes(b"no journal at all, whatever its name" * 100)
    result = invoke("batch", write_manifest(echo("a")), "--out", "out")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "journal.sqlite" in result.stderr
    assert "Traceback" not in result.stderr
    assert emulator.stats().requests == 0
