"""`Prodia.stream`: outputs are handed out while they arrive, whole; from then on nothing is sent again."""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import re

import pytest
from support.expect import JOB, assert_told, until
from support.leaks import TOKEN, assert_idle, client
from support.replies import (
    BOUNDARY,
    DONE,
    JOB_ID,
    PNG,
    Reply,
    in_json,
    job,
    job_part,
    multipart,
    output,
    shed,
)
from support.servers import answer, hang_up, serving

from prodia_async import (
    BadRequestError,
    InputError,
    Job,
    JobFailedError,
    Limits,
    OutputError,
    ProtocolError,
    Retry,
    ServerError,
    TransportError,
)
from prodia_async.emulator import Emulator, pattern_blocks

pytestmark = pytest.mark.usefixtures("nothing_left")

BYTES = "emulator.bytes.v1"
FAILED = job_part(job("failed", error="the prompt was refused"))
STEADY_SIZE = 100_000
STEADY = b"U" * STEADY_SIZE
"""Bytes that no boundary can begin in: none of them is held back."""


async def whole(output):
    return b"".join([chunk async for chunk in output])


async def read_all(reply):
    """Return name, type and content of each output."""
    return [(output.filename, output.content_type, await whole(output)) async for output in reply]


@pytest.mark.parametrize("place", ["first", "last"])
async def test_several_outputs_are_whole_and_named(place):
    sizes = 300_000, 1_000_003, 3
    names = ["a.bin", None, "../c.bin"]
    async with Emulator(latency=0.0, token=TOKEN) as emulator, client(emulator.base_url) as prodia:
        for size in sizes:
            orders = {"emulator": {"job_part": place}, "filename": names, "content_type": "image/x-test"}
            config = {"size": size, "outputs": 3, "seed": 7, **orders}
            async with prodia.stream(BYTES, config, custom_id="three", price=True) as reply:
                seen = []
                async for each in reply:
                    assert each is reply.output
                    digest = hashlib.sha256()
                    async for chunk in each:
                        assert isinstance(chunk, bytes)
                        assert chunk
                        digest.update(chunk)
                    seen.append((each.index, each.filename, each.content_type, digest.hexdigest()))
                result = reply.result
            expected = [hashlib.sha256(b"".join(pattern_blocks(7 + n, size))).hexdigest() for n in range(3)]
            assert seen == [(n, names[n], "image/x-test", expected[n]) for n in range(3)]
            assert [(each.filename, each.size, each.data, each.path) for each in result.outputs] == [
                (name, size, None, None) for name in names
            ]
            assert result.price.dollars == 0.0025
            assert result.state.current == "completed"
            assert [attempt.verdict for attempt in result.attempts] == ["done"]
        stats = prodia.stats()
        assert (stats.jobs, stats.completed, stats.requests) == (3, 3, 3)
        assert emulator.stats().completed == 3


def part_by_part(reply, go_on):
    """Send a part, up to the line that ends it, each time that `go_on` is released."""
    lines = [found.end() for found in re.finditer(b"--" + BOUNDARY.encode() + b"\r\n", reply.body)]
    edges = [0, *lines[1:], len(reply.body)]

    async def step(connection, request):
        await connection.read_body(request)
        head, *_ = Reply(200, b"", reply.headers, length=len(reply.body)).wire()
        connection.writer.write(head)
        for begin, end in itertools.pairwise(edges):
            await go_on.acquire()
            connection.writer.write(reply.body[begin:end])

    return step


@pytest.mark.parametrize("place", [0, 1, 2])
async def test_the_result_is_known_when_its_part_has_come(place):
    parts = [output(STEADY, f"{number}.png") for number in range(2)]
    parts.insert(place, job_part())
    go_on = asyncio.Semaphore(1 if place else 2)  # what opens the stream is an output
    async with (
        serving(part_by_part(multipart(*parts), go_on)) as server,
        client(server.base_url) as prodia,
        prodia.stream(JOB) as stream,
    ):
        assert (stream.result is not None) == (place == 0)
        first = await anext(stream)
        assert await whole(first) == STEADY
        if place == 1:
            assert stream.result is None
            go_on.release()
            await until(lambda: stream.result is not None)
        assert (stream.result is not None) == (place <= 1)
        if place <= 1:
            assert (stream.result.id, stream.result.outputs) == (JOB_ID, ())
        go_on.release()
        assert await whole(await anext(stream)) == STEADY
        if place == 2:
            assert stream.result is None
            go_on.release()
        assert [each async for each in stream] == []
        assert stream.result.id == JOB_ID
        assert [each.size for each in stream.result.outputs] == [len(STEADY)] * 2


