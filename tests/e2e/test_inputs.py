"""Inputs: the right bytes in each attempt, and file names that arrive as they are."""

from __future__ import annotations

import asyncio
import hashlib
import io
import os
import re

import pytest
from support.expect import until
from support.fake_clock import FakeClock
from support.leaks import TOKEN, client
from support.replies import DONE, in_json, shed
from support.servers import answer, early, hang_up, serving, stall

from prodia_async import APIError, CapacityError, Fixed, InputError
from prodia_async.emulator import Emulator

pytestmark = pytest.mark.usefixtures("nothing_left")

TYPE = "inference.flux.schnell.img2img.v1"
MiB = 1024 * 1024
TWICE_SHED = answer(shed(0)), answer(shed(0)), answer(DONE)


def sha256(data):
    return hashlib.sha256(data).hexdigest()


def pattern(seed, size):
    return hashlib.shake_128(seed.encode()).digest(size)


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "path.png"
    path.write_bytes(pattern("path", 700_000))
    return path


async def test_each_attempt_sends_the_same_body_with_the_right_inputs(path, tmp_path):
    opened = tmp_path / "opened.jpg"
    opened.write_bytes(b"skipped" + pattern("opened", 600_000))
    with opened.open("rb") as file:
        file.seek(len(b"skipped"))
        inputs = [
            path,
            pattern("bytes", 300_000),
            file,
            ("tuple.webp", io.BytesIO(pattern("tuple", 9)), "image/x-own"),
            ("empty.bin", b""),
        ]
        async with serving(*TWICE_SHED) as server, client(server.base_url) as prodia:
            result = await prodia.run(TYPE, {"image": "path.png"}, inputs=inputs)
        assert not file.closed
    assert [attempt.verdict for attempt in result.attempts] == ["shed", "shed", "done"]
    expected = {
        "path.png": sha256(path.read_bytes()),
        "input.bin": sha256(pattern("bytes", 300_000)),
        "opened.jpg": sha256(pattern("opened", 600_000)),
        "tuple.webp": sha256(pattern("tuple", 9)),
        "empty.bin": sha256(b""),
    }
    assert [request.inputs() for request in server.requests] == [expected] * 3
    assert len({request.sha256 for request in server.requests}) == 1
    assert {request.headers["content-length"] for request in server.requests} == {
        str(request.size) for request in server.requests
    }
    assert re.fullmatch(
        "multipart/form-data; boundary=[0-9a-f]{60}", server.requests[0].headers["content-type"]
    )
    job, *heads = [head for head, _ in server.requests[0].parts()]
    assert "Content-Type: application/json" in job
    types = [head.rpartition("Content-Type: ")[2] for head in heads]
    assert types == [
        "image/png",
        "application/octet-stream",
        "image/jpeg",
        "image/x-own",
        "application/octet-stream",
    ]


async def test_an_open_file_stands_behind_what_was_sent_and_is_not_closed(path):
    with path.open("rb") as file:
        async with serving(answer(DONE)) as server, client(server.base_url) as prodia:
            await prodia.run(TYPE, inputs=[file])
            file.seek(0)
            await prodia.run(TYPE, inputs=[file])
        assert server.requests[0].inputs() == server.requests[1].inputs()


