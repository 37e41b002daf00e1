"""The environment's proxy carries the requests, except those to this computer."""

from __future__ import annotations

import ssl

import pytest
import trustme
from support.expect import JOB, assert_told, failure
from support.leaks import TOKEN, client
from support.proxy import proxying
from support.replies import DONE, JOB_ID, shed
from support.servers import answer, serving

from prodia_async import APIError, InputError, Prodia, Retry, TransportError

pytestmark = pytest.mark.usefixtures("nothing_left")

PLAIN = "http://service.invalid"


@pytest.mark.parametrize("name", ["http_proxy", "HTTP_PROXY", "all_proxy"])
async def test_plain_http_goes_through_the_proxy(monkeypatch, name):
    if name == "HTTP_PROXY":
        monkeypatch.delenv("REQUEST_METHOD", raising=False)
    async with serving(answer(shed(0)), answer(DONE)) as server, proxying(server.base_url) as proxy:
        monkeypatch.setenv(name, proxy.url)
        async with client(PLAIN, allow_insecure=True) as prodia:
            result = await prodia.run(JOB, price=True)
        assert len(server.requests) == 2
        assert proxy.asked[0] == f"POST {PLAIN}/v2/job?price=true HTTP/1.1"
    assert result.id == JOB_ID


async def test_tls_goes_through_a_tunnel_that_never_sees_the_token(monkeypatch):
    authority = trustme.CA()
    theirs, ours = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context()
    authority.issue_cert("service.invalid").configure_cert(theirs)
    authority.configure_trust(ours)
    async with serving(answer(DONE), ssl=theirs) as server, proxying(server.base_url) as proxy:
        monkeypatch.setenv("https_proxy", proxy.url.removeprefix("http://"))
        async with client("https://service.invalid", ssl_context=ours) as prodia:
            await prodia.run(JOB)
        assert len(server.requests) == 1
        assert server.requests[0].headers["authorization"] == f"Bearer {TOKEN}"
        assert proxy.asked == ["CONNECT service.invalid:443 HTTP/1.1"]
        assert TOKEN not in "".join(proxy.heads)


async def test_this_computer_is_reached_without_the_proxy(monkeypatch):
    async with serving(answer(DONE)) as server, proxying(server.base_url) as proxy:
        for name in ("http_proxy", "https_proxy", "all_proxy"):
            monkeypatch.setenv(name, proxy.url)
        async with client(server.base_url) as prodia:
            await prodia.run(JOB)
        assert len(server.requests) == 1
        assert proxy.asked == []


async def test_a_host_named_in_no_proxy_is_reached_without_the_proxy(monkeypatch):
    async with serving(answer(DONE)) as server, proxying(server.base_url) as proxy:
        monkeypatch.setenv("http_proxy", proxy.url)
        monkeypatch.setenv("no_proxy", ".invalid")
        async with client(PLAIN, allow_insecure=True, retry=Retry(max_errors=0)) as prodia:
            await failure(TransportError, prodia)
        assert proxy.asked == []


async def test_a_proxy_that_refuses_the_tunnel_means_not_sent(monkeypatch):
    async with proxying("http://127.0.0.1:9", status=407) as proxy:
        monkeypatch.setenv("https_proxy", proxy.url)
        async with client("https://service.invalid", retry=Retry(max_errors=0)) as prodia:
            error = await failure(TransportError, prodia)
        assert len(proxy.asked) == 1
    assert_told(error, ["not_sent"], may_have_run=False)


async def test_a_proxy_that_refuses_a_plain_request_is_an_answer(monkeypatch):
    async with proxying("http://127.0.0.1:9", status=407) as proxy:
        monkeypatch.setenv("http_proxy", proxy.url)
        async with client(PLAIN, allow_insecure=True) as prodia:
            error = await failure(APIError, prodia)
    assert (error.status, error.request_id, error.may_have_run) == (407, None, False)


def test_a_proxy_that_is_not_http_is_refused(monkeypatch):
    monkeypatch.setenv("https_proxy", "socks5://127.0.0.1:1080")
    with pytest.raises(InputError, match="socks5 proxy"):
        Prodia(token=TOKEN)