async def test_going_on_skips_the_rest_of_an_output():
    parts = [output(bytes([65 + n]) * 1_000_000, f"{n}.png") for n in range(4)]
    async with serving(answer(multipart(job_part(), *parts))) as server, client(server.base_url) as prodia:
        async with prodia.stream(JOB) as reply:
            first = await anext(reply)
            assert (await anext(first))[:1] == b"A"
            await anext(reply)
            third = await anext(reply)
            assert third.index == 2
            assert await whole(third) == b"C" * 1_000_000
            # What was left behind is over, and takes nothing from what is read.
            assert [chunk async for chunk in first] == []
            assert await whole(await anext(reply)) == b"D" * 1_000_000
            with pytest.raises(StopAsyncIteration):
                await anext(reply)
            with pytest.raises(StopAsyncIteration):
                await anext(reply)
            assert [chunk async for chunk in third] == []
        assert (server.connections, prodia.stats().completed) == (1, 1)
        await prodia.run(JOB)
        assert server.connections == 1  # it was read to its end


async def test_the_first_output_is_known_before_anything_is_read():
    parts = output(b"one", "1.webp", "image/webp"), output(b"two", "2.txt", "text/plain; charset=utf-8")
    async with serving(answer(multipart(*parts, job_part()))) as server, client(server.base_url) as prodia:
        stream = prodia.stream(JOB)
        assert stream.output is None
        async with stream as reply:
            assert (reply.output.content_type, reply.output.filename) == ("image/webp", "1.webp")
            assert repr(reply.output) == "StreamedOutput('1.webp', 'image/webp')"
            found = await read_all(reply)
            assert found == [("1.webp", "image/webp", b"one"), ("2.txt", "text/plain; charset=utf-8", b"two")]
            assert reply.output.filename == "2.txt"
        # Read in its place, it is not handed out again.
        for read in (whole, anext):
            async with prodia.stream(JOB) as reply:
                assert await read(reply.output) == b"one"
                assert [content for _, _, content in await read_all(reply)] == [b"two"]


@pytest.mark.parametrize("contents", [[b""], [b"", b""], [b"", b"x", b"", b"y"], [b"x", b""]])
@pytest.mark.parametrize("last", [True, False])
async def test_empty_outputs_are_outputs(contents, last):
    parts = [output(content) for content in contents]
    parts = [*parts, job_part()] if last else [job_part(), *parts]
    async with serving(answer(multipart(*parts))) as server, client(server.base_url) as prodia:
        async with prodia.stream(JOB) as reply:
            assert reply.output.index == 0
            assert [content for _, _, content in await read_all(reply)] == contents
        async with prodia.stream(JOB) as reply:
            assert await whole(reply.output) == contents[0]
            assert [content for _, _, content in await read_all(reply)] == contents[1:]
            assert len(reply.result.outputs) == len(contents)


@pytest.mark.parametrize("reply", [multipart(job_part()), in_json(200, job())], ids=["multipart", "json"])
async def test_a_reply_without_outputs(reply):
    async with serving(answer(reply)) as server, client(server.base_url) as prodia:
        async with prodia.stream(JOB) as stream:
            assert stream.output is None
            assert stream.result.id == JOB_ID
            assert [each async for each in stream] == []
        assert prodia.stats().completed == 1


@pytest.mark.parametrize("framing", ["length", "chunked", "close"])
async def test_a_direct_body_is_one_output(framing):
    direct = Reply(200, PNG, {"Content-Type": "image/png"}, framing, cuts=[1, 500])
    async with serving(answer(direct)) as server, client(server.base_url) as prodia:
        async with prodia.stream(JOB, accept="image/png") as reply:
            assert reply.result is None
            assert await read_all(reply) == [(None, "image/png", PNG)]
            assert (reply.result.id, reply.result.state) == (None, None)
            assert "no readable job result" in reply.result.warnings[0]
        assert server.requests[0].headers["accept"] == "multipart/form-data; image/png"


