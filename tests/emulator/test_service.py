from __future__ import annotations

import asyncio
import gc
import json
import ssl
import subprocess
import sys
import uuid

import aiohttp
import pytest
import trustme
from emulator.helpers import Client, Reply, until

import prodia_async.emulator
from prodia_async.emulator import Emulator

PING = "inference.ping.v1"


@pytest.mark.parametrize(
    ("authorization", "status"),
    [
        (None, 401),
        ("Bearer wrong", 401),
        ("Basic emulator-token", 401),
        ("Bearer", 401),
        ("Bearer poor", 403),
        ("bearer emulator-token", 200),
    ],
)
async def test_the_token_decides(start, authorization, status):
    client = await start(forbidden=["poor"])
    headers = {} if authorization is None else {"Authorization": authorization}
    async with client.session.post(client.url, json={"type": PING}, headers=headers) as response:
        assert response.status == status
        if status != 200:
            assert response.content_type == "application/json"
            assert "emulator-token" not in await response.text()


async def test_a_forbidden_type_is_403(client):
    assert (await client.run("inference.forbidden.txt2img.v1", {"prompt": "x"})).status == 403


@pytest.mark.parametrize("status", [302, 400, 401, 403, 404, 413, 429, 500, 503, 504, 599])
async def test_any_status_can_be_ordered(client, status):
    job = {"type": PING, "config": {"emulator": {"status": status, "retry_after": 0.5}}}
    request = client.session.post(client.url, json=job, headers=client.headers(), allow_redirects=False)
    async with request as response:
        reply = Reply(response.status, response.headers, await response.read())
    assert reply.status == status
    assert reply.json()["detail"] == "ordered by the job"
    assert reply.headers.get("Retry-After") == ("0.5" if status in (429, 503) else None)
    assert reply.headers.get("Location") == ("/elsewhere" if status == 302 else None)
    stats = client.emulator.stats()
    counted = "shed" if status == 429 else "failed" if status >= 500 else "refused"
    assert {name: getattr(stats, name) for name in ("shed", "failed", "refused")} == {
        "shed": 0,
        "failed": 0,
        "refused": 0,
        counted: 1,
    }
    assert (stats.billed, stats.peak_busy) == (0, 0)


async def test_502_is_a_page_of_a_proxy(client):
    reply = await client.run(PING, {"emulator": {"status": 502}})
    assert (reply.status, reply.headers["Content-Type"]) == (502, "text/html; charset=utf-8")
    assert b"<h1>502 Bad Gateway</h1>" in reply.body


async def test_a_job_can_be_shed_and_then_broken_a_number_of_times(client):
    config = {"emulator": {"shed": 2, "status": 500, "times": 3, "key": "k", "retry_after": "0"}}
    replies = [await client.run(PING, config) for _ in range(4)]
    assert [reply.status for reply in replies] == [429, 429, 500, 200]
    assert [reply.headers.get("Retry-After") for reply in replies] == ["0", "0", None, None]
    assert replies[3].result()["emulator"]["attempt"] == 4


async def test_requests_for_the_same_job_are_its_attempts(client):
    attempts = []
    for seed in (1, 1, 2):
        reply = await client.run(PING, {"seed": seed})
        attempts.append(reply.result()["emulator"]["attempt"])
    assert attempts == [1, 2, 1]


@pytest.mark.parametrize(("orders", "status"), [({}, 400), ({"fail_200": True}, 200)])
async def test_a_job_can_be_made_to_fail(client, orders, status):
    config = {"emulator": {"fail": "not today", "times": 1, "key": "k"} | orders}
    reply = await client.run(PING, config)
    result = reply.result()
    assert (reply.status, result["state"]["current"], result["error"]) == (status, "failed", "not today")
    assert result["emulator"]["attempt"] == 1
    assert reply.outputs() == []
    assert (await client.run(PING, config)).result()["state"]["current"] == "completed"
    stats = client.emulator.stats()
    assert (stats.failed, stats.refused, stats.completed, stats.billed) == (1, 0, 1, 1)


