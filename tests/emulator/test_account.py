"""No request without an account: whatever a handler raises is a 500 that is counted."""

from __future__ import annotations

import base64
import sys
import zlib

import pytest
from emulator.helpers import BOUNDARY, form

PING = "inference.ping.v1"
IMG2IMG = "inference.flux.schnell.img2img.v1"
# A TIFF of 12 x 8 pixels in which one byte was changed: Pillow raises a TypeError that no reader expects.
CHOKING = zlib.decompress(
    base64.b85decode(
        "c-r&y)MDUZU|`^4U|?inU<9&wfS3`=2FWlnGBYp(={6u{2C_loAj}43GXb$6BNLe21H__GagZJ{By+@}Yy}`8gJcc^SRMo`"
        "wtN^=NTWgn4WTJuz@dhbM01E#0|5A{te^"
    )
)


async def test_a_picture_that_breaks_the_reader_is_a_500_in_the_account(client):
    reply = await client.run_form({"type": IMG2IMG}, {b"a.tif": CHOKING})
    assert (reply.status, reply.json()["message"]) == (500, "Internal server error")
    stats = client.emulator.stats()
    assert (stats.requests, stats.failed, stats.completed, stats.billed, stats.busy) == (1, 1, 0, 0, 0)


async def test_an_asynchronous_job_that_breaks_the_reader_has_failed(client):
    body = form({"type": IMG2IMG}, {b"a.tif": CHOKING})
    job_id = await client.ended(
        await client.send(body, f"multipart/form-data; boundary={BOUNDARY}", "/async")
    )
    assert (await client.ask(job_id, "job.state.current")).body == b"failed"
    assert (await client.ask(job_id, "job.json")).json()["error"] == "internal error: TypeError"
    stats = client.emulator.stats()
    assert (stats.requests, stats.failed, stats.billed, stats.busy) == (1, 1, 0, 0)


async def test_whatever_a_handler_raises_is_counted_once(client, monkeypatch):
    def understand(*_args, **_options):
        raise ZeroDivisionError

    monkeypatch.setattr(client.emulator._routes._runner, "understand", understand)
    for path, accept in (("", None), ("/async", "application/json")):
        reply = await client.run(PING, {}, path, accept=accept)
        assert (reply.status, reply.json()["detail"]) == (500, "ZeroDivisionError")
        assert "x-request-id" in reply.headers
    stats = client.emulator.stats()
    assert (stats.requests, stats.failed, stats.busy) == (2, 2, 0)


@pytest.mark.parametrize("path", ["", "/async"])
async def test_a_job_whose_answer_cannot_be_sent_counts_as_the_job_that_ran(client, path):
    """A media type with a line end can stand in no header."""
    config = {"content_type": "text/plain\r\nX: y", "filename": "a"}
    reply = await client.run("emulator.bytes.v1", config, path, accept="text/*")
    if path:
        reply = await client.ask(await client.ended(reply), "output/a")
    assert reply.status == 500
    stats = client.emulator.stats()
    assert (stats.requests, stats.completed, stats.billed, stats.failed) == (1, 1, 1, 0)


async def test_a_ping_takes_few_frames(client):
    """2,000 pings a second: a test at a high rate is to measure the client."""
    frames = 0

    def count(frame, event, _argument):
        nonlocal frames
        frames += event == "call" and "/prodia_async/emulator/" in frame.f_code.co_filename

    await client.run(PING)
    found = []
    sys.setprofile(count)
    try:
        for number in range(20):
            before = frames
            await client.run(PING, {"number": number})
            found.append(frames - before)
    finally:
        sys.setprofile(None)
    assert min(found) <= 60  # a body that comes in several pieces takes some more