async def test_an_output_of_another_type_than_asked_for_is_told():
    async with (
        serving(answer(DONE)) as server,
        client(server.base_url) as prodia,
        prodia.stream(JOB, accept="image/webp") as reply,
    ):
        await read_all(reply)
        assert reply.result.warnings == ("image/webp was asked for, and image/png came",)


@pytest.mark.parametrize("last", [True, False])
async def test_a_failed_job_with_outputs_raises_in_the_end(last):
    failed = job_part(job("failed", error=f"refused: {TOKEN}"))
    parts = [output(b"half a picture"), failed] if last else [failed, output(b"half a picture")]
    async with serving(answer(multipart(*parts))) as server, client(server.base_url) as prodia:
        async with prodia.stream(JOB) as reply:
            assert await whole(await anext(reply)) == b"half a picture"
            for _ in range(2):
                with pytest.raises(JobFailedError, match="refused") as caught:
                    await anext(reply)
            assert reply.result.error == "refused: ***"
            assert TOKEN not in repr(caught.value) + str(reply.result.raw)
        assert len(server.requests) == 1
        assert (prodia.stats().failed, prodia.stats().completed) == (1, 0)
    assert_told(caught.value, ["failed"], may_have_run=True, status=200, says="refused")


async def test_a_failed_job_without_outputs_raises_at_once():
    async with serving(answer(multipart(FAILED))) as server, client(server.base_url) as prodia:
        stream = prodia.stream(JOB)
        with pytest.raises(JobFailedError, match="the prompt was refused"):
            await stream.open()
        assert_idle(prodia)
        assert stream.result.error == "the prompt was refused"
        with pytest.raises(InputError, match="was closed"):
            await stream.open()
        assert len(server.requests) == 1


async def test_what_run_would_raise_is_raised_before_the_block(tmp_path):
    async with (
        serving(answer(in_json(400, {"message": "no cats"}))) as server,
        client(server.base_url) as prodia,
    ):
        with pytest.raises(BadRequestError, match="no cats"):
            async with prodia.stream(JOB):
                raise AssertionError
        with pytest.raises(InputError, match=r"missing\.png"):
            await prodia.stream(JOB.type, inputs=[tmp_path / "missing.png"]).open()
        with pytest.raises(InputError, match="timeout"):
            await prodia.stream(JOB, timeout=0).open()
        with pytest.raises(InputError, match="asynchronous"):
            prodia.stream(Job(JOB.type, mode="async"))
        assert len(server.requests) == 1
        assert_idle(prodia)


