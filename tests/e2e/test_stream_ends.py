"""How a stream ends: closed, left, forgotten, too late; and how long its reader may take."""

from __future__ import annotations

import asyncio
import gc
import ssl
import threading

import anyio
import pytest
import trustme
from support.expect import JOB, until
from support.fake_clock import FakeClock
from support.leaks import TOKEN, assert_idle, client
from support.replies import DONE, PNG, Reply, job_part, multipart, output, shed
from support.servers import answer, serving, stall

from prodia_async import (
    Adaptive,
    ClientClosedError,
    Fixed,
    InputError,
    Prodia,
    ProdiaTimeoutError,
    Retry,
    Timeouts,
)
from prodia_async.emulator import background_emulator

pytestmark = pytest.mark.usefixtures("nothing_left")

MIB = 1024 * 1024
LARGE = multipart(job_part(), output(b"U" * (8 * MIB), "large.png"), output(b"last", "last.png"))
HALF = Reply(200, LARGE.body[: 4 * MIB], LARGE.headers, length=len(LARGE.body))


async def whole(each):
    return b"".join([chunk async for chunk in each])


async def test_open_and_close_do_without_a_block():
    async with serving(answer(DONE)) as server, client(server.base_url) as prodia:
        stream = prodia.stream(JOB)
        assert repr(stream) == "Stream('inference.test.v1', not open, output=None)"
        assert await stream.open() is stream
        assert await stream.open() is stream
        assert "open, output=StreamedOutput('image.png', 'image/png')" in repr(stream)
        assert [await whole(each) async for each in stream] == [PNG]
        await stream.aclose()
        await stream.aclose()
        assert "closed" in repr(stream)
        assert stream.output.content_type == "image/png"
        assert (stream.result.state.current, len(server.requests)) == ("completed", 1)
        for read in (stream.open, stream.__anext__):
            with pytest.raises(InputError, match="was closed: make another"):
                await read()


async def test_a_stream_that_is_not_open_says_so():
    async with serving(answer(DONE)) as server, client(server.base_url) as prodia:
        stream = prodia.stream(JOB)
        with pytest.raises(InputError, match="not open: read it inside `async with`"):
            await anext(stream)
        await stream.aclose()
        with pytest.raises(InputError, match="was closed: make another"):
            await stream.open()
        with pytest.raises(InputError, match="was closed: make another"):
            async with stream:
                raise AssertionError
        assert (server.connections, prodia.stats().jobs) == (0, 0)


async def test_two_tasks_open_one_stream():
    async with serving(answer(DONE)) as server, client(server.base_url) as prodia:
        stream = prodia.stream(JOB)
        await asyncio.gather(stream.open(), stream.open())
        assert stream.output.filename == "image.png"
        assert [await whole(each) async for each in stream] == [PNG]
        await stream.aclose()
        assert len(server.requests) == 1


@pytest.mark.parametrize("step", [stall(), answer(HALF, then="stall")], ids=["opened", "read"])
async def test_another_task_closes_it(step):
    """Whoever waits gets an error, and no cancellation that nobody asked for."""

    async def use(stream):
        await stream.open()
        async for each in stream:
            await whole(each)

    async with serving(step) as server, client(server.base_url) as prodia:
        stream = prodia.stream(JOB)
        using = asyncio.create_task(use(stream))
        await until(lambda: server.requests and server.requests[0].complete)
        await asyncio.sleep(0.02)
        await stream.aclose()
        assert_idle(prodia)
        with pytest.raises(InputError, match="was closed"):
            await using
        assert (prodia.stats().cancelled, prodia.stats().failed) == (1, 0)


async def test_two_readers_share_what_comes():
    async with (
        serving(answer(LARGE)) as server,
        client(server.base_url) as prodia,
        prodia.stream(JOB) as reply,
    ):
        shares = await asyncio.gather(whole(reply.output), whole(reply.output))
        assert sum(map(len, shares)) == 8 * MIB
        assert await whole(await anext(reply)) == b"last"


