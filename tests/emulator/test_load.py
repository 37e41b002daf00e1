from __future__ import annotations

import asyncio

import pytest
from emulator.helpers import BOUNDARY, form, sha256, until

from prodia_async.emulator import pattern_blocks

PING = "inference.ping.v1"
BYTES = "emulator.bytes.v1"


def slow(key="x", latency=0.15):
    return {"emulator": {"latency": latency, "key": key}}


async def test_a_job_that_finds_no_idle_slot_is_shed_at_once(start):
    client = await start(capacity=2, retry_after=0.25)
    running = [asyncio.create_task(client.run(PING, slow(key))) for key in "ab"]
    await until(lambda: client.emulator.stats().busy == 2)
    reply = await client.run(PING)
    assert (reply.status, reply.headers["Retry-After"]) == (429, "0.25")
    assert reply.json() == {"message": "Too many requests", "detail": "no idle capacity"}
    assert client.emulator.stats().busy == 2
    assert [(await task).status for task in running] == [200, 200]
    stats = client.emulator.stats()
    assert (stats.requests, stats.completed, stats.shed, stats.billed) == (3, 2, 1, 2)
    assert (stats.busy, stats.peak_busy) == (0, 2)
    assert stats.busy_seconds >= 0.29


@pytest.mark.parametrize(
    ("retry_after", "header"),
    [
        (1.0, "1"),
        (None, None),
        ("soon", "soon"),
        ("Wed, 21 Oct 2026 07:28:00 GMT", "Wed, 21 Oct 2026 07:28:00 GMT"),
    ],
)
async def test_retry_after_is_sent_as_it_is_given(start, retry_after, header):
    client = await start(capacity=0, retry_after=retry_after)
    reply = await client.run(PING)
    assert (reply.status, reply.headers.get("Retry-After")) == (429, header)


async def test_capacity_changes_while_jobs_run(start):
    client = await start(capacity=2)
    running = [asyncio.create_task(client.run(PING, slow(key))) for key in "ab"]
    await until(lambda: client.emulator.stats().busy == 2)
    client.emulator.capacity = 1
    assert (await client.run(PING)).status == 429
    client.emulator.capacity = 3
    assert (await client.run(PING)).status == 200
    assert [(await task).status for task in running] == [200, 200]
    assert client.emulator.stats().capacity == 3


@pytest.mark.parametrize(("free_at", "status"), [("headers", 200), ("end", 429)])
async def test_the_slot_is_idle_with_the_headers_or_with_the_last_byte(start, free_at, status):
    client = await start(capacity=1, free_at=free_at)
    config = {"size": 64 * 1024 * 1024}
    request = client.session.post(
        client.url, json={"type": BYTES, "config": config}, headers=client.headers()
    )
    async with request as response:
        # The headers are here; the body is far larger than what the sockets hold.
        assert (await client.run(PING)).status == status
        await response.read()
    assert (await client.run(PING)).status == 200


async def test_a_client_that_waits_its_turn_is_never_shed(start):
    for free_at in ("headers", "end"):
        client = await start(capacity=1, latency=0, free_at=free_at)
        replies = [await client.run(BYTES, {"size": 200_000 + index}) for index in range(20)]
        assert {reply.status for reply in replies} == {200}


async def test_a_large_upload_is_shed_at_its_headers(start):
    client = await start(capacity=0)
    sent = 0

    async def endless():
        nonlocal sent
        while True:
            sent += 65536
            yield bytes(65536)

    reply = await client.send(endless(), f"multipart/form-data; boundary={BOUNDARY}")
    assert reply.status == 429
    assert client.emulator.stats().bytes_in == 0


