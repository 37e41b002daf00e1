"""Asynchronous jobs: how they are taken, run, told of and forgotten."""

from __future__ import annotations

import asyncio
import gc
import io
import threading
import uuid
import weakref
from datetime import datetime, timedelta

import aiohttp
import pytest
from emulator.helpers import BOUNDARY, Client, form, landscape, until

from prodia_async.emulator import Emulator

PING = "inference.ping.v1"
BYTES = "emulator.bytes.v1"
TXT2IMG = "inference.flux-fast.schnell.txt2img.v2"
PARTS = ("job.state.current", "job.json", "output", "output/a")


def when(result, name):
    return datetime.fromisoformat(result[f"{name}_at"].replace("Z", "+00:00")[:19])


async def test_a_job_is_taken_runs_and_is_collected_by_its_id(start):
    client = await start(latency=0.1)
    reply = await client.submit(TXT2IMG, {"prompt": "a hill", "mine": [1]})
    taken = reply.json()
    assert (reply.status, reply.headers["Content-Type"]) == (201, "application/json")
    assert (taken["type"], taken["config"]["mine"], taken["config"]["steps"]) == (TXT2IMG, [1], 4)
    assert taken["state"] == {"current": "processing", "history": None}
    assert uuid.UUID(taken["id"]).version == 4
    assert when(taken, "expires") - when(taken, "updated") == timedelta(minutes=5)
    assert not taken.keys() & {"metrics", "price", "error"}

    state = await client.ask(taken["id"], "job.state.current")
    assert (state.status, state.headers["Content-Type"]) == (200, "text/plain; charset=utf-8")
    assert state.body == b"processing"
    assert (await client.ask(taken["id"], "job.json")).json() == taken
    assert (await client.ask(taken["id"], "output")).json() == []
    assert (await client.ask(taken["id"], "output/x")).status == 404

    await client.ended(reply)
    result = (await client.ask(taken["id"], "job.json")).json()
    assert result["state"]["current"] == "processed"
    assert {name: result[name] for name in ("id", "created_at", "config", "emulator")} == {
        name: taken[name] for name in ("id", "created_at", "config", "emulator")
    }
    assert result["metrics"]["ips"] == pytest.approx(4 / result["metrics"]["elapsed"])
    assert result["updated_at"] > taken["updated_at"]
    assert result["expires_at"] > taken["expires_at"]
    [name] = (await client.ask(taken["id"], "output")).json()
    picture = await client.ask(taken["id"], f"output/{name}")
    assert (picture.status, picture.headers["Content-Type"]) == (200, "image/jpeg")
    assert picture.body.startswith(b"\xff\xd8")


@pytest.mark.parametrize(
    "accept", ["image/png", "multipart/form-data; image/png", "application/json; image/png"]
)
async def test_the_type_of_the_output_can_be_chosen(client, accept):
    reply = await client.submit(TXT2IMG, {"prompt": "x"}, accept=accept)
    assert reply.headers["Content-Type"] == "application/json"
    job_id = await client.ended(reply)
    [name] = (await client.ask(job_id, "output")).json()
    picture = await client.ask(job_id, f"output/{name}")
    assert (picture.headers["Content-Type"], picture.body[:4]) == ("image/png", b"\x89PNG")


async def test_inputs_come_as_in_the_other_route(client):
    content = landscape()
    body = form({"type": "emulator.echo.v1", "config": {"image": "a.png"}}, {b"a.png": content})
    reply = await client.send(body, f"multipart/form-data; boundary={BOUNDARY}", "/async")
    assert reply.json()["emulator"]["inputs"][0]["size"] == len(content)
    job_id = await client.ended(reply)
    assert (await client.ask(job_id, "output/a.png")).body == content


@pytest.mark.parametrize("asked", ["never", "at first", "at last"])
async def test_the_price_is_told_when_asked_for(client, asked):
    reply = await client.submit(PING, {}, "?price=true" if asked == "at first" else "")
    assert "price" not in reply.json()
    job_id = await client.ended(reply)
    result = (await client.ask(job_id, "job.json" + ("?price=true" if asked == "at last" else ""))).json()
    price = {"product": "inference-ping", "dollars": 0.0025}
    assert result.get("price") == (None if asked == "never" else price)
    assert client.emulator.stats().dollars == 0.0025


