"""How a fault is met: by a job type, by an order, by chance; and which requests of which route meet it."""

from __future__ import annotations

import json

import pytest
from emulator.helpers import until
from emulator.raw import BYTES, a_job, get, run

from prodia_async.emulator import Emulator
from prodia_async.emulator._faults.body import HOSTILE
from prodia_async.emulator._faults.table import FAULTS, Dice

PING = "inference.ping.v1"


@pytest.fixture
async def emulator():
    async with Emulator(latency=0, fault_time=0.05) as emulator:
        yield emulator


async def submit(emulator, job, query=""):
    """Submit a job, wait until it has ended, and return its path."""
    got = await run(emulator, job, "/v2/job/async" + query)
    assert got.status == 201
    await until(lambda: emulator.stats().busy == 0)
    return f"/v2/job/async/{json.loads(got.body)['id']}"


async def test_an_order_wins_over_the_type_and_both_over_chance():
    async with Emulator(latency=0, faults={"500": 1}) as emulator:
        for job, status in [
            (a_job("503", fault="413"), 413),
            (a_job("503"), 503),
            (a_job(None), 500),
            (a_job("503", times=0), 500),
        ]:
            assert (await run(emulator, job)).status == status
        assert emulator.stats().faults == {"413": 1, "503": 1, "500": 2}


@pytest.mark.parametrize("name", ["503", "reset", "reset-upload", "no-job"])
async def test_times_bounds_how_often_a_fault_is_met(emulator, name):
    job = a_job(name, times=2)
    for _ in range(2):
        got = await run(emulator, job)
        assert not got.data.startswith(b"HTTP/1.1 200") or got.part_names() == ["output"]
    assert (await run(emulator, job)).part_names() == ["job", "output"]
    stats = emulator.stats()
    assert stats.faults == {name: 2}
    ran = 1 + 2 * FAULTS[name].ran
    assert (stats.completed, stats.billed, stats.repeated) == (ran, ran, ran - 1)


@pytest.mark.parametrize(
    ("job", "said"),
    [
        (a_job("speed"), "type: there is no fault 'speed'; there are hang-upload, "),
        (
            a_job(None, fault="speed"),
            "config.emulator.fault: there is no fault 'speed'; there are hang-upload, ",
        ),
        (a_job(None, fault="cut", fault_at="poll"), "config.emulator.fault_at: Invalid enum value 'poll'"),
        (a_job(None, fault_time=-1), "config.emulator.fault_time: Expected `float` >= 0"),
    ],
)
async def test_a_fault_that_there_is_not_is_refused(emulator, job, said):
    got = await run(emulator, job)
    assert got.status == 400
    assert got.result()["error"].startswith(said)
    assert (emulator.stats().billed, emulator.stats().faults) == (0, {})


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"faults": {"speed": 0.1}}, "faults= has no 'speed': there are hang-upload, "),
        ({"faults": {"cut": 1.5}}, "faults= takes chances from 0 to 1, such as 0.01, not 1.5 for cut"),
        (
            {"faults": {"cut": float("nan")}},
            "faults= takes chances from 0 to 1, such as 0.01, not nan for cut",
        ),
        ({"faults": {"cut": 0.7, "reset": 0.6}}, "faults= takes chances that are at most 1 together"),
        ({"fault_time": -1}, "fault_time= takes seconds, at least 0, such as 0.5, not -1"),
    ],
)
def test_senseless_rates_are_refused(options, said):
    with pytest.raises(ValueError, match=said):
        Emulator(**options)


def test_chance_keeps_to_the_rates_and_to_the_seed():
    rates = {"500": 0.1, "cut": 0.2, "no-job": 0.0}
    dice = [Dice(rates, seed) for seed in (1, 1, 2)]
    thrown, same, other = ([one.throw() for _ in range(10_000)] for one in dice)
    assert thrown == same != other
    names = [fault and fault.name for fault in thrown]
    assert names.count("no-job") == 0
    assert names.count("500") == pytest.approx(1000, rel=0.1)
    assert names.count("cut") == pytest.approx(2000, rel=0.1)
    assert {fault.name for fault in (Dice({"500": 0.5, "cut": 0.5}, 0).throw() for _ in range(9)) if fault}


async def test_requests_meet_faults_by_chance_and_the_account_tells():
    faults = {"500": 0.2, "no-job": 0.2, "reset": 0.2, "early-429": 0.1}
    async with Emulator(latency=0, faults=faults, seed=4) as emulator:
        ends = [await run(emulator, a_job(None, config={"seed": seed})) for seed in range(60)]
        stats = emulator.stats()
        assert stats.faults.keys() == faults.keys()
        assert stats.faults["reset"] == sum(got.end == "reset" for got in ends)
        assert stats.faults["500"] == stats.failed == sum(got.data[9:12] == b"500" for got in ends)
        assert stats.faults["early-429"] == stats.shed
        assert stats.billed == stats.completed == 60 - stats.failed - stats.shed
        assert stats.repeated == 0


