"""One GET of the asynchronous API, without the waiting around it."""

from __future__ import annotations

import asyncio
import contextlib

import pytest
from support.expect import until
from support.fake_clock import FakeClock
from support.leaks import TOKEN
from support.remote_jobs import JOB, LIMITS, asking, received, unanswered
from support.replies import JOB_ID, PNG, REQUEST_ID, Reply, in_json, job
from support.servers import answer, hang_up, stall

from prodia_async import InputError, Limits, Timeouts
from prodia_async._collecting import UnansweredError
from prodia_async._files.outputs import MemorySink, Outputs

pytestmark = pytest.mark.usefixtures("nothing_left")

PAGE = {"Content-Type": "text/html; charset=utf-8"}
GZIP = {"Content-Encoding": "gzip"}


class TestState:
    @pytest.mark.parametrize(
        ("body", "state"),
        [
            (b"processing", "processing"),
            (b'"Processed"\r\n', "processed"),
            (b" 'failed' ", "failed"),
            (b"", ""),
            (b"Waiting For A Slot", "waiting for a slot"),
            (f"lost {TOKEN}".encode(), "lost ***"),
            (b"x" * 1024, "x" * 1024),
        ],
    )
    async def test_it_is_stripped_and_in_lower_case(self, body, state):
        async with asking(answer(Reply(body=body))) as (remote, server):
            assert await remote.state(JOB_ID) == state
        [request] = server.requests
        assert (request.method, request.target) == ("GET", f"/v2/job/async/{JOB_ID}/job.state.current")
        assert (request.headers["authorization"], request.headers["x-own"]) == (f"Bearer {TOKEN}", "1")

    @pytest.mark.parametrize("token", ["e", "d", "failed", "Processed"])
    @pytest.mark.parametrize("state", ["processed", "failed"])
    async def test_no_token_changes_a_state_that_ends_the_job(self, token, state):
        async with asking(answer(Reply(body=state.title().encode())), token=token) as (remote, _):
            assert await remote.state(JOB_ID) == state

    async def test_the_connection_is_kept(self):
        async with asking(answer(Reply(body=b"processing"))) as (remote, server):
            await remote.state(JOB_ID)
            await remote.state(JOB_ID)
            assert server.connections == 1

    @pytest.mark.parametrize(
        "reply",
        [
            Reply(body=b"x" * 1025),
            Reply(body=b"processed\x1b[2J"),
            Reply(body=b"<html>", headers=PAGE),
            Reply(body=b"processed", headers=GZIP),
        ],
    )
    async def test_what_is_no_state_is_malformed(self, reply):
        verdict, _ = await unanswered(answer(reply))
        assert (verdict.kind, verdict.status, verdict.request_id) == ("malformed", 200, REQUEST_ID)
        assert verdict.reason.startswith("the reply is malformed: it ")


class TestNames:
    @pytest.mark.parametrize(
        ("body", "names"), [(b"null", ()), (b"[]", ()), (b'["a.png", "a.png"]', ("a.png", "a.png"))]
    )
    async def test_they_are_a_list(self, body, names):
        async with asking(answer(Reply(body=body))) as (remote, server):
            assert await remote.names(JOB_ID) == names
        assert server.requests[0].target == f"/v2/job/async/{JOB_ID}/output"

    @pytest.mark.parametrize(
        ("body", "says"),
        [
            (b"", "no list of output names"),
            (b"\xff", "no list of output names"),
            (b'{"a": 1}', "no list of output names"),
            (b"[" * 1500, "no list of output names"),
            (b'["a", 2]', "no list of output names"),
            (b'["a", ""]', "no list of output names"),
            (b'["\\ud800"]', "no list of output names"),
            (b'["1", "2", "3", "4"]', "more than Limits.max_parts=3 outputs"),
            (b'["' + b"x" * 2000 + b'"]', "exceeds 2000 bytes"),
        ],
    )
    async def test_anything_else_is_malformed(self, body, says):
        verdict, _ = await unanswered(answer(Reply(body=body)), what="names")
        assert verdict.kind == "malformed"
        assert says in verdict.reason


