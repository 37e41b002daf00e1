"""What a batch may cost in the end, and what it spends a minute."""

from __future__ import annotations

import pytest
from batch.helpers import echo

from prodia_async.batch import run_batch
from prodia_async.batch._forecast import Forecast
from prodia_async.batch._journal import Totals


def test_the_mean_price_of_what_is_done_goes_for_the_rest():
    forecast = Forecast(Totals())
    assert forecast.expected(done=10, ended=12, dollars=1.0) is None  # nobody has counted yet
    forecast.jobs = 112
    assert forecast.expected(done=10, ended=12, dollars=1.0) == pytest.approx(11.0)
    assert forecast.expected(done=0, ended=12, dollars=None) is None
    assert forecast.expected(done=110, ended=113, dollars=11.0) == 11.0


def test_earlier_runs_count_although_the_manifest_is_read_only_now():
    forecast = Forecast(Totals(done=50, dollars=5.0))
    forecast.jobs = 100
    assert forecast.expected(done=0, ended=3, dollars=5.0) == pytest.approx(10.0)
    assert forecast.expected(done=10, ended=60, dollars=6.0) == pytest.approx(10.0)


def test_dollars_a_minute_are_those_of_this_run_since_its_first_request():
    now = 100.0
    forecast = Forecast(Totals(dollars=5.0), lambda: now)
    assert forecast.a_minute(requests=0, dollars=5.0) is None
    now = 200.0
    assert forecast.a_minute(requests=1, dollars=5.0) is None
    now = 230.0
    assert forecast.a_minute(requests=9, dollars=6.0) == pytest.approx(2.0)


async def test_a_sample_tells_what_all_of_it_would_cost(write_manifest, tmp_path, prodia):
    path, seen = write_manifest(*[echo(f"job-{number}") for number in range(30)]), []
    options = {"prodia": prodia, "price": True}
    report = await run_batch(path, tmp_path / "out", first=6, on_progress=seen.append, **options)
    assert (report.done, report.jobs, seen[-1].total) == (6, 30, 6)
    assert report.expected == pytest.approx(5 * report.dollars)
    assert seen[-1].expected == report.expected
    assert seen[-1].dollars_a_minute > 0
    report = await run_batch(path, tmp_path / "out", on_progress=seen.append, **options)
    assert (report.done, seen[-1].total, report.expected) == (30, 30, pytest.approx(report.dollars))
    report = await run_batch(path, tmp_path / "out", only_failed=True, on_progress=seen.append, **options)
    assert seen[-1].total is None


async def test_nobody_counts_where_nobody_listens(write_manifest, tmp_path, prodia):
    report = await run_batch(write_manifest(echo("a")), tmp_path / "out", prodia=prodia)
    assert (report.jobs, report.expected) == (None, None)


async def test_jobs_of_a_program_are_counted_where_their_number_is_known(tmp_path, prodia):
    seen = []
    jobs = [echo("a"), echo("b")]
    await run_batch(jobs, tmp_path / "out", prodia=prodia, repeat=3, on_progress=seen.append)
    assert (seen[-1].done, seen[-1].total) == (6, 6)
    await run_batch(iter(jobs), tmp_path / "more", prodia=prodia, on_progress=seen.append)
    assert (seen[-1].done, seen[-1].total) == (2, None)