async def test_a_client_that_expects_100_keeps_its_body_when_it_is_shed_or_refused(start):
    client = await start(capacity=0)
    body = form({"type": "emulator.echo.v1"}, {b"a.png": b"x"})
    headers = client.headers() | {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
    for capacity, token, status in [
        (0, "emulator-token", 429),
        (1, "wrong", 401),
        (1, "emulator-token", 200),
    ]:
        client.emulator.capacity = capacity
        headers["Authorization"] = f"Bearer {token}"
        async with client.session.post(client.url, data=body, headers=headers, expect100=True) as response:
            assert response.status == status
            await response.read()
        assert client.emulator.stats().bytes_in == (len(body) if status == 200 else 0)
    assert client.emulator.stats().requests == 3


async def test_a_job_whose_client_has_left_runs_to_its_end_and_is_billed(start):
    client = await start(capacity=1)
    task = asyncio.create_task(client.run(PING, slow()))
    await until(lambda: client.emulator.stats().busy == 1)
    task.cancel()
    await asyncio.wait([task])
    assert (await client.run(PING)).status == 429
    await until(lambda: client.emulator.stats().busy == 0)
    stats = client.emulator.stats()
    assert (stats.completed, stats.billed, stats.disconnected) == (1, 1, 1)
    assert (await client.run(PING)).status == 200


async def test_a_client_that_leaves_in_the_answer_is_billed_and_frees_its_slot(start):
    client = await start(capacity=1, free_at="end")
    config = {"size": 64 * 1024 * 1024}
    request = client.session.post(
        client.url, json={"type": BYTES, "config": config}, headers=client.headers()
    )
    async with request as response:
        response.close()
    await until(lambda: client.emulator.stats().busy == 0)
    await until(lambda: client.emulator.stats().disconnected == 1)
    assert client.emulator.stats().billed == 1


async def test_an_upload_that_is_cut_off_is_neither_run_nor_billed(start):
    client = await start()
    started = asyncio.Event()

    async def stuck():
        yield form({"type": PING}, {b"a.png": b"x"})[:-10]
        started.set()
        await asyncio.sleep(60)

    task = asyncio.create_task(client.send(stuck(), f"multipart/form-data; boundary={BOUNDARY}"))
    await started.wait()
    await until(lambda: client.emulator.stats().bytes_in > 0)
    task.cancel()
    await asyncio.wait([task])
    await until(lambda: client.emulator.stats().disconnected == 1)
    stats = client.emulator.stats()
    assert (stats.completed, stats.billed, stats.busy, stats.peak_busy) == (0, 0, 0, 0)


@pytest.mark.parametrize("length", [True, False])
async def test_bytes_come_with_or_without_a_length(client, length):
    size = 600_000
    config = {"size": size, "seed": 9, "outputs": 2, "length": length, "filename": ["../a", None]}
    reply = await client.run(BYTES, config)
    assert ("Content-Length" in reply.headers) is length
    outputs = reply.outputs()
    assert [part.filename for part in outputs] == ["../a", None]
    for index, part in enumerate(outputs):
        assert sha256(part.content) == sha256(b"".join(pattern_blocks(9 + index, size)))
    direct = await client.run(
        BYTES, config | {"outputs": 1, "filename": "x"}, accept="application/octet-stream"
    )
    assert (direct.body, "Content-Length" in direct.headers) == (outputs[0].content, length)


def test_each_block_of_the_pattern_differs():
    blocks = list(pattern_blocks(1, 3 * 256 * 1024 + 5))
    assert [len(block) for block in blocks] == [262144, 262144, 262144, 5]
    assert len({*blocks}) == 4
    assert list(pattern_blocks(1, 0)) == []


async def test_an_input_too_large_to_keep_is_hashed_and_not_echoed(client):
    size = 33 * 1024 * 1024
    start_of_body, end_of_body = form({"type": PING}, {b"a.png": b"#"}).split(b"#")

    async def body():
        yield start_of_body
        for block in pattern_blocks(1, size):
            yield block
        yield end_of_body

    reply = await client.send(body(), f"multipart/form-data; boundary={BOUNDARY}")
    [received] = reply.result()["emulator"]["inputs"]
    assert (received["size"], received["sha256"]) == (size, sha256(b"".join(pattern_blocks(1, size))))
    start_of_body = start_of_body.replace(PING.encode(), b"emulator.echo.v1")
    reply = await client.send(body(), f"multipart/form-data; boundary={BOUNDARY}")
    assert (reply.status, reply.json()["detail"]) == (400, f"a.png: {size} bytes are too many to send back")


async def test_a_client_that_sends_all_before_it_reads_gets_its_429(start):
    client = await start(capacity=0)
    size = 3 * 1024 * 1024
    port = int(client.emulator.base_url.rpartition(":")[2])
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    head = "POST /v2/job HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer emulator-token\r\n"
    head += f"Content-Length: {size}\r\n\r\n"
    writer.write(head.encode() + bytes(size))
    await writer.drain()
    assert (await reader.readline()).startswith(b"HTTP/1.1 429 ")
    writer.close()
    await writer.wait_closed()


async def test_an_http_1_0_client_is_not_told_to_continue(client):
    port = int(client.emulator.base_url.rpartition(":")[2])
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    body = b'{"type": "inference.ping.v1"}'
    head = "POST /v2/job HTTP/1.0\r\nAuthorization: Bearer emulator-token\r\nExpect: 100-continue\r\n"
    head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    writer.write(head.encode() + body)
    assert (await reader.read()).startswith(b"HTTP/1.0 200 OK")
    writer.close()
    await writer.wait_closed()


async def test_slow_drawing_does_not_hold_back_other_jobs(start):
    client = await start(capacity=64, latency=0.05)
    config = {"width": 1024, "height": 1024}
    jobs = [client.run("inference.flux.txt2img.v1", config | {"prompt": f"{n}"}) for n in range(40)]
    assert {reply.status for reply in await asyncio.gather(*jobs)} == {200}
    assert client.emulator.stats().shed == 0
    assert client.emulator.stats().peak_busy > 8