class TestJob:
    @pytest.mark.parametrize("state", ["processed", "completed"])
    async def test_a_job_that_ran_is_done(self, state):
        async with asking(answer(in_json(200, job(state)))) as (remote, server):
            verdict = await remote.verdict(JOB_ID, JOB, priced=False)
        assert (verdict.kind, verdict.may_have_run, verdict.request_id) == ("done", True, REQUEST_ID)
        assert (verdict.result.id, verdict.result.state.current) == (JOB_ID, state)
        assert server.requests[0].target == f"/v2/job/async/{JOB_ID}/job.json"

    async def test_a_price_is_asked_for(self):
        priced = job("processed", price={"dollars": 0.04, "product": "film"})
        async with asking(answer(in_json(200, priced))) as (remote, server):
            verdict = await remote.verdict(JOB_ID, JOB, priced=True)
        assert server.requests[0].target.endswith("/job.json?price=true")
        assert verdict.result.price.dollars == 0.04

    async def test_what_the_service_leaves_out_is_known_from_the_job(self):
        async with asking(answer(in_json(200, {"state": {"current": "processed"}}))) as (remote, _):
            result = (await remote.verdict(JOB_ID, JOB, priced=False)).result
        assert (result.id, result.type, result.config) == (JOB_ID, JOB.type, JOB.config)

    @pytest.mark.parametrize(
        ("fields", "reason"),
        [({"error": f"no such key: {TOKEN}"}, "the job failed: no such key: ***"), ({}, "the job failed")],
    )
    async def test_a_job_that_failed_says_why_and_shows_no_token(self, fields, reason):
        async with asking(answer(in_json(200, job("failed", **fields)))) as (remote, _):
            verdict = await remote.verdict(JOB_ID, JOB, priced=False)
        assert (verdict.kind, verdict.reason, verdict.may_have_run) == ("failed", reason, True)
        assert verdict.result.state.current == "failed"
        assert TOKEN not in repr(verdict.result.raw)

    async def test_a_reason_is_one_short_line(self):
        said = "no\r\n\x1b[31mpaint\u2028left\u202e" + "x" * 900
        async with asking(answer(in_json(200, job("failed", error=said)))) as (remote, _):
            verdict = await remote.verdict(JOB_ID, JOB, priced=False)
        assert verdict.reason.startswith("the job failed: no [31mpaint left x")
        assert verdict.reason.isprintable()
        assert len(verdict.reason) == 500
        assert verdict.result.error == said

    async def test_a_result_that_repeats_the_token_is_kept_without_it(self):
        async with asking(answer(in_json(200, job("processed", config={"key": TOKEN})))) as (remote, _):
            verdict = await remote.verdict(JOB_ID, JOB, priced=False)
        assert (verdict.kind, verdict.result.config) == ("done", {"key": "***"})
        assert TOKEN not in repr(verdict.result.raw)

    async def test_a_request_id_may_hold_any_byte(self):
        reply = in_json(200, job("processed"), **{"x-request-id": "a\x9b31m\xff"})
        async with asking(answer(reply)) as (remote, _):
            verdict = await remote.verdict(JOB_ID, JOB, priced=False)
        assert verdict.request_id == "a 31m"

    @pytest.mark.parametrize(
        ("body", "says"),
        [
            (b"{", "it is no job result"),
            (b"[1]", "it is no job result"),
            (b'{"id": "1"}', "it is no job result"),
            (b'{"state": {"current": "processing"}}', "the job is over, and its state is 'processing'"),
            (b" " * 2001, "exceeds 2000 bytes"),
        ],
    )
    async def test_anything_else_is_malformed(self, body, says):
        verdict, _ = await unanswered(answer(Reply(body=body)), what="job")
        assert verdict.kind == "malformed"
        assert says in verdict.reason


