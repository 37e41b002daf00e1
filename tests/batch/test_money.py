"""A spending limit, against the emulator's own account."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import time

import pytest
from batch.helpers import echo

from prodia_async import Prodia
from prodia_async.batch import run_batch
from prodia_async.emulator import Emulator, background_emulator

pytestmark = pytest.mark.newest


def priced(custom_id: str, dollars: float | None, **orders) -> dict:
    return echo(custom_id, price=dollars, **orders)


async def test_the_limit_holds_where_prices_differ_tenfold(write_manifest, tmp_path):
    chance = random.Random(1)
    lines = [priced(str(n), chance.choice([0.01, 0.02, 0.05, 0.1]), latency=0.02) for n in range(400)]
    async with Emulator(capacity=8, latency=0.02, retry_after=0.05) as emulator:
        async with Prodia(base_url=emulator.base_url, token=emulator.token, max_concurrency=8) as prodia:
            report = await run_batch(write_manifest(*lines), tmp_path / "out", prodia=prodia, max_spend=5.0)
        account = emulator.stats()
    assert report.ending == "spent"
    assert report.dollars == pytest.approx(account.dollars)
    assert report.uncertain == 0
    assert report.overrun == pytest.approx(max(0.0, account.dollars - 5.0))
    assert account.dollars <= 5.0 + 7 * 0.1  # at most what the others in flight cost above their reserve
    assert account.dollars > 5.0 - 0.15 - 0.1  # and it was not given up early
    assert "max_spend" in report.reason or "5" in report.reason


async def test_one_job_runs_alone_until_its_type_has_a_price(write_manifest, tmp_path):
    lines = [priced(str(number), 1.0, latency=0.05) for number in range(20)]
    async with Emulator(capacity=8, latency=0.05) as emulator:
        async with Prodia(base_url=emulator.base_url, token=emulator.token) as prodia:
            report = await run_batch(write_manifest(*lines), tmp_path / "out", prodia=prodia, max_spend=0.5)
        assert emulator.stats().completed == 1
    assert (report.ending, report.done, report.dollars) == ("spent", 1, 1.0)
    assert report.overrun == pytest.approx(0.5)


async def test_a_type_without_a_price_is_refused(prodia, emulator, write_manifest, tmp_path):
    lines = [priced(str(number), None) for number in range(20)]
    report = await run_batch(write_manifest(*lines), tmp_path / "out", prodia=prodia, max_spend=5.0)
    assert (report.ending, report.done) == ("spent", 1)
    assert "emulator.bytes.v1" in report.reason
    assert emulator.stats().completed == 1


async def test_a_price_that_is_given_holds_where_none_is_reported(prodia, emulator, write_manifest, tmp_path):
    lines = [priced(str(number), None) for number in range(40)]
    report = await run_batch(
        write_manifest(*lines),
        tmp_path / "out",
        prodia=prodia,
        max_spend=1.0,
        prices={"emulator.bytes.v1": 0.1},
    )
    assert report.ending == "spent"
    assert 9 <= report.done <= 10
    assert emulator.stats().completed == report.done


async def test_unknown_outcomes_count_as_spent_and_are_told_apart(prodia, emulator, write_manifest, tmp_path):
    lines = [priced(f"good-{n}", 0.1) for n in range(6)]
    lines += [priced(f"lost-{n}", 0.1, drop="before", times=1, key=f"lost-{n}") for n in range(4)]
    report = await run_batch(write_manifest(*lines), tmp_path / "out", prodia=prodia, max_spend=10.0)
    account = emulator.stats()
    assert (report.ending, report.done) == ("complete", 10)
    assert report.uncertain_attempts == 4
    assert account.billed == 14
    assert report.dollars == pytest.approx(1.0)
    assert report.dollars + 4 * 0.1 == pytest.approx(account.dollars)
    assert report.uncertain >= 4 * 0.1


async def test_sheds_and_refusals_cost_nothing(prodia, emulator, write_manifest, tmp_path):
    lines = [priced(f"shed-{n}", 0.1, shed=2, retry_after=0.01, key=f"shed-{n}") for n in range(5)]
    lines += [priced(f"bad-{n}", 0.1, status=400) for n in range(5)]
    report = await run_batch(write_manifest(*lines), tmp_path / "out", prodia=prodia, max_spend=0.7)
    assert (report.ending, report.done, report.failed) == ("complete", 5, 5)
    assert report.dollars == pytest.approx(0.5) == pytest.approx(emulator.stats().dollars)
    assert (report.uncertain, report.overrun) == (0, 0)


def test_a_kill_in_between_forgets_no_money(tmp_path):
    chance = random.Random(3)
    lines = [priced(str(n), chance.choice([0.01, 0.03, 0.1]), latency=0.05) for n in range(300)]
    manifest, out = tmp_path / "jobs.jsonl", tmp_path / "out"
    manifest.write_text("".join(json.dumps(line) + "\n" for line in lines))
    with background_emulator(capacity=8, latency=0.05, retry_after=0.1) as emulator:
        environment = {"PRODIA_BASE_URL": emulator.base_url, "PRODIA_TOKEN": emulator.token}
        command = [sys.executable, "-m", "prodia_async", "batch", str(manifest), "--out", str(out)]
        command += ["--max-spend", "3", "--no-report", "--json", "--max-concurrency", "8"]
        first = subprocess.Popen(
            command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        deadline = time.monotonic() + 60
        while emulator.stats().dollars < 1 and time.monotonic() < deadline:
            time.sleep(0.005)
        first.kill()
        first.wait(30)
        time.sleep(0.2)  # what was in flight ends, and is billed
        ended = subprocess.run(command, env=environment, capture_output=True, timeout=120, check=False)
        account = emulator.stats()
    assert ended.returncode == 4, ended.stderr
    summary = json.loads(ended.stdout)
    lost = account.dollars - summary["dollars"]  # billed, and the reply was lost with the process
    assert 0 <= lost <= summary["uncertain"] + 8 * 0.1
    assert account.dollars <= 3 + 16 * 0.1
    assert summary["overrun"] == pytest.approx(max(0.0, summary["dollars"] + summary["uncertain"] - 3))