async def test_a_job_can_fail(client):
    config = {"emulator": {"fail": "not today", "times": 1, "key": "k"}}
    job_id = await client.ended(await client.submit(BYTES, config, "?price=true"))
    assert (await client.ask(job_id, "job.state.current")).body == b"failed"
    result = (await client.ask(job_id, "job.json?price=true")).json()
    assert (result["state"]["current"], result["error"]) == ("failed", "not today")
    assert not result.keys() & {"metrics", "price"}
    assert (await client.ask(job_id, "output")).json() == []
    again = await client.ended(await client.submit(BYTES, config))
    assert (await client.ask(again, "job.state.current")).body == b"processed"
    stats = client.emulator.stats()
    assert (stats.requests, stats.completed, stats.failed, stats.billed) == (2, 1, 1, 1)


async def test_a_picture_that_cannot_be_made_fails(client):
    body = form({"type": "inference.x.img2img.v1"}, {b"a.png": b"no picture"})
    reply = await client.send(body, f"multipart/form-data; boundary={BOUNDARY}", "/async")
    job_id = await client.ended(reply)
    result = (await client.ask(job_id, "job.json")).json()
    assert result["error"] == "a.png: not a picture that can be read"


@pytest.mark.parametrize(
    ("job_type", "config", "accept", "status"),
    [
        ("emulator.bytes.sync-only.v1", {}, None, 400),
        (BYTES, {"emulator": {"async": False}}, None, 400),
        ("inference.unknown.v1", {}, None, 400),
        (TXT2IMG, {}, None, 400),
        (BYTES, {"emulator": {"status": 503}}, None, 503),
        (BYTES, {"emulator": {"shed": 1}}, None, 429),
        ("inference.forbidden.txt2img.v1", {"prompt": "x"}, None, 403),
        (TXT2IMG, {"prompt": "x"}, "video/mp4", 406),
        (BYTES, {}, "image/png", 201),
    ],
)
async def test_a_job_may_be_refused(client, job_type, config, accept, status):
    assert (await client.submit(job_type, config, accept=accept)).status == status
    stats = client.emulator.stats()
    assert stats.submitted == stats.async_jobs == (status == 201)
    assert stats.shed + stats.refused + stats.failed == (status != 201)


async def test_a_type_without_async_runs_on_the_other_route(client):
    reply = await client.submit("emulator.bytes.sync-only.v1")
    assert reply.json()["detail"] == "emulator.bytes.sync-only.v1 cannot be run asynchronously"
    assert (await client.run("emulator.bytes.sync-only.v1", {"emulator": {"async": False}})).status == 200


async def test_the_token_decides_everywhere(start):
    client = await start(forbidden=["poor"])
    job_id = await client.ended(await client.submit(BYTES, {"filename": "a"}))
    for token, status in (("wrong", 401), ("poor", 403), (None, 200)):
        assert (await client.submit(PING, token=token)).status == (201 if status == 200 else status)
        for part in PARTS:
            assert (await client.ask(job_id, part, token)).status == status


async def test_what_is_unknown_is_404(client):
    job_id = await client.ended(await client.submit(BYTES))
    for unknown in (str(uuid.uuid4()), "x", "%00", "..%2F.."):
        for part in PARTS:
            reply = await client.ask(unknown, part)
            assert (reply.status, reply.json()["detail"]) == (404, "no such job, or it has expired")
    assert (await client.ask(job_id, "output/unknown")).json()["detail"] == "the job has no such output"
    assert (await client.ask(job_id, "output/")).status == 404


async def test_a_job_holds_its_slot_for_its_latency(start):
    client = await start(capacity=1, latency=0.15, retry_after=0.25)
    reply = await client.submit(PING, {"seed": 1})
    for path in ("", "/async"):
        shed = await client.run(PING, {"seed": 2}, path)
        assert (shed.status, shed.headers["Retry-After"]) == (429, "0.25")
        assert shed.json()["detail"] == "no idle capacity"
    await client.ended(reply)
    assert (await client.submit(PING)).status == 201
    assert client.emulator.stats().busy_seconds >= 0.14


async def test_no_more_jobs_are_taken_than_may_be_kept(start):
    client = await start(async_limit=2)
    for _ in range(2):
        await client.ended(await client.submit(PING))
    shed = await client.submit(PING)
    assert (shed.status, shed.headers["Retry-After"]) == (429, "1")
    assert shed.json()["detail"] == "too many asynchronous jobs"
    assert (await client.run(PING)).status == 200
    stats = client.emulator.stats()
    assert (stats.async_jobs, stats.shed, stats.peak_busy) == (2, 1, 1)


@pytest.mark.parametrize("options", [{"capacity": 0}, {"async_limit": 0}])
async def test_an_upload_is_shed_before_its_body(start, options):
    client = await start(**options)
    headers = client.headers() | {"Content-Type": "application/json"}
    body = io.BytesIO(b" " * 2_000_000)
    for extra in ({"expect100": True, "data": b"{}"}, {"data": body}):
        async with client.session.post(client.url + "/async", headers=headers, **extra) as response:
            assert response.status == 429
    assert (client.emulator.stats().bytes_in, client.emulator.stats().shed) == (0, 2)