class TestOutput:
    @pytest.mark.parametrize(
        ("sent", "kind"),
        [
            ("image/png", "image/png"),
            (" text/plain; charset=utf-8 ", "text/plain; charset=utf-8"),
            ("application/json", "application/json"),
            ("multipart/form-data; boundary=x", "multipart/form-data; boundary=x"),
            ("image/p\xffg", "application/octet-stream"),
            ("picture", "application/octet-stream"),
            (None, "application/octet-stream"),
        ],
    )
    @pytest.mark.parametrize("body", [b"", PNG, bytes(200_000)])
    async def test_its_bytes_are_stored_as_they_come(self, sent, kind, body):
        headers = {} if sent is None else {"Content-Type": sent}
        into = received()
        async with asking(answer(Reply(body=body, headers=headers))) as (remote, _):
            await remote.output(JOB_ID, "a.png", into)
        [output] = into.outputs()
        assert (output.filename, output.content_type, output.data) == ("a.png", kind, body)

    @pytest.mark.parametrize(
        ("name", "segment"),
        [
            ("a b.png", "a%20b.png"),
            ("../../etc/passwd", "..%2F..%2Fetc%2Fpasswd"),
            (".", "%2E"),
            ("..", "%2E%2E"),
            ("...", "..."),
            ("%2e%2e", "%252e%252e"),
            ("a?b=c#d", "a%3Fb%3Dc%23d"),
            ("x\r\nHost: evil", "x%0D%0AHost%3A%20evil"),
            ("grün;☃\0", "gr%C3%BCn%3B%E2%98%83%00"),
        ],
    )
    async def test_any_name_and_any_id_is_one_segment_of_the_path(self, name, segment):
        async with asking(answer(Reply(body=PNG))) as (remote, server):
            await remote.output(name, name, received())
        assert server.requests[0].target == f"/v2/job/async/{segment}/output/{segment}"

    @pytest.mark.parametrize("name", ["", "\ud800", None, b"a"])
    async def test_what_cannot_stand_in_a_path_is_refused_and_nothing_is_sent(self, name):
        async with asking(answer(Reply(body=PNG))) as (remote, server):
            with pytest.raises(InputError, match="the output's name cannot be "):
                await remote.output(JOB_ID, name, received())
            with pytest.raises(InputError, match="the job's id cannot be "):
                await remote.state(name)
            assert server.connections == 0

    async def test_a_break_before_its_first_byte_has_stored_nothing(self):
        cut = Reply(body=b"", length=9)
        verdict, begun = await unanswered(answer(cut, then="close"), what="output")
        assert (verdict.kind, begun) == ("unknown", False)
        assert verdict.reason.startswith("the reply was cut off: ")

    @pytest.mark.parametrize("how", [{"length": 900}, {"framing": "chunked", "whole": False}])
    async def test_a_break_later_has_begun(self, how):
        verdict, begun = await unanswered(answer(Reply(body=b"x" * 500, **how), then="close"), what="output")
        assert (verdict.kind, verdict.status, begun) == ("unknown", 200, True)

    @pytest.mark.parametrize("headers", [PAGE, GZIP])
    async def test_pages_and_encoded_bodies_are_no_outputs(self, headers):
        verdict, begun = await unanswered(answer(Reply(body=b"x", headers=headers)), what="output")
        assert (verdict.kind, begun) == ("malformed", False)

    async def test_a_sink_that_fails_keeps_nothing(self):
        async with asking(answer(Reply(body=bytes(100)))) as (remote, _):
            with pytest.raises(UnansweredError) as caught:
                await remote.output(JOB_ID, "a.png", received(Limits(max_output_bytes=99)))
        assert caught.value.verdict.kind == "not_kept"
        assert "max_output_bytes=99" in caught.value.verdict.reason


class TestRefusals:
    @pytest.mark.parametrize("what", ["state", "names", "job", "output"])
    async def test_404_means_that_the_job_is_lost(self, what):
        gone = in_json(404, {"message": f"gone, {TOKEN}"}, **{"x-request-id": f"of {TOKEN}"})
        verdict, begun = await unanswered(answer(gone), what=what)
        assert (verdict.kind, verdict.status, begun) == ("lost", 404, False)
        assert verdict.reason == "the job is expired or unknown: gone, ***"
        assert verdict.request_id == "of ***"

    @pytest.mark.parametrize(
        ("status", "kind"),
        [(204, "refused"), (400, "refused"), (401, "refused"), (403, "refused"), (410, "refused")],
    )
    async def test_any_other_refusal_says_why(self, status, kind):
        said = b"" if status == 204 else b"no\nway"
        verdict, _ = await unanswered(answer(Reply(status, said)))
        assert (verdict.kind, verdict.status) == (kind, status)
        assert verdict.reason == ("no way" if said else f"the server answered {status}")

    @pytest.mark.parametrize("room", [*range(440, 500, 5), *range(140, 210, 5)])
    async def test_a_token_that_would_be_cut_in_two_is_not_shown_in_part(self, room):
        padded = "x" * room + TOKEN + "y" * 200
        for reply, what in [
            (Reply(302, headers={"Location": padded}), "state"),
            (Reply(headers={"Content-Encoding": padded}), "state"),
            (in_json(200, job(padded)), "job"),
        ]:
            verdict, _ = await unanswered(answer(reply), what=what)
            assert TOKEN[:4] not in verdict.reason
            assert len(verdict.reason) <= 500

    async def test_redirects_are_not_followed(self):
        away = Reply(302, headers={"Location": f"https://evil.example/{TOKEN}"})
        verdict, _ = await unanswered(answer(away))
        assert (verdict.kind, verdict.status) == ("refused", 302)
        assert verdict.reason == (
            "the server answered with a redirect to 'https://evil.example/***', which is not followed"
        )

    @pytest.mark.parametrize(
        ("status", "kind"), [(429, "shed"), (500, "server_error"), (503, "server_error")]
    )
    async def test_a_busy_service_says_when_to_ask_again(self, status, kind):
        busy = Reply(status, b"\0", {"Retry-After": "2.5", "Content-Type": "image/png"})
        verdict, _ = await unanswered(answer(busy))
        assert (verdict.kind, verdict.retry_after) == (kind, 2.5)
        assert verdict.reason == f"the server answered {status} with image/png"

    @pytest.mark.parametrize("then", ["close", "stall"])
    async def test_an_error_whose_body_does_not_end_is_an_error_all_the_same(self, then):
        clock = FakeClock()
        cut = answer(Reply(404, b"gone", length=900), then=then)
        async with clock.jumping(lambda: then == "stall" and clock.next_due == 5.0):
            verdict, _ = await unanswered(cut, clock=clock)
        assert verdict.kind == "lost"
        assert verdict.reason.startswith("the job is expired or unknown: ")

    async def test_of_an_error_no_more_is_read_than_a_reason_needs(self):
        async def endless(connection, request):
            connection.writer.write(b"HTTP/1.1 404 Gone\r\nTransfer-Encoding: chunked\r\n\r\n")
            with contextlib.suppress(ConnectionError):
                while not connection.writer.transport.is_closing():
                    connection.writer.write(b"4\r\ngone\r\n" * 1000)
                    await connection.writer.drain()

        verdict, _ = await unanswered(endless)
        assert verdict.kind == "lost"