async def test_a_reader_gets_nothing_of_the_output_that_another_went_on_to():
    go_on = asyncio.Event()
    small = multipart(job_part(), output(b"U" * 1000), output(b"last"))
    middle = small.body.index(b"U\r\n") + 1

    async def step(connection, request):
        await connection.read_body(request)
        head, *_ = Reply(200, b"", small.headers, length=len(small.body)).wire()
        connection.writer.write(head + small.body[:middle])
        await go_on.wait()
        connection.writer.write(small.body[middle:])

    async with serving(step) as server, client(server.base_url) as prodia, prodia.stream(JOB) as reply:
        first = await anext(reply)
        got = await anext(first)
        while len(got) < 1000:
            got += await anext(first)
        second = asyncio.create_task(anext(reply))  # it stands before the other in line
        await asyncio.sleep(0)
        reading = asyncio.create_task(whole(first))
        await until(lambda: len(reply._handover.news._waiters) == 2)
        go_on.set()
        assert await whole(await second) == b"last"
        assert await reading == b""


class LeavingError(Exception):
    """What a handler of the user's raises."""


async def leave_by_break(prodia):
    async with prodia.stream(JOB) as reply:
        async for each in reply:
            async for chunk in each:
                assert chunk
                break
            break


async def leave_by_error(prodia):
    async def read():
        async with prodia.stream(JOB) as reply:
            await anext(reply.output)
            raise LeavingError

    with pytest.raises(LeavingError) as caught:
        await read()
    assert caught.value.__cause__ is caught.value.__context__ is None


async def leave_by_cancel(prodia):
    async def read():
        async with prodia.stream(JOB) as reply:
            await whole(reply.output)

    task = asyncio.create_task(read())
    await until(lambda: prodia.stats().requests)
    await asyncio.sleep(0.02)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def leave_by_scope(prodia):
    with anyio.CancelScope() as scope:
        async with prodia.stream(JOB) as reply:
            asyncio.get_running_loop().call_later(0.02, scope.cancel)
            await whole(reply.output)
    assert scope.cancelled_caught


async def leave_by_close(prodia):
    reply = await prodia.stream(JOB).open()
    await anext(reply.output)
    await reply.aclose()


WAYS = [leave_by_break, leave_by_error, leave_by_cancel, leave_by_scope, leave_by_close]


EARLY = [
    *[(way, HALF) for way in WAYS],
    *[(way, LARGE) for way in (leave_by_break, leave_by_error, leave_by_close)],
]


@pytest.mark.parametrize(("way", "reply"), EARLY)
async def test_leaving_early_frees_connection_and_turn_at_once(way, reply):
    gone = asyncio.Event()

    async def step(connection, request):
        try:
            await answer(reply, then="stall")(connection, request)
        finally:
            gone.set()

    async with serving(step, answer(DONE)) as server, client(server.base_url, limiter=Fixed(1)) as prodia:
        await way(prodia)
        assert_idle(prodia)  # at once: no turn of the loop in between
        assert (prodia.stats().cancelled, prodia.stats().completed) == (1, 0)
        await asyncio.wait_for(gone.wait(), 5)
        assert (await prodia.run(JOB)).outputs[0].data == PNG
        assert server.connections == 2


async def chunks_of(prodia):
    """Stand for what a web framework is given to send."""
    async with prodia.stream(JOB) as reply:
        async for chunk in reply.output:
            yield chunk


@pytest.mark.parametrize("how", ["closed", "forgotten"])
async def test_a_generator_around_a_stream_may_be_closed(how):
    async with serving(answer(HALF, then="stall")) as server, client(server.base_url) as prodia:
        chunks = chunks_of(prodia)
        assert await anext(chunks)
        if how == "closed":
            await chunks.aclose()
        del chunks
        await until(lambda: prodia.stats().cancelled == 1)
        assert_idle(prodia)
        assert len(server.requests) == 1


async def test_leaving_while_it_waits_in_line_sends_nothing():
    async with serving(stall()) as server, client(server.base_url, limiter=Fixed(1)) as prodia:
        running = asyncio.create_task(prodia.run(JOB))
        await until(lambda: server.requests)
        opening = asyncio.create_task(prodia.stream(JOB).open())
        await until(lambda: prodia.stats().waiting == 1)
        opening.cancel()
        await asyncio.wait([opening])
        assert opening.cancelled()
        assert (prodia.stats().waiting, len(server.requests)) == (0, 1)
        running.cancel()
        await asyncio.wait([running])
        assert prodia.stats().cancelled == 2


