"""What a server says reaches messages and the log in one short line, without what a terminal acts upon."""

from __future__ import annotations

import logging

import pytest
from support.expect import JOB, failure
from support.leaks import client
from support.replies import DONE, Reply, in_json, job, job_part, multipart
from support.servers import answer, serving

from prodia_async import JobFailedError, ProdiaError, Retry

pytestmark = pytest.mark.usefixtures("nothing_left")

HOSTILE = "boom\r\n\x1b]0;title\x07\x1b[31m\x9b2J a forged line\u2028and\u2029more\u202e" + "x" * 9000
RAW = "\x9b31m\xff"  # what may stand in a header: C1 controls, and bytes that are no UTF-8
TEXTS = {
    "error": multipart(job_part(job("failed", error=HOSTILE))),
    "state": multipart(job_part(job(HOSTILE))),
    "error of 400": in_json(400, job("failed", error=HOSTILE)),
    "message": in_json(400, {"message": HOSTILE, "detail": {HOSTILE: [HOSTILE]}}),
    "no known form": in_json(500, [HOSTILE]),
    "text": Reply(500, HOSTILE.encode(), {"Content-Type": "text/plain"}),
    "page": Reply(502, f"<title>{HOSTILE}</title>".encode(), {"Content-Type": "text/html"}),
    "request id": Reply(500, b"x", {"x-request-id": RAW}),
    "request id of a result": multipart(job_part(job("failed")), headers={"x-request-id": RAW}),
    "content type": Reply(500, b"\0", {"Content-Type": f"{RAW}/x"}),
    "boundary": Reply(200, b"x", {"Content-Type": f"multipart/form-data; boundary={RAW}"}),
    "encoding": Reply(200, b"x", {"Content-Encoding": RAW}),
    "location": Reply(307, b"", {"Location": RAW * 1000}),
}


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("mode", ["sync", "async"])
async def test_messages_and_log_lines_are_plain(caplog, text, mode):
    caplog.set_level(logging.DEBUG, logger="prodia_async")
    options = {"retry": Retry(max_errors=0)}
    async with serving(answer(TEXTS[text])) as server, client(server.base_url, **options) as prodia:
        with pytest.raises(ProdiaError) as caught:
            await prodia.run(JOB.type, JOB.config, mode=mode)
    error = caught.value
    reasons = [attempt.reason for attempt in error.attempts]
    ids = [attempt.request_id or "" for attempt in error.attempts]
    lines = [record.getMessage() for record in caplog.records if record.name == "prodia_async"]
    assert len(lines) >= 3
    assert [line for line in [error.message, *reasons, *ids, *lines] if not line.isprintable()] == []
    assert max(map(len, [error.message, *reasons, *ids, *lines])) < 1500


async def test_the_whole_error_stands_in_the_result():
    async with serving(answer(TEXTS["error"])) as server, client(server.base_url) as prodia:
        error = await failure(JobFailedError, prodia)
    assert error.result.error == HOSTILE
    assert "the job failed: boom ]0;title [31m" in error.message


@pytest.mark.parametrize("job_id", [HOSTILE, "", " ", "a\nb", "a\u202eb", "x" * 501])
async def test_an_id_that_cannot_be_shown_is_none(job_id):
    reply = in_json(201, job("processing", id=job_id))
    async with serving(answer(reply)) as server, client(server.base_url) as prodia:
        with pytest.raises(ProdiaError, match="did not say its id") as caught:
            await prodia.submit(JOB)
    assert caught.value.message.isprintable()
    assert caught.value.may_have_run


async def test_a_request_id_of_any_bytes_harms_no_result():
    reply = Reply(200, DONE.body, {**DONE.headers, "x-request-id": RAW})
    async with serving(answer(reply)) as server, client(server.base_url) as prodia:
        result = await prodia.run(JOB)
    assert result.request_id is not None
    assert (result.request_id + result.attempts[0].request_id).isprintable()
