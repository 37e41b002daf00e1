"""Any other answer: the job is refused, with the reason found in the body, and not sent again."""

from __future__ import annotations

import asyncio
import contextlib

import pytest
from support.expect import JOB, assert_told, failure
from support.fake_clock import FakeClock
from support.leaks import client
from support.replies import JOB_ID, Reply, in_json, job, job_part, multipart
from support.servers import answer, serving

from prodia_async import (
    APIError,
    AuthenticationError,
    BadRequestError,
    NotFoundError,
    PermissionDeniedError,
    Retry,
)

pytestmark = pytest.mark.usefixtures("nothing_left")


async def refuse(kind, reply):
    retry = Retry(backoff=0.0, resend_unknown=5)
    async with serving(answer(reply)) as server, client(server.base_url, retry=retry) as prodia:
        error = await failure(kind, prodia)
        assert len(server.requests) == prodia.stats().requests == 1
    return error


@pytest.mark.parametrize("form", ["json", "multipart"])
async def test_a_bad_request_carries_the_job_result(form):
    result = job("failed", error="prompt is too long")
    reply = in_json(400, result) if form == "json" else multipart(job_part(result), status=400)
    error = await refuse(BadRequestError, reply)
    assert_told(error, ["refused"], may_have_run=False, status=400, says="prompt is too long")
    assert "Correct the job's configuration or inputs." in str(error)
    assert (error.result.id, error.result.state.current) == (JOB_ID, "failed")
    assert (error.result.error, error.result.request_id) == ("prompt is too long", error.request_id)


async def test_a_bad_request_carries_message_and_detail():
    error = await refuse(BadRequestError, in_json(400, {"message": "Bad request", "detail": "Missing image"}))
    assert_told(error, ["refused"], may_have_run=False, status=400, says="Bad request: Missing image")
    assert error.result is None


@pytest.mark.parametrize("status", [401, 403, 404, 405, 413, 418, 422, 451])
async def test_a_refusal_has_the_error_of_its_status_and_says_what_to_do(status):
    kinds = {401: AuthenticationError, 403: PermissionDeniedError, 404: NotFoundError}
    advice = {401: "Check the token", 403: "ask for access", 404: "Check the base URL", 413: "smaller inputs"}
    error = await refuse(kinds.get(status, APIError), in_json(status, {"message": "not like this"}))
    assert_told(error, ["refused"], may_have_run=False, status=status, says="not like this")
    assert advice.get(status, "") in str(error)
    assert (error.status, error.result) == (status, None)


@pytest.mark.parametrize(
    ("reply", "says"),
    [
        (Reply(400, b"plain words\n", {"Content-Type": "text/plain"}), ": plain words (status 400"),
        (Reply(413, b"<title>Too large</title>", {"Content-Type": "text/html"}), ": Too large (status 413"),
        (Reply(418, b""), "the server answered 418"),
        (Reply(418, b"\x89PNG", {"Content-Type": "image/png"}), "the server answered 418 with image/png"),
        (Reply(400, b"x" * 200_000, {"Content-Type": "text/plain"}), "xxx"),
    ],
    ids=["text", "html", "nothing", "picture", "much"],
)
async def test_the_reason_is_found_in_any_body(reply, says):
    error = await refuse(BadRequestError if reply.status == 400 else APIError, reply)
    assert_told(error, ["refused"], may_have_run=False, status=reply.status, says=says)
    assert len(str(error)) < 1000


@pytest.mark.parametrize("status", [201, 204])
async def test_another_success_than_200_is_no_result(status):
    """The synchronous route answers 200 (API reference, Status Codes); 2xx may mean that the job runs."""
    error = await refuse(APIError, Reply(status, b""))
    assert_told(error, ["refused"], may_have_run=True, status=status)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_not_followed(status):
    async with serving(answer(in_json(200, job()))) as elsewhere:
        place = f"{elsewhere.base_url}/v2/job"
        error = await refuse(APIError, Reply(status, b"", {"Location": place}))
        assert (elsewhere.requests, elsewhere.connections) == ([], 0)
    assert_told(error, ["refused"], may_have_run=False, status=status, says="redirect to")
    assert place in str(error)


async def test_a_connection_is_kept_after_a_refusal():
    script = answer(in_json(400, {"message": "bad"}))
    async with serving(script) as server, client(server.base_url) as prodia:
        for _ in range(3):
            with pytest.raises(BadRequestError):
                await prodia.run(JOB)
        assert (len(server.requests), server.connections) == (3, 1)


async def test_of_an_error_no_more_is_read_than_a_reason_needs():
    """The client's clock stands still: it is not the time that ends the reading."""
    sent, left = 0, asyncio.Event()

    async def endless(connection, request):
        nonlocal sent
        await connection.read_body(request)
        connection.writer.write(b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\n\r\n")
        with contextlib.suppress(ConnectionError):
            while True:
                connection.writer.write(b"no " * 10_000)
                sent += 30_000
                await connection.writer.drain()
        left.set()

    async with serving(endless) as server, client(server.base_url, clock=FakeClock()) as prodia:
        error = await failure(BadRequestError, prodia)
        await asyncio.wait_for(left.wait(), 10)
    assert error.message.count("no ") > 100
    assert len(error.message) < 1000
    assert sent < 16 << 20