BROKEN = multipart(job_part(), output(STEADY, "no.png"))
HEAD_ONLY = BROKEN.body.index(b"UUU")
TWICE = Retry(backoff=0.0, resend_unknown=1)
FAULTS = {
    "shed": (answer(shed(0)), Retry(backoff=0.0), "shed"),
    "500": (answer(in_json(500, {})), Retry(backoff=0.0), "server_error"),
    "503": (answer(in_json(503, {})), Retry(backoff=0.0), "server_error"),
    "not sent": (hang_up("reset", after="head"), Retry(backoff=0.0), "not_sent"),
    "unknown": (hang_up("close"), TWICE, "unknown"),
    "before its first output": (
        answer(Reply(200, BROKEN.body[: HEAD_ONLY - 80], BROKEN.headers, length=10**6), then="close"),
        TWICE,
        "unknown",
    ),
    "before its first byte": (
        answer(Reply(200, BROKEN.body[:HEAD_ONLY], BROKEN.headers, length=10**6), then="close"),
        TWICE,
        "unknown",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
async def test_it_is_sent_again_before_anything_was_handed_out(fault):
    step, retry, verdict = FAULTS[fault]
    inputs = [("large.bin", bytes(8 << 20))] if fault == "not sent" else None
    async with (
        serving(step, step if fault == "shed" else answer(DONE), answer(DONE)) as server,
        client(server.base_url, retry=retry) as prodia,
    ):
        async with prodia.stream(JOB.type, {"prompt": "a cat"}, inputs=inputs) as reply:
            assert await read_all(reply) == [("image.png", "image/png", PNG)]
            verdicts = [attempt.verdict for attempt in reply.result.attempts]
        assert verdicts == [verdict] * (2 if fault == "shed" else 1) + ["done"]
        assert len(server.requests) == prodia.stats().requests == len(verdicts)
        assert prodia.stats().completed == prodia.stats().jobs == 1


async def test_the_errors_of_all_attempts_are_told_when_the_last_one_fails():
    async with (
        serving(answer(in_json(500, {}))) as server,
        client(server.base_url, retry=Retry(backoff=0.0, max_errors=2)) as prodia,
    ):
        with pytest.raises(ServerError) as caught:
            await prodia.stream(JOB).open()
        assert len(server.requests) == 3
    assert_told(caught.value, ["server_error"] * 3, may_have_run=True, status=500)


CUT = multipart(job_part(), output(STEADY, "whole.png"), output(STEADY, "cut.png"))
SENT = CUT.body.rindex(b"UUU") - 40_000
RECEIVED = SENT - CUT.body.index(b"UUU", CUT.body.index(b"cut.png"))
SHORT = {
    "length": Reply(200, CUT.body[:SENT], CUT.headers, length=len(CUT.body)),
    "chunked": Reply(200, CUT.body[:SENT], CUT.headers, "chunked", whole=False),
    "chunks": Reply(200, CUT.body[:SENT], CUT.headers, "chunked", whole=False, cuts=range(999, SENT, 999)),
}


async def read_into(buffer, output):
    async for chunk in output:
        buffer += chunk


@pytest.mark.parametrize("how", SHORT)
async def test_what_came_of_a_reply_that_breaks_off_is_handed_out_and_it_is_not_sent_again(how):
    retry = Retry(backoff=0.0, resend_unknown=5, max_errors=5)
    async with (
        serving(answer(SHORT[how], then="close")) as server,
        client(server.base_url, retry=retry) as prodia,
    ):
        async with prodia.stream(JOB) as reply:
            assert await whole(await anext(reply)) == STEADY
            got = bytearray()
            with pytest.raises(TransportError, match="cut off") as caught:
                await read_into(got, await anext(reply))
            assert got == b"U" * RECEIVED
            with pytest.raises(TransportError, match="cut off"):
                await anext(reply)
            assert reply.result.id == JOB_ID
        assert len(server.requests) == 1
        assert prodia.stats().failed == 1
    assert_told(caught.value, ["unknown"], may_have_run=True, status=200)


async def test_a_reply_that_turns_bad_is_told_after_what_was_good():
    go_on = asyncio.Semaphore(1)
    bad = multipart(output(STEADY), job_part(), job_part())
    async with (
        serving(part_by_part(bad, go_on)) as server,
        client(server.base_url, retry=Retry(resend_unknown=5)) as prodia,
        prodia.stream(JOB) as reply,
    ):
        assert await whole(await anext(reply)) == STEADY
        go_on.release()
        go_on.release()
        with pytest.raises(ProtocolError, match="two job parts"):
            await anext(reply)
        assert len(server.requests) == 1


async def test_the_bound_on_outputs_holds_and_that_on_memory_is_none_of_a_streams():
    limits = Limits(max_output_bytes=STEADY_SIZE + 10, max_memory_output=10, collect=0)
    one, two = multipart(job_part(), output(STEADY)), multipart(output(STEADY), output(STEADY), job_part())
    retry = Retry(resend_unknown=5)
    async with (
        serving(answer(one), answer(two)) as server,
        client(server.base_url, limits=limits, retry=retry) as prodia,
    ):
        async with prodia.stream(JOB) as reply:
            assert [content for _, _, content in await read_all(reply)] == [STEADY]
        got = bytearray()
        async with prodia.stream(JOB) as reply:
            with pytest.raises(OutputError, match=f"max_output_bytes={STEADY_SIZE + 10}"):
                await read_all_into(got, reply)
        assert STEADY_SIZE <= len(got) <= STEADY_SIZE + 10
        assert len(server.requests) == 2


async def read_all_into(buffer, reply):
    async for each in reply:
        await read_into(buffer, each)


async def test_an_upload_is_streamed_back():
    inputs = [("a.bin", bytes(range(256)) * 5000), ("b.txt", b"words", "text/plain")]
    async with (
        Emulator(latency=0.0, token=TOKEN) as emulator,
        client(emulator.base_url) as prodia,
        prodia.stream("emulator.echo.v1", inputs=inputs) as reply,
    ):
        found = await read_all(reply)
        told = reply.result.raw["emulator"]["inputs"]
    assert [(name, content) for name, _, content in found] == [each[:2] for each in inputs]
    assert [each["sha256"] for each in told] == [hashlib.sha256(each[1]).hexdigest() for each in inputs]
