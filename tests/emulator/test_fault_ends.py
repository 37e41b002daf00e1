"""Faults that hold a connection: what ends them, and that nothing is left."""

from __future__ import annotations

import asyncio
import socket
import ssl
from types import SimpleNamespace

import anyio
import pytest
import trustme
import uvloop
from emulator.helpers import BOUNDARY, form, until
from emulator.raw import Got, Wire, a_job, get, run
from support.leaks import Census

from prodia_async.emulator import Emulator, EmulatorStats
from prodia_async.emulator._faults.wire import Line
from prodia_async.emulator._orders import Orders

HOLDING = ["hang-upload", "hang", "hang-headers", "hang-body", "drip"]


@pytest.mark.parametrize("name", HOLDING)
async def test_the_emulator_ends_at_once_what_a_fault_holds(tmp_path, name):
    census = Census(tmp_path)
    async with Emulator(latency=0) as emulator, Wire(emulator) as wire:
        await wire.post(a_job(name))
        await until(lambda: emulator.stats().faults == {name: 1})
        with anyio.fail_after(3):
            await emulator.aclose()
        assert (await wire.read()).data.count(b"--\r\n") == 0
        assert emulator.stats().busy == 0
    await census.assert_nothing_left()


@pytest.mark.parametrize("free_at", ["headers", "end"])
@pytest.mark.parametrize("name", HOLDING)
async def test_a_client_that_leaves_ends_what_a_fault_holds(tmp_path, name, free_at):
    census = Census(tmp_path)
    async with Emulator(latency=0, capacity=1, free_at=free_at) as emulator:
        async with Wire(emulator) as wire:
            await wire.post(a_job(name))
            await until(lambda: emulator.stats().faults == {name: 1})
            assert emulator.stats().busy == (free_at == "end" and name != "hang-upload")
        await until(lambda: emulator.stats().disconnected == 1)
        await until(lambda: emulator.stats().busy == 0)
        assert (emulator.stats().billed, len(emulator._handlers)) == (name != "hang-upload", 0)
    await census.assert_nothing_left()


async def test_a_client_that_left_before_its_answer_meets_no_fault():
    async with Emulator(latency=0.1) as emulator:
        for name in ("reset", "gzip"):
            async with Wire(emulator) as wire:
                await wire.post(a_job(name))
                await until(lambda: emulator.stats().busy == 1)
            await until(lambda: emulator.stats().busy == 0)
        stats = emulator.stats()
        assert (stats.faults, stats.completed, stats.disconnected) == ({}, 2, 2)


async def test_an_epilogue_without_end_ends_with_its_client(tmp_path):
    census = Census(tmp_path)
    async with Emulator(latency=0) as emulator:
        async with Wire(emulator) as wire:
            await wire.post(a_job("epilogue-endless"))
            data = b""
            while len(data) < 8 * 1024**2:
                data += await asyncio.get_running_loop().sock_recv(wire.connection, 1024**2)
            assert data.endswith(bytes(1000))
        await until(lambda: emulator.stats().disconnected == 1)
        assert 8 * 1024**2 < emulator.stats().bytes_out < 1024**3
    await census.assert_nothing_left()


async def test_a_drip_sends_all_when_there_is_time():
    async with Emulator(latency=0) as emulator:
        job = a_job("drip", config={"size": 20})
        got = await run(emulator, job, Accept="application/octet-stream")
        assert (len(got.body), got.missing) == (20, 0)
        assert emulator.stats().bytes_out == 20


async def test_a_slow_reader_gets_what_was_sent_before_a_reset(tmp_path):
    census = Census(tmp_path)
    async with Emulator(latency=0) as emulator:
        async with Wire(emulator) as wire:
            await wire.post(a_job("reset-body", config={"size": 32 * 1024**2}))
            await until(lambda: emulator.stats().bytes_out > 0)
            await asyncio.sleep(0.1)  # the sockets are full
            got = await wire.read()
        assert (got.status, got.end) == (200, "reset")
        assert 0 < len(got.body) <= emulator.stats().bytes_out == (len(got.body) + got.missing) // 2
    await census.assert_nothing_left()


