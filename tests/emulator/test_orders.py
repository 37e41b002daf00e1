from __future__ import annotations

import asyncio

import aiohttp
import pytest
from emulator.helpers import until

PING = "inference.ping.v1"
BYTES = "emulator.bytes.v1"


@pytest.mark.parametrize(
    ("orders", "said"),
    [
        ([], ": must be an object with keys of async, drop, fail,"),
        ({"speed": 1}, ": Object contains unknown field `speed`; there are async, drop, fail,"),
        ({"job_part": "middle"}, ".job_part: Invalid enum value 'middle'"),
        ({"job_part": None}, ".job_part: Expected `str`, got `null`"),
        ({"drop": "after"}, ".drop: Invalid enum value 'after'"),
        ({"drop": ["before"]}, ".drop: Expected `str | null`, got `array`"),
        ({"price": "1"}, ".price: Expected `float | null`, got `str`"),
        ({"price": -0.01}, ".price: Expected `float` >= 0"),
        ({"price": True}, ".price: Expected `float | null`, got `bool`"),
        ({"retry_after": []}, ".retry_after: Expected `float | str | null`, got `array`"),
        ({"async": 0}, ".async: Expected `bool`, got `int`"),
        ({"lifetime": -1}, ".lifetime: Expected `float` >= 0"),
        ({"poll_status": 200}, ".poll_status: Expected `int` >= 300"),
        ({"poll_times": 0.5}, ".poll_times: Expected `int`, got `float`"),
        ({"state": ""}, ".state: Expected `str` of length >= 1"),
    ],
)
async def test_senseless_orders_are_refused(client, orders, said):
    reply = await client.run(PING, {"emulator": orders})
    assert reply.status == 400
    assert reply.result()["error"].startswith(f"config.emulator{said}")
    assert client.emulator.stats().billed == 0


async def test_a_job_can_order_its_price(start):
    client = await start(price=0.25)
    told = [
        (await client.run(PING, {"emulator": {"price": price}}, "?price=true")).result()["price"]
        for price in (0.04, 0.4, 0, None)
    ]
    assert [price and price["dollars"] for price in told] == [0.04, 0.4, 0, None]
    assert (await client.run(PING, {}, "?price=true")).result()["price"]["dollars"] == 0.25
    assert client.emulator.stats().dollars == pytest.approx(0.69)


async def test_a_job_can_order_a_price_where_there_is_none(start):
    client = await start(price=None)
    reply = await client.run(PING, {"emulator": {"price": 2}}, "?price=true")
    assert reply.result()["price"] == {"product": "inference-ping", "dollars": 2}


async def test_every_billed_job_is_in_the_account_whether_its_price_is_asked_for_or_not(client):
    for query in ("", "?price=true"):
        await client.run(PING, {"emulator": {"price": 1.5}}, query)
    await client.run(PING, {"emulator": {"price": 5, "fail": "no"}})
    await client.run(PING, {"emulator": {"price": 7, "status": 500}})
    stats = client.emulator.stats()
    assert (stats.billed, stats.dollars) == (2, 3.0)


async def test_jobs_that_complete_again_are_counted(client):
    for seed in (1, 2, 1, 1, 3):
        await client.run(PING, {"seed": seed})
    for number in (4, 5):
        await client.run(PING, {"number": number, "emulator": {"key": "same"}})
    failing = {"emulator": {"fail": "no", "times": 2, "shed": 1, "key": "failing"}}
    for _ in range(3):
        await client.run(PING, failing)
    stats = client.emulator.stats()
    assert (stats.completed, stats.repeated) == (8, 3)


async def test_an_answer_can_be_dropped_before_it_begins(client):
    orders = {"drop": "before", "price": 2, "times": 2, "key": "k"}
    for _ in range(2):
        with pytest.raises(aiohttp.ServerDisconnectedError):
            await client.run(BYTES, {"emulator": orders})
    assert (await client.run(BYTES, {"emulator": orders})).status == 200
    stats = client.emulator.stats()
    assert (stats.completed, stats.billed, stats.dollars, stats.repeated) == (3, 3, 6, 2)
    assert (stats.busy, stats.disconnected) == (0, 0)


@pytest.mark.parametrize("job_type", [BYTES, PING])
@pytest.mark.parametrize("free_at", ["headers", "end"])
async def test_an_answer_can_be_dropped_in_its_middle(start, free_at, job_type):
    client = await start(free_at=free_at)
    config = {"size": 100_000, "emulator": {"drop": "during", "times": 1, "key": "k"}}
    job = {"type": job_type, "config": config}
    async with client.session.post(client.url, json=job, headers=client.headers()) as response:
        assert response.status == 200
        got = bytearray()
        with pytest.raises(aiohttp.ClientPayloadError):
            await read_into(got, response.content)
        size = response.content_length
    assert len(got) == client.emulator.stats().bytes_out == size // 2
    whole = await client.run(job_type, config)
    assert len(whole.outputs()) == (job_type == BYTES)
    stats = client.emulator.stats()
    assert (stats.completed, stats.repeated, stats.busy, stats.disconnected) == (2, 1, 0, 0)


async def test_the_answer_of_a_failed_job_can_be_dropped(client):
    with pytest.raises(aiohttp.ServerDisconnectedError):
        await client.run(PING, {"emulator": {"drop": "before", "fail": "no"}})
    stats = client.emulator.stats()
    assert (stats.failed, stats.billed) == (1, 0)


async def test_a_client_that_left_gets_nothing_to_be_dropped(client):
    config = {"emulator": {"drop": "before", "latency": 0.1}}
    with pytest.raises(asyncio.TimeoutError):
        async with client.session.post(
            client.url,
            json={"type": PING, "config": config},
            headers=client.headers(),
            timeout=aiohttp.ClientTimeout(total=0.03),
        ):
            pass
    await until(lambda: client.emulator.stats().disconnected == 1)
    assert client.emulator.stats().completed == 1


async def read_into(got: bytearray, stream: aiohttp.StreamReader) -> None:
    while piece := await stream.readany():
        got += piece
