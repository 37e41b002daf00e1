"""200: the job is done, or failed, by what its answer says."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from support.expect import JOB, assert_told, failure
from support.leaks import client
from support.replies import (
    DONE,
    JOB_ID,
    PNG,
    REQUEST_ID,
    Reply,
    in_json,
    job,
    job_part,
    multipart,
    output,
    part,
)
from support.servers import answer, serving

from prodia_async import JobFailedError, Limits, ProtocolError

pytestmark = pytest.mark.usefixtures("nothing_left")


async def run(reply, **options):
    settings = options.pop("client", {})
    async with serving(answer(reply)) as server, client(server.base_url, **settings) as prodia:
        result = await prodia.run(JOB, **options)
        assert len(server.requests) == 1
        assert (prodia.stats().requests, prodia.stats().completed, prodia.stats().failed) == (1, 1, 0)
        return result


async def fail(kind, reply, **options):
    async with serving(answer(reply)) as server, client(server.base_url, **options) as prodia:
        error = await failure(kind, prodia)
        assert len(server.requests) == prodia.stats().requests == 1
        return error


async def test_a_completed_job_tells_all_that_the_service_said():
    result = await run(DONE)
    assert (result.id, result.type, result.state.current) == (JOB_ID, "inference.test.v1", "completed")
    assert result.created_at == datetime(2025, 1, 1, 0, 0, 14, 885000, UTC)
    assert (result.metrics.elapsed, result.metrics.ips) == (5.138920783996582, 4.864834670706344)
    assert result.raw == job()
    assert result.request_id == REQUEST_ID
    assert result.warnings == ()
    [picture] = result.outputs
    assert (picture.filename, picture.content_type, picture.size) == ("image.png", "image/png", len(PNG))
    assert picture.data == PNG
    [attempt] = result.attempts
    assert (attempt.number, attempt.verdict, attempt.status) == (1, "done", 200)
    assert (attempt.request_id, attempt.may_have_run, attempt.reason) == (REQUEST_ID, True, "")
    assert attempt.started_at.tzinfo is UTC


async def test_the_request_is_what_the_reference_asks_for():
    async with serving(answer(DONE)) as server, client(server.base_url, headers={"x-own": "1"}) as prodia:
        await prodia.run(JOB, accept="image/webp", price=True)
        [request] = server.requests
    assert (request.method, request.target) == ("POST", "/v2/job?price=true")
    assert request.headers["authorization"].startswith("Bearer ")
    assert request.headers["accept"] == "multipart/form-data; image/webp"
    assert request.headers["content-type"] == "application/json"
    assert request.headers["content-length"] == str(len(request.body))
    assert request.headers["user-agent"].startswith("prodia-async/")
    assert request.headers["x-own"] == "1"
    assert request.body == b'{"type":"inference.test.v1","config":{"prompt":"a cat"}}'


async def test_the_job_part_may_come_last():
    result = await run(multipart(output(b"1"), output(b"2", "b.txt", "text/plain"), job_part()))
    assert result.id == JOB_ID
    assert [each.data for each in result.outputs] == [b"1", b"2"]


async def test_all_outputs_are_kept_in_order(tmp_path):
    texts = output(b"hello", "message.txt", "text/plain")
    result = await run(multipart(job_part(), output(), texts, output(b"3", None)), to=tmp_path / "out")
    assert [(each.filename, each.content_type) for each in result.outputs] == [
        ("image.png", "image/png"),
        ("message.txt", "text/plain"),
        (None, "image/png"),
    ]
    assert [each.path.name for each in result.outputs] == ["cat-1.png", "cat-1-2.txt", "cat-1-3.png"]
    assert [each.path.read_bytes() for each in result.outputs] == [PNG, b"hello", b"3"]


@pytest.mark.parametrize("framing", ["length", "chunked", "close"])
@pytest.mark.parametrize("quoted", [False, True])
async def test_preamble_epilogue_quotes_and_cuts_change_nothing(framing, quoted):
    reply = multipart(preamble=b"hello", epilogue=b"bye", quoted=quoted, framing=framing, cuts=(3, 70, 200))
    result = await run(reply)
    assert (result.id, result.outputs[0].data) == (JOB_ID, PNG)


@pytest.mark.parametrize(
    "parts",
    [(output(),), (job_part(b"{broken"), output()), (output(), job_part(b"[]"))],
    ids=["missing", "broken", "no object"],
)
async def test_outputs_without_a_readable_job_part_are_kept(parts, tmp_path):
    result = await run(multipart(*parts), to=tmp_path)
    assert (result.id, result.state, result.raw) == (None, None, {})
    assert (result.type, result.config) == (JOB.type, JOB.config)
    assert result.attempts[0].verdict == "done"
    assert "no readable job result" in result.warnings[0]
    assert result.outputs[0].path.read_bytes() == PNG


async def test_a_direct_body_is_the_output():
    result = await run(Reply(200, PNG, {"Content-Type": "image/png"}))
    assert (result.id, result.state) == (None, None)
    assert result.warnings
    [picture] = result.outputs
    assert (picture.filename, picture.content_type, picture.data) == (None, "image/png", PNG)


async def test_a_plain_json_answer_is_a_job_result_without_outputs():
    result = await run(in_json(200, job()))
    assert (result.id, result.outputs, result.warnings) == (JOB_ID, (), ())


async def test_another_type_than_the_one_asked_for_is_kept_with_a_warning(tmp_path):
    result = await run(multipart(job_part(), output(b"jpeg", "x.jpg", "image/jpeg")), to=tmp_path / "x.png")
    assert result.outputs[0].path == tmp_path / "x.png"
    assert result.outputs[0].content_type == "image/jpeg"
    assert result.warnings == ("image/png was asked for, and image/jpeg came",)


async def test_a_failed_job_is_not_sent_again():
    reply = multipart(job_part(job("failed", error="NSFW content")), output())
    error = await fail(JobFailedError, reply)
    assert_told(error, ["failed"], may_have_run=True, status=200, says="NSFW content")
    assert (error.result.id, error.result.error, error.result.raw["type"]) == (
        JOB_ID,
        "NSFW content",
        JOB.type,
    )


async def test_a_failed_job_leaves_no_file(tmp_path):
    reply = multipart(output(bytes(3_000_000)), job_part(job("failed")))
    async with serving(answer(reply)) as server, client(server.base_url) as prodia:
        await failure(JobFailedError, prodia, to=tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("state", ["processing", "cancelled", None])
async def test_an_unknown_state_is_a_failure(state):
    error = await fail(JobFailedError, multipart(job_part(job(state)), output()))
    assert_told(error, ["failed"], may_have_run=True, status=200, says=f"unknown state {state!r}")


@pytest.mark.parametrize(
    ("reply", "says"),
    [
        (multipart(job_part(), job_part()), "two job parts"),
        (multipart(part("other", None, "text/plain", b"")), "neither a job part nor an output"),
        (multipart(output(b"x" * 20) + b"\r\n--wrong"), ""),
        (Reply(200, b"<html>welcome</html>", {"Content-Type": "text/html"}), "HTML page"),
        (Reply(200, b"", {"Content-Type": "image/png"}), "empty"),
        (Reply(200, PNG, {"Content-Type": "multipart/form-data"}), "boundary"),
        (Reply(200, b"no parts here", {"Content-Type": "multipart/form-data; boundary=x"}), "cut short"),
        (multipart(headers={"Content-Encoding": "gzip"}), "compressed, and damaged"),
        (multipart(headers={"Content-Encoding": "br"}), "'br', which was not asked for"),
        (multipart(*[output(b"")] * 9), "malformed"),
        (multipart(job_part(job(error="x" * 5000))), "exceeds 4096 bytes"),
        (multipart(output(b"", "n" * 2000)), "exceed 1024 bytes"),
    ],
)
async def test_a_malformed_answer_is_a_protocol_error(reply, says):
    limits = Limits(max_parts=8, max_job_part=4096, max_header=1024)
    if says == "":
        result = await run(reply)
        assert result.outputs[0].data.endswith(b"--wrong")
        return
    error = await fail(ProtocolError, reply, limits=limits)
    assert_told(error, ["malformed"], may_have_run=True, status=200, says=says)
