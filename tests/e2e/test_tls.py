"""TLS: certificates are checked, and a context of the user's own is used."""

from __future__ import annotations

import ssl

import pytest
import trustme
from support.expect import JOB, assert_told, failure
from support.leaks import client
from support.replies import DONE, PNG, Reply, shed
from support.servers import answer, early, hang_up, serving

from prodia_async import Retry, TransportError

pytestmark = pytest.mark.usefixtures("nothing_left")

NEVER_AGAIN = Retry(max_errors=0)


@pytest.fixture(scope="module")
def authority():
    return trustme.CA()


@pytest.fixture
def trusting(authority):
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


def serving_tls(authority, *script, name="127.0.0.1"):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name).configure_cert(context)
    return serving(*script, ssl=context)


async def test_a_context_of_ones_own_is_trusted(authority, trusting):
    async with (
        serving_tls(authority, answer(DONE)) as server,
        client(server.base_url, ssl_context=trusting) as prodia,
    ):
        for _ in range(3):
            result = await prodia.run(JOB)
        assert (len(server.requests), server.connections) == (3, 1)
    assert result.outputs[0].data == PNG


async def test_an_unknown_certificate_is_refused_before_the_token_is_sent(authority):
    async with (
        serving_tls(authority, answer(DONE)) as server,
        client(server.base_url, retry=NEVER_AGAIN) as prodia,
    ):
        error = await failure(TransportError, prodia)
        assert server.requests == []
    assert_told(error, ["not_sent"], may_have_run=False, says="certificate verify failed")


async def test_a_certificate_of_another_host_is_refused(authority, trusting):
    async with (
        serving_tls(authority, answer(DONE), name="other.example") as server,
        client(server.base_url, retry=NEVER_AGAIN, ssl_context=trusting) as prodia,
    ):
        error = await failure(TransportError, prodia)
        assert server.requests == []
    assert_told(error, ["not_sent"], may_have_run=False, says="127.0.0.1")


async def test_an_upload_that_is_shed_early_is_sent_again_whole(authority, trusting, tmp_path):
    path = tmp_path / "large.bin"
    path.write_bytes(bytes(8 * 1024 * 1024))
    script = early(shed(0)), answer(DONE)
    async with (
        serving_tls(authority, *script) as server,
        client(server.base_url, ssl_context=trusting) as prodia,
    ):
        result = await prodia.run("inference.test.v1", inputs=[path])
        assert [request.complete for request in server.requests] == [False, True]
    assert [attempt.verdict for attempt in result.attempts] == ["shed", "done"]


@pytest.mark.parametrize("how", ["close", "reset"])
async def test_a_reply_that_breaks_off_may_have_run(authority, trusting, how):
    reply = Reply(200, DONE.body[:500], DONE.headers, length=len(DONE.body))
    async with (
        serving_tls(authority, answer(reply, then=how)) as server,
        client(server.base_url, ssl_context=trusting) as prodia,
    ):
        error = await failure(TransportError, prodia)
        assert len(server.requests) == 1
    assert_told(error, ["unknown"], may_have_run=True, status=200, says="cut off")


@pytest.mark.parametrize("how", ["close", "reset"])
async def test_a_connection_that_is_lost_after_the_body_may_have_run(authority, trusting, how):
    async with (
        serving_tls(authority, hang_up(how)) as server,
        client(server.base_url, ssl_context=trusting) as prodia,
    ):
        error = await failure(TransportError, prodia)
        assert len(server.requests) == 1
    assert_told(error, ["unknown"], may_have_run=True)