@pytest.mark.parametrize("make", [lambda path: path.open("rb"), lambda path: io.BytesIO(path.read_bytes())])
async def test_one_open_file_is_the_input_of_many_jobs_at_once(tmp_path, make):
    (tmp_path / "one.bin").write_bytes(pattern("one", 3 * MiB // 2 + 17))
    with make(tmp_path / "one.bin") as file:
        async with (
            serving(answer(DONE)) as server,
            client(server.base_url, limiter=Fixed(40)) as prodia,
        ):
            await asyncio.gather(*[prodia.run(TYPE, inputs=[("one.bin", file)]) for _ in range(40)])
            expected = {"one.bin": sha256(pattern("one", 3 * MiB // 2 + 17))}
            assert [request.inputs() for request in server.requests] == [expected] * 40
        assert file.tell() == 0


async def test_the_emulator_sees_the_same_input_in_each_attempt(path):
    async with (
        Emulator(latency=0.0, retry_after=0.0) as emulator,
        client(emulator.base_url, token=emulator.token) as prodia,
    ):
        config = {"emulator": {"shed": 2}}
        result = await prodia.run("emulator.echo.v1", config, inputs=[path])
        assert emulator.stats().shed == 2
    assert result.raw["emulator"]["attempt"] == 3
    assert result.raw["emulator"]["inputs"][0]["sha256"] == sha256(path.read_bytes())
    assert result.outputs[0].data == path.read_bytes()


async def once(*blocks):
    for block in blocks:
        yield block


async def test_a_stream_is_sent_as_it_comes():
    async with serving(answer(DONE)) as server, client(server.base_url) as prodia:
        result = await prodia.run(TYPE, inputs=[("a.png", once(b"one ", b"", b"two"))])
        [request] = server.requests
    assert request.headers["transfer-encoding"] == "chunked"
    assert "content-length" not in request.headers
    assert request.inputs() == {"a.png": sha256(b"one two")}
    assert len(result.attempts) == 1


@pytest.mark.parametrize("fault", ["shed", "server error"])
async def test_a_stream_that_was_read_cannot_be_sent_again(fault):
    reply = shed(0) if fault == "shed" else in_json(500, {})
    async with serving(answer(reply), answer(DONE)) as server, client(server.base_url) as prodia:
        with pytest.raises(InputError, match=r"'a\.png' was read and cannot be sent again") as caught:
            await prodia.run(TYPE, inputs=[("a.png", once(b"x"))])
        complete = [request for request in server.requests if request.size]
    assert len(complete) == 1
    assert "spool=True" in str(caught.value)
    assert caught.value.attempts[0].verdict in ("shed", "server_error")
    assert caught.value.attempts[-1].verdict == "bad_input"
    assert caught.value.may_have_run is (fault == "server error")


async def test_a_stream_that_was_never_read_can_be_sent_later():
    """Nothing listens at first, so nothing is read: the next attempt has all of it."""
    reads = []

    async def stream():
        reads.append(1)
        yield b"x"

    clock = FakeClock()
    async with serving(answer(DONE)) as closed:
        port = int(closed.base_url.rpartition(":")[2])
    async with client(closed.base_url, clock=clock) as prodia:
        running = asyncio.ensure_future(prodia.run(TYPE, inputs=[("a.png", stream())]))
        await until(lambda: prodia.stats().requests and not prodia.stats().in_flight)
        assert reads == []
        async with serving(answer(DONE), port=port) as server:
            clock.advance(1)
            result = await running
        assert server.requests[0].inputs() == {"a.png": sha256(b"x")}
    assert [attempt.verdict for attempt in result.attempts] == ["not_sent", "done"]
    assert reads == [1]


@pytest.mark.parametrize("size", [1000, 3 * MiB], ids=["memory", "temporary file"])
async def test_a_spooled_stream_can_be_sent_again(size):
    data = pattern("spool", size)
    async with serving(*TWICE_SHED) as server, client(server.base_url) as prodia:
        await prodia.run(TYPE, inputs=[("a.png", once(data[:700], data[700:]))], spool=True)
        assert [request.inputs() for request in server.requests] == [{"a.png": sha256(data)}] * 3
        assert all("content-length" in request.headers for request in server.requests)


async def test_a_pipe_is_sent_once():
    readable, writable = os.pipe()
    os.write(writable, b"through the pipe")
    os.close(writable)
    with os.fdopen(readable, "rb") as pipe:
        async with serving(answer(DONE)) as server, client(server.base_url) as prodia:
            await prodia.run(TYPE, inputs=[("a.txt", pipe)])
            assert server.requests[0].inputs() == {"a.txt": sha256(b"through the pipe")}


async def test_a_shed_during_a_large_upload_stops_the_sending(tmp_path):
    path = tmp_path / "large.bin"
    with path.open("wb") as file:
        file.truncate(64 * MiB)
    script = early(shed(0)), early(shed(0)), answer(DONE)
    async with serving(*script) as server, client(server.base_url) as prodia:
        result = await prodia.run(TYPE, inputs=[path])
        *cut, whole = [request.size for request in server.requests]
    assert [attempt.verdict for attempt in result.attempts] == ["shed", "shed", "done"]
    assert max(cut) < 16 * MiB
    assert whole > 64 * MiB


async def test_a_shed_during_an_upload_is_heard_even_if_the_connection_then_breaks(tmp_path):
    path = tmp_path / "large.bin"
    with path.open("wb") as file:
        file.truncate(64 * MiB)

    async def shed_and_break(connection, request):
        await connection.write_reply(shed(300))
        await hang_up("close", after="head")(connection, request)

    async with serving(shed_and_break) as server, client(server.base_url) as prodia:
        with pytest.raises(CapacityError) as caught:
            await prodia.run(TYPE, inputs=[path])
        assert len(server.requests) == 1
    assert caught.value.retry_after == 300
    assert caught.value.may_have_run is False


async def test_a_shed_during_an_upload_is_told_by_its_headers_alone(tmp_path):
    """Its body never comes, the client's clock stands still, and the server reads no more."""
    path = tmp_path / "large.bin"
    with path.open("wb") as file:
        file.truncate(64 * MiB)

    async def headers_alone(connection, request):
        connection.writer.write(b"HTTP/1.1 429 Busy\r\nRetry-After: 300\r\nContent-Length: 900\r\n\r\n")
        await stall(after="head")(connection, request)

    async with serving(headers_alone) as server, client(server.base_url, clock=FakeClock()) as prodia:
        with pytest.raises(CapacityError) as caught:
            await asyncio.wait_for(prodia.run(TYPE, inputs=[path]), 10)
        transport = prodia._engines.peek().transport
        await until(lambda: all(opened.fileno() < 0 for opened in transport._sockets))
    assert (caught.value.retry_after, caught.value.may_have_run) == (300, False)


async def test_a_refusal_during_a_large_upload_stops_the_sending_and_tells_why(tmp_path):
    path = tmp_path / "large.bin"
    with path.open("wb") as file:
        file.truncate(64 * MiB)
    script = early(in_json(413, {"message": "at most 20 MB"}))
    async with serving(script) as server, client(server.base_url) as prodia:
        with pytest.raises(APIError, match="at most 20 MB") as caught:
            await prodia.run(TYPE, inputs=[path])
        [request] = server.requests
    assert (caught.value.status, caught.value.may_have_run) == (413, False)
    assert request.size < 16 * MiB


HARD_NAMES = [
    "two words.png",
    " lead and trail .png",
    "é.png",
    "日本.png",
    'a"b.png',
    "a\\b.png",
    'a\\"b.png',
    "100%25.png",
    "a;b.png",
    "+.png",
    "a=b,c.png",
    "'single'.png",
    "no suffix",
    "🙂.png",
]


async def test_hard_names_reach_a_go_reader_exactly():
    async with (
        Emulator(latency=0.0) as emulator,
        client(emulator.base_url, token=emulator.token) as prodia,
    ):
        inputs = [(name, name.encode()) for name in HARD_NAMES]
        result = await prodia.run("emulator.echo.v1", {"images": HARD_NAMES}, inputs=inputs)
    told = result.raw["emulator"]["inputs"]
    assert [each["filename"] for each in told] == HARD_NAMES
    assert [each["sha256"] for each in told] == [sha256(name.encode()) for name in HARD_NAMES]
    assert [output.filename for output in result.outputs] == HARD_NAMES


@pytest.mark.parametrize("name", ["日本.png", 'a"b.png', "100%25.png", "a;b.png"])
async def test_a_paths_own_name_arrives(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(b"x")
    async with (
        Emulator(latency=0.0) as emulator,
        client(emulator.base_url, token=emulator.token) as prodia,
    ):
        result = await prodia.run("emulator.echo.v1", inputs=[path], to=tmp_path / "out")
    assert result.raw["emulator"]["inputs"][0]["filename"] == name
    assert result.outputs[0].path.parent == tmp_path / "out"


async def refuse(inputs, match):
    async with serving(answer(DONE)) as server, client(server.base_url) as prodia:
        with pytest.raises(InputError, match=match) as caught:
            await prodia.run(TYPE, inputs=inputs)
        assert (server.connections, prodia.stats().requests) == (0, 0)
    assert caught.value.may_have_run is False
    assert TOKEN not in str(caught.value)


@pytest.mark.parametrize("name", ["a\rb.png", "a\nb.png", "a\0b.png", "a/b.png", "", "\udce9.png"])
async def test_a_name_that_cannot_travel_is_refused(name):
    await refuse([(name, b"x")], "name")


async def test_two_inputs_of_one_name_are_refused(path):
    await refuse([path, ("path.png", b"x")], r"input 1 and input 2 are both named 'path\.png'")


async def test_what_is_no_input_is_refused(tmp_path):
    await refuse([tmp_path / "missing.png"], "cannot be read: No such file")
    await refuse([tmp_path], "is a folder")
    await refuse("a.png", "pass a list")
    await refuse([42], "input 1 is int")