def forget(kept):
    kept.clear()
    gc.collect()  # a stream and its output refer to each other


@pytest.mark.parametrize("spool", [True, False])
async def test_a_source_may_close_the_stream_that_it_feeds(spool):
    async def closing():
        yield b"first"
        await stream.aclose()
        yield b"second"

    async with serving(stall(after="head")) as server, client(server.base_url) as prodia:
        inputs = [("closing.bin", closing())]
        stream = prodia.stream(JOB.type, inputs=inputs, spool=spool, expect_continue=False)
        with pytest.raises(InputError, match="was closed"):
            await asyncio.wait_for(stream.open(), 5)
        assert_idle(prodia)
        assert len(server.requests) == (0 if spool else 1)


async def test_a_stream_that_is_forgotten_is_told_of_and_given_up():
    async with serving(answer(HALF, then="stall")) as server, client(server.base_url) as prodia:
        stream = await prodia.stream(JOB).open()
        await anext(stream.output)
        assert prodia.stats().in_flight == 1
        kept = [stream]
        del stream
        with pytest.warns(ResourceWarning, match=r"unclosed Stream\('inference.test.v1', open"):
            forget(kept)
        await until(lambda: prodia.stats().cancelled == 1)
        assert_idle(prodia)


async def test_a_stream_that_was_read_to_its_end_may_be_forgotten():
    async with serving(answer(DONE)) as server, client(server.base_url) as prodia:
        stream = await prodia.stream(JOB).open()
        assert [await whole(each) async for each in stream] == [PNG]
        del stream
        gc.collect()  # a warning would be an error here
        assert_idle(prodia)


@pytest.fixture
def clock():
    return FakeClock()


PATIENT = Timeouts(connect=10, first_byte=100, idle=60)


async def stuck(reply):
    """Wait until the receiving side has a piece that it cannot hand over."""
    await until(lambda: reply._handover.items and reply._handover.news._waiters)


async def test_the_timeout_ends_what_has_not_begun(clock):
    async with serving(stall()) as server, client(server.base_url, clock=clock) as prodia:
        opening = asyncio.create_task(prodia.stream(JOB, timeout=30).open())
        await until(lambda: server.requests and server.requests[0].complete)
        clock.advance(29)
        await asyncio.sleep(0.01)
        assert not opening.done()
        clock.advance(1)
        with pytest.raises(ProdiaTimeoutError, match="timeout=30 s; it was under way") as caught:
            await opening
        assert caught.value.may_have_run is True
        assert_idle(prodia)


async def test_the_timeout_counts_the_waiting_in_line(clock):
    async with (
        serving(answer(shed(60)), answer(DONE)) as server,
        client(server.base_url, clock=clock) as prodia,
    ):
        async with clock.jumping(lambda: prodia.stats().in_flight == 0):
            with pytest.raises(ProdiaTimeoutError, match="timeout=30 s"):
                await prodia.stream(JOB, timeout=30).open()
        assert len(server.requests) == 1


async def test_the_timeout_is_met_by_the_first_bytes(clock):
    """Seconds of the reader's own, and of the server's after its first bytes, cost nothing."""
    go_on = asyncio.Event()

    async def step(connection, request):
        await connection.read_body(request)
        *pieces, last = Reply(200, LARGE.body, LARGE.headers, cuts=[MIB, 5 * MIB]).wire()
        for piece in pieces:
            connection.writer.write(piece)
        await go_on.wait()
        connection.writer.write(last)

    async with serving(step) as server, client(server.base_url, clock=clock, timeouts=PATIENT) as prodia:
        async with prodia.stream(JOB, timeout=30) as reply:
            got = await anext(reply.output)
            await stuck(reply)
            clock.advance(3600)
            while len(got) < 4 * MIB:
                got += await anext(reply.output)
            clock.advance(50)
            go_on.set()
            assert len(got + await whole(reply.output)) == 8 * MIB
            assert await whole(await anext(reply)) == b"last"
        assert prodia.stats().completed == 1