class TestConnections:
    @pytest.mark.parametrize("how", ["close", "reset"])
    async def test_one_that_breaks_tells_nothing(self, how):
        verdict, _ = await unanswered(hang_up(how))
        assert (verdict.kind, verdict.status, verdict.request_id) == ("unknown", None, None)

    async def test_one_that_is_not_made_tells_nothing(self):
        async with asking(answer(Reply())) as (remote, _):
            pass
        with pytest.raises(UnansweredError) as caught:
            await remote.state(JOB_ID)
        assert caught.value.verdict.kind == "unknown"

    async def test_an_answer_that_is_no_http_is_malformed(self):
        async def garbage(connection, request):
            connection.writer.write(b"processed\r\n\r\n")

        verdict, _ = await unanswered(garbage)
        assert verdict.kind == "malformed"
        assert "the answer cannot be read" in verdict.reason

    @pytest.mark.parametrize(
        ("first_byte", "seconds"), [(600, 70.0), (20, 30.0)], ids=["a minute at most", "or less"]
    )
    async def test_an_answer_that_does_not_come_is_given_up(self, first_byte, seconds):
        clock = FakeClock()
        timeouts = Timeouts(connect=10, first_byte=first_byte, idle=1)
        async with asking(stall(), clock=clock, timeouts=timeouts) as (remote, server):
            asked = asyncio.ensure_future(remote.state(JOB_ID))
            await until(lambda: server.requests)
            assert clock.next_due == seconds
            clock.advance(seconds)
            with pytest.raises(UnansweredError) as caught:
                await asked
        assert caught.value.verdict.kind == "unknown"
        assert caught.value.verdict.reason == f"no answer within {seconds:g} s"

    async def test_a_reply_that_stops_is_given_up(self):
        clock = FakeClock()
        half = answer(Reply(body=b"proc", length=9), then="stall")
        async with asking(half, clock=clock) as (remote, server):
            asked = asyncio.ensure_future(remote.state(JOB_ID))
            await until(lambda: server.requests)
            async with clock.jumping(lambda: clock.next_due == 30.0):
                with pytest.raises(UnansweredError) as caught:
                    await asked
        assert caught.value.verdict.reason == "nothing came of the reply for Timeouts.idle=30 s"

    async def test_the_time_that_our_own_sink_takes_costs_nothing(self):
        clock = FakeClock()

        class Slow(MemorySink):
            async def open(self, output):
                clock.advance(10_000)
                await asyncio.sleep(0)
                return await super().open(output)

        into = Outputs(Slow(), LIMITS)
        async with asking(answer(Reply(body=PNG)), clock=clock) as (remote, _):
            await remote.output(JOB_ID, "a.png", into)
        assert into.outputs()[0].data == PNG