async def test_every_answer_has_a_request_id_of_its_own(client):
    ids = set()
    for path in ("/v2/job", "/stats", "/health", "/nowhere"):
        async with client.session.get(client.emulator.base_url + path) as response:
            ids.add(uuid.UUID(response.headers["x-request-id"]))
            assert response.content_type == "application/json"
            assert response.status == {"/v2/job": 405, "/nowhere": 404}.get(path, 200)
    ids.add((await client.run(PING)).headers["x-request-id"])
    assert len(ids) == 5


async def test_the_account_is_told_at_stats(client):
    await client.run(PING)
    async with client.session.get(client.emulator.base_url + "/stats") as response:
        told = await response.json()
    stats = client.emulator.stats()
    assert told == {name: getattr(stats, name) for name in told}
    assert told["requests"] == told["completed"] == 1
    assert told["bytes_in"] == len(json.dumps({"type": PING, "config": {}}))
    assert told["bytes_out"] > 300
    assert told["capacity"] == 8


async def test_the_seeds_that_are_filled_in_are_the_same_for_the_same_seed():
    seen = []
    for _ in range(2):
        async with (
            Emulator(latency=0.01, latency_sigma=0.5, seed=3) as emulator,
            aiohttp.ClientSession() as session,
        ):
            reply = await Client(session, emulator).run("emulator.bytes.v1")
            seen.append(reply.result()["config"]["seed"])
    assert seen[0] == seen[1]


async def test_closing_ends_what_runs_and_leaves_nothing():
    before = asyncio.all_tasks()
    async with aiohttp.ClientSession() as session:
        async with Emulator(latency=60, capacity=3) as emulator:
            client = Client(session, emulator)
            answered, left = (asyncio.create_task(client.run(PING, {"seed": seed})) for seed in range(2))
            await until(lambda: emulator.stats().busy == 2)
            left.cancel()
            await asyncio.wait([left])
            await asyncio.sleep(0.02)
            assert emulator.stats().busy == 2
        with pytest.raises(aiohttp.ClientError):
            await answered
        assert emulator.stats().busy == 0
        with pytest.raises(aiohttp.ClientConnectorError):
            await client.run(PING)
    await asyncio.sleep(0)
    gc.collect()
    assert asyncio.all_tasks() <= before
    await emulator.aclose()


async def test_an_emulator_is_started_once():
    emulator = Emulator()
    await emulator.aclose()
    emulator = Emulator()
    assert repr(emulator) == "Emulator(capacity=8, busy=0)"
    with pytest.raises(RuntimeError, match="not running"):
        _ = emulator.base_url
    async with emulator:
        with pytest.raises(RuntimeError, match="once"):
            await emulator.start()
    with pytest.raises(RuntimeError, match="not running"):
        _ = emulator.base_url


async def test_an_address_that_is_taken_is_an_error(client):
    port = int(client.emulator.base_url.rpartition(":")[2])
    other = Emulator(port=port)
    with pytest.raises(OSError, match="address already in use"):
        await other.start()


async def test_it_serves_tls():
    authority = trustme.CA()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    connector = aiohttp.TCPConnector(ssl=trusting)
    async with (
        Emulator(ssl=context, latency=0) as emulator,
        aiohttp.ClientSession(connector=connector) as session,
    ):
        assert emulator.base_url.startswith("https://127.0.0.1:")
        assert (await Client(session, emulator).run(PING)).status == 200


async def test_an_ipv6_host_is_bracketed():
    async with Emulator(host="::1") as emulator:
        assert emulator.base_url.startswith("http://[::1]:")


def test_the_package_is_light_until_a_name_is_used():
    program = (
        "import sys, prodia_async.emulator as e; assert not {'aiohttp', 'PIL'} & sys.modules.keys();"
        "e.Emulator; assert 'PIL' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


def test_the_public_names_load_and_others_do_not_exist():
    assert dir(prodia_async.emulator) == [
        "Emulator",
        "EmulatorProcess",
        "EmulatorStats",
        "background_emulator",
        "pattern_blocks",
    ]
    for name in dir(prodia_async.emulator):
        assert getattr(prodia_async.emulator, name).__name__ == name
    with pytest.raises(AttributeError, match="no attribute 'Emu'"):
        _ = prodia_async.emulator.Emu