async def test_a_token_that_is_refused_meets_no_fault():
    async with Emulator(latency=0, faults={"reset": 1}) as emulator:
        got = await run(emulator, a_job(None), token="wrong")
        assert (got.status, emulator.stats().faults) == (401, {})


async def test_a_job_that_fails_meets_its_fault_unbilled(emulator):
    for fault, names in (("two-jobs", ["job", "job"]), ("names-missing", ["job", "output"])):
        got = await run(emulator, a_job(fault, fail="no"))
        assert (got.status, got.part_names()) == (400, names)
    got = await run(emulator, a_job("job-last", fail="no", fail_200=True), "/v2/job?price=true")
    assert (got.status, "price" in got.result()) == (200, False)
    stats = emulator.stats()
    assert (stats.failed, stats.billed) == (3, 0)


async def test_a_fault_of_the_form_is_met_in_a_form_whatever_was_asked_for(emulator):
    got = await run(emulator, a_job("no-job"), Accept="application/json")
    assert got.part_names() == ["output"]


async def test_a_job_without_outputs_gets_some_to_be_named(emulator):
    got = await run(emulator, a_job("names-repeated", job_type=PING))
    assert got.file_names() == ["part.txt"] * 3
    assert len((await run(emulator, a_job("gzip-bad", job_type=PING))).parts()) == 1


@pytest.mark.parametrize("name", ["500", "500-after", "reset", "shed", "reset-upload"])
async def test_the_submission_of_an_asynchronous_job_meets_a_fault(emulator, name):
    got = await run(emulator, a_job(name), "/v2/job/async")
    assert not got.data.startswith(b"HTTP/1.1 201")
    await until(lambda: emulator.stats().busy == 0)
    stats = emulator.stats()
    ran = FAULTS[name].ran
    assert (stats.requests, stats.submitted, stats.billed, stats.async_jobs) == (1, ran, ran, ran)
    assert stats.faults == {name: 1}


@pytest.mark.parametrize("name", ["no-job", "lf", "bad-json", "names-missing"])
async def test_a_submission_is_not_met_by_faults_of_an_answer_in_parts(emulator, name):
    await submit(emulator, a_job(name))
    assert emulator.stats().faults == ({name: 1} if name == "names-missing" else {})


@pytest.mark.parametrize(
    ("place", "path"),
    [
        ("state", "job.state.current"),
        ("result", "job.json"),
        ("names", "output"),
        ("output", "output/bytes.bin"),
    ],
)
async def test_each_question_about_a_job_can_meet_a_fault(emulator, place, path):
    for name in ("503", "html", "cut", "gzip", "no-job", "hang-upload"):
        where = await submit(emulator, a_job(name, fault_at=place, times=2))
        replies = [await get(emulator, f"{where}/{path}") for _ in range(3)]
        for got in replies[:2]:
            assert (got.status == 503) is (name == "503")
            assert (got.missing > 0) is (name == "cut")
            assert (got.header("Content-Encoding") == "gzip") is (name == "gzip")
        assert (replies[2].status, replies[2].missing) == (200, 0)
        others = {"job.state.current", "job.json", "output"} - {path}
        assert {(await get(emulator, f"{where}/{part}")).status for part in others} == {200}
    stats = emulator.stats()
    assert stats.faults == {"503": 2, "html": 2, "cut": 2, "gzip": 2}
    assert (stats.billed, stats.failed) == (6, 0)
    assert stats.downloads == (6 + 2 + 4 if place == "output" else 0)


async def test_a_download_that_drips_to_its_end_counts(emulator):
    for size, counted in ((2, 1), (100, 1)):
        where = await submit(emulator, a_job("drip", fault_at="output", config={"size": size}))
        await get(emulator, f"{where}/output/bytes.bin")
        assert emulator.stats().downloads == counted


async def test_the_outputs_of_an_asynchronous_job_get_hostile_names(emulator):
    where = await submit(emulator, a_job("names-hostile"))
    names = json.loads((await get(emulator, f"{where}/output")).body)
    assert set(HOSTILE) - set(names) == {""}
    assert len(names) == len(HOSTILE)
    assert emulator.stats().faults == {"names-hostile": 1}


async def test_the_result_of_an_asynchronous_job_meets_its_fault(emulator):
    for name, found in (("unknown-state", "paused"), ("huge-job", "processed")):
        where = await submit(emulator, a_job(name))
        for _ in range(2):
            result = json.loads((await get(emulator, f"{where}/job.json")).body)
            assert (result["state"]["current"], len(result.get("padding", ""))) == (
                found,
                8 * 1024**2 * (name == "huge-job"),
            )
        assert (await get(emulator, f"{where}/job.state.current")).body == b"processed"
    where = await submit(emulator, a_job("bad-json", fault_at="result", times=1))
    with pytest.raises(json.JSONDecodeError):
        json.loads((await get(emulator, f"{where}/job.json")).body)
    assert json.loads((await get(emulator, f"{where}/job.json")).body)["type"] == BYTES + ".fault-bad-json"
    assert emulator.stats().faults == {"unknown-state": 2, "huge-job": 2, "bad-json": 1}