async def test_a_reset_waits_until_the_socket_has_taken_what_was_written():
    """A slow reader's socket is full: what stands before it in the server's memory is sent first."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = writer.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        request = SimpleNamespace(transport=writer.transport, writer=writer)
        line = Line(request, EmulatorStats(), Orders(fault_time=5.0))
        await line.write(bytes(60_000))
        waiting.append(writer.transport.get_write_buffer_size())
        await line.reset()

    waiting: list[int] = []
    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        with socket.socket() as client:
            client.setblocking(False)
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            await asyncio.get_running_loop().sock_connect(client, server.sockets[0].getsockname())
            await until(lambda: bool(waiting))
            await asyncio.sleep(0.02)
            got = await Wire(None, client).read()
    assert waiting[0] > 0
    assert got.end == "reset"
    assert len(got.data) > 60_000 - waiting[0]


async def test_a_job_orders_for_how_long_a_fault_holds_it():
    async with Emulator(latency=0, fault_time=3600) as emulator:
        for name in ("hang", "hang-upload"):
            assert (await run(emulator, a_job(name, fault_time=0.05))).data == b""
        assert emulator.stats().disconnected == 0


@pytest.mark.parametrize("secure", [False, True])
@pytest.mark.parametrize("name", ["reset-body", "cut", "hang-body"])
async def test_the_same_over_tls(tmp_path, name, secure):
    authority = trustme.CA()
    server, client = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context()
    authority.issue_cert("127.0.0.1").configure_cert(server)
    authority.configure_trust(client)
    census = Census(tmp_path)
    async with Emulator(latency=0, ssl=server if secure else None, fault_time=0.1) as emulator:
        port = int(emulator.base_url.rpartition(":")[2])
        secured = {"ssl": client, "server_hostname": "127.0.0.1"} if secure else {}
        reader, writer = await asyncio.open_connection("127.0.0.1", port, **secured)
        body = b'{"type": "emulator.bytes.v1.fault-%s", "config": {"size": 3000}}' % name.encode()
        head = f"POST /v2/job HTTP/1.1\r\nAuthorization: Bearer {emulator.token}\r\n"
        head += f"Host: x\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        writer.write(head.encode() + body)
        data, end = b"", "eof"
        try:
            while piece := await reader.read(65536):
                data += piece
        except ConnectionResetError:
            end = "reset"
        assert end == ("reset" if name == "reset-body" else "eof")
        assert 1500 < len(data.partition(b"\r\n\r\n")[2]) < 2500
        writer.transport.abort()
        assert emulator.stats().billed == 1
    await census.assert_nothing_left()


@pytest.mark.parametrize("name", ["reset", "reset-headers", "reset-body", "cut", "hang-body"])
def test_the_same_on_uvloop(name):
    """Its transports keep what is written until the loop turns: a reset has to wait for that."""

    async def met() -> tuple[Got, EmulatorStats]:
        async with Emulator(latency=0, fault_time=0.1) as emulator, Wire(emulator) as wire:
            await wire.post(a_job(name))
            return await wire.read(), emulator.stats()

    loop = uvloop.new_event_loop()
    try:
        got, stats = loop.run_until_complete(met())
    finally:
        loop.close()
    assert (stats.billed, stats.faults) == (1, {name: 1})
    assert got.end == ("reset" if name.startswith("reset") else "eof")
    assert bool(got.data) is (name != "reset")
    if name not in ("reset", "reset-headers"):
        assert len(got.body) - got.missing in (0, -1)


@pytest.mark.parametrize("ordered", [False, True])
@pytest.mark.parametrize(("name", "end"), [("early-429", "eof"), ("early-429-reset", "reset")])
async def test_a_429_comes_while_the_body_is_sent(name, end, ordered):
    """It comes when the body is not whole: at its start by chance, after the job part by an order."""
    start = form(a_job(name if ordered else None), {b"a.png": b"#"}).partition(b"#")[0]
    async with Emulator(latency=0, faults={} if ordered else {name: 1}) as emulator, Wire(emulator) as wire:
        kind = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}", "Content-Length": 100_000_000}
        await wire.ask("POST", "/v2/job", kind | {"Connection": "close"})
        if ordered:
            await wire.send(start)
        await until(lambda: emulator.stats().shed == 1)
        if not ordered:
            assert emulator.stats().bytes_in == 0
        elif end == "reset":
            assert emulator.stats().bytes_in == len(start)
        if end == "eof":
            first = await asyncio.get_running_loop().sock_recv(wire.connection, 65536)
            assert first.startswith(b"HTTP/1.1 429 ")
            await wire.send(bytes(100_000))  # the server takes it, so that the client gets its answer
            wire.connection.shutdown(1)
        else:
            assert (await wire.read()).end == "reset"
        assert (emulator.stats().billed, emulator.stats().faults) == (0, {name: 1})


async def test_an_upload_hangs_while_its_body_is_not_read():
    start = form(a_job("hang-upload"), {b"a.png": b"#"}).partition(b"#")[0]
    async with Emulator(latency=0) as emulator, Wire(emulator) as wire:
        kind = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}", "Content-Length": 100_000_000}
        await wire.ask("POST", "/v2/job", kind)
        await wire.send(start)
        await until(lambda: emulator.stats().faults == {"hang-upload": 1})
        with anyio.move_on_after(0.1) as scope:
            await wire.send(bytes(90_000_000))
        assert scope.cancelled_caught
        assert emulator.stats().bytes_in == len(start)


async def test_the_answer_of_an_asynchronous_request_can_hang():
    async with Emulator(latency=0, faults={"hang": 1}, fault_time=0.05) as emulator:
        assert (await run(emulator, a_job(None), "/v2/job/async")).data == b""
        await until(lambda: emulator.stats().billed == 1)
        [job_id] = emulator._routes.store._jobs
        assert (await get(emulator, f"/v2/job/async/{job_id}/job.state.current")).data == b""
        assert emulator.stats().faults == {"hang": 2}