async def test_idle_counts_the_servers_time_and_not_the_readers(clock):
    left = len(HALF.body) - LARGE.body.index(b"UUU")
    async with (
        serving(answer(HALF, then="stall")) as server,
        client(server.base_url, clock=clock, timeouts=PATIENT) as prodia,
    ):
        async with prodia.stream(JOB) as reply:
            for _ in range(5):
                await stuck(reply)
                clock.advance(600)
                left -= len(await anext(reply.output))
            while left:
                left -= len(await anext(reply.output))
            reading = asyncio.create_task(anext(reply.output))
            await asyncio.sleep(0.02)
            clock.advance(59)
            await asyncio.sleep(0.02)
            assert not reading.done()
            clock.advance(1)
            with pytest.raises(ProdiaTimeoutError, match="idle=60 s") as caught:
                await reading
            assert [attempt.verdict for attempt in caught.value.attempts] == ["timed_out"]
        assert len(server.requests) == 1
        assert prodia.stats().failed == 1


async def test_a_first_byte_that_does_not_come_is_not_sent_again(clock):
    async with serving(stall()) as server, client(server.base_url, clock=clock, timeouts=PATIENT) as prodia:
        opening = asyncio.create_task(prodia.stream(JOB).open())
        await until(lambda: server.requests and server.requests[0].complete)
        await asyncio.sleep(0.01)
        clock.advance(100)
        with pytest.raises(ProdiaTimeoutError, match="first_byte=100 s"):
            await opening
        assert len(server.requests) == 1


async def test_a_reader_holds_capacity_for_a_second_only(clock):
    async with (
        serving(answer(LARGE), answer(DONE)) as server,
        client(server.base_url, clock=clock, limiter=Fixed(1)) as prodia,
        prodia.stream(JOB) as reply,
    ):
        assert prodia.stats().in_flight == 1
        clock.advance(1)
        assert prodia.stats().in_flight == 0
        assert (await prodia.run(JOB)).outputs[0].data == PNG
        assert len(await whole(reply.output)) == 8 * MIB


async def test_closing_the_client_ends_a_stream():
    async with (
        serving(answer(HALF, then="stall")) as server,
        client(server.base_url) as prodia,
        prodia.stream(JOB) as reply,
    ):
        reading = asyncio.create_task(whole(reply.output))
        await asyncio.sleep(0.02)
        [unfinished] = await prodia.aclose()
        with pytest.raises(ClientClosedError, match="client was closed") as caught:
            await reading
        assert unfinished.error is caught.value
        assert unfinished.job == JOB
        assert caught.value.may_have_run is True


def test_one_client_streams_in_several_loops_and_threads():
    prodia = None

    async def stream_three():
        found = []
        async with prodia:
            for _ in range(3):
                async with prodia.stream("emulator.bytes.v1", {"size": 300_000, "seed": 1}) as reply:
                    found.append(len(await whole(await anext(reply))))
        return found

    with background_emulator(latency=0.0, token=TOKEN) as emulator:
        prodia = Prodia(base_url=emulator.base_url, token=TOKEN, limiter=Adaptive())
        for _ in range(2):
            assert asyncio.run(stream_three()) == [300_000] * 3
        results = []
        threads = [
            threading.Thread(target=lambda: results.append(asyncio.run(stream_three()))) for _ in range(3)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        assert results == [[300_000] * 3] * 3
        assert emulator.stats().completed == 15


@pytest.mark.parametrize("way", [leave_by_break, leave_by_close])
async def test_over_tls(way):
    authority = trustme.CA()
    here, there = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context()
    authority.issue_cert("127.0.0.1").configure_cert(here)
    authority.configure_trust(there)
    async with (
        serving(answer(LARGE), answer(LARGE, then="stall"), answer(DONE), ssl=here) as server,
        client(server.base_url, ssl_context=there, retry=Retry(max_errors=0)) as prodia,
    ):
        async with prodia.stream(JOB) as reply:
            assert [await whole(each) async for each in reply] == [b"U" * (8 * MIB), b"last"]
        await way(prodia)
        assert_idle(prodia)
        assert (await prodia.run(JOB)).outputs[0].data == PNG
        assert server.connections == 2