async def test_a_client_that_expects_100_sends_its_body(client):
    async with client.session.post(
        client.url + "/async", json={"type": PING}, headers=client.headers(), expect100=True
    ) as response:
        assert response.status == 201


async def test_a_job_whose_answer_is_dropped_runs_to_its_end_and_is_billed(client):
    config = {"emulator": {"drop": "before", "times": 1, "key": "k"}}
    with pytest.raises(aiohttp.ServerDisconnectedError):
        await client.submit(PING, config)
    assert (await client.submit(PING, config)).status == 201
    await until(lambda: client.emulator.stats().completed == 2 and not client.emulator.stats().busy)
    stats = client.emulator.stats()
    assert (stats.submitted, stats.billed, stats.repeated, stats.busy) == (2, 2, 1, 0)


async def test_a_job_whose_client_has_left_runs_to_its_end_and_is_billed(start):
    client = await start(latency=0.1)
    async with aiohttp.ClientSession() as session:
        reply = await Client(session, client.emulator).submit(PING)
    assert client.emulator.stats().busy == 1
    await client.ended(reply)
    assert client.emulator.stats().billed == 1


async def test_what_a_processing_job_says_can_be_ordered(client):
    state = '"queued"\n\\é'
    reply = await client.submit(PING, {"emulator": {"state": state, "latency": 0.1}})
    job_id = reply.json()["id"]
    assert (await client.ask(job_id, "job.state.current")).body == state.encode()
    assert (await client.ask(job_id, "job.json")).json()["state"]["current"] == "processing"
    await client.ended(reply)
    assert (await client.ask(job_id, "job.state.current")).body == b"processed"


@pytest.mark.parametrize(("status", "retry_after"), [(429, "0.5"), (503, "0.5"), (500, None)])
async def test_the_first_requests_about_a_job_can_be_refused(client, status, retry_after):
    orders = {"poll_status": status, "poll_times": 4, "retry_after": 0.5}
    job_id = (await client.submit(BYTES, {"filename": "a", "emulator": orders})).json()["id"]
    for part in PARTS:
        reply = await client.ask(job_id, part)
        assert (reply.status, reply.headers.get("Retry-After")) == (status, retry_after)
    await until(lambda: client.emulator.stats().completed == 1)
    assert [(await client.ask(job_id, part)).status for part in PARTS] == [200] * 4
    stats = client.emulator.stats()
    assert (stats.requests, stats.shed, stats.failed, stats.refused) == (1, 0, 0, 0)
    assert (stats.polls, stats.downloads) == (2, 1)


@pytest.mark.parametrize("ordered", [True, False])
async def test_a_job_expires_some_time_after_its_end(start, ordered):
    client = await start(async_lifetime=60 if ordered else 0.05, latency=0.1)
    orders = {"lifetime": 0.05} if ordered else {}
    job_id = (await client.submit(BYTES, {"emulator": orders})).json()["id"]
    assert client.emulator.stats().async_jobs == 1
    kept = weakref.ref(client.emulator._routes.store.find(job_id))
    await until(lambda: client.emulator.stats().completed == 1)
    assert (await client.ask(job_id, "job.json")).status == 200
    await until(lambda: client.emulator.stats().async_jobs == 0)
    for part in PARTS:
        assert (await client.ask(job_id, part)).status == 404
    gc.collect()
    assert kept() is None
    assert (client.emulator.stats().expired, client.emulator.stats().submitted) == (1, 1)


async def test_closing_ends_what_runs_and_leaves_nothing():
    before = asyncio.all_tasks()
    async with aiohttp.ClientSession() as session:
        async with Emulator(capacity=3) as emulator:
            client = Client(session, emulator)
            for latency in (60, 0):
                reply = await client.submit(TXT2IMG, {"prompt": "x", "emulator": {"latency": latency}})
            await client.ended(reply)
            kept = weakref.ref(emulator._routes.store.find(reply.json()["id"]))
            assert (emulator.stats().busy, emulator.stats().async_jobs) == (1, 2)
        stats = emulator.stats()
        assert (stats.busy, stats.async_jobs, stats.completed, stats.expired) == (0, 0, 1, 0)
    await asyncio.sleep(0)
    gc.collect()
    assert kept() is None
    assert asyncio.all_tasks() <= before
    assert not [thread.name for thread in threading.enumerate() if thread.name.startswith("emulator")]
    await emulator.aclose()
