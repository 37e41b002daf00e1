"""What the environment and the computer give to a connection: names, certificates, proxies, keepalive."""

from __future__ import annotations

import asyncio
import datetime as dt
import os
import socket
import ssl
import subprocess
import sys
import threading

import pytest
import trustme
from support.expect import JOB, assert_told, failure
from support.leaks import TOKEN, client
from support.processes import complaints
from support.proxy import proxying
from support.replies import DONE, in_json, job
from support.servers import answer, serving

from prodia_async import BadRequestError, InputError, Prodia, Retry, TransportError
from prodia_async.batch import run_batch

pytestmark = pytest.mark.usefixtures("nothing_left")

SERVICE = "https://service.invalid"
PASSWORD = "Hunter2-of-the-proxy"
PATIENT = Retry(max_errors=3, backoff=0.0)
"""So that an error which is not final shows itself by its attempts."""


@pytest.fixture(autouse=True)
def no_settings(monkeypatch):
    for kind in ("http", "https", "all", "no"):
        monkeypatch.delenv(f"{kind}_proxy", raising=False)
        monkeypatch.delenv(f"{kind}_proxy".upper(), raising=False)
    for kind in ("FILE", "DIR"):
        monkeypatch.delenv(f"SSL_CERT_{kind}", raising=False)


def server_context(authority, name="127.0.0.1", **options):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name, **options).configure_cert(context)
    return context


YESTERDAY = dt.datetime.now(dt.UTC) - dt.timedelta(days=1)


@pytest.mark.parametrize(
    ("trusted", "certificate", "says"),
    [
        ("nobody", ("127.0.0.1", {}), "unable to get local issuer certificate"),
        ("missing", ("127.0.0.1", {}), "which holds no certificate"),
        ("empty", ("127.0.0.1", {}), "which holds no certificate"),
        ("garbage", ("127.0.0.1", {}), "which holds no certificate"),
        ("folder", ("127.0.0.1", {}), "which holds no certificate"),
        ("another", ("127.0.0.1", {}), "unable to get local issuer certificate"),
        ("right", ("other.example", {}), "not valid for '127.0.0.1'"),
        ("right", ("127.0.0.1", {"not_after": YESTERDAY}), "certificate has expired"),
        ("context", ("127.0.0.1", {"not_after": YESTERDAY}), "ssl_context="),
        ("context", ("other.example", {}), "not valid for '127.0.0.1'"),
    ],
)
async def test_a_certificate_that_is_refused_ends_the_job_at_once(
    monkeypatch, tmp_path, trusted, certificate, says
):
    name, options = certificate
    authority, path, given = trustme.CA(), tmp_path / "ca.pem", {}
    content = {"right": authority.cert_pem.bytes(), "another": trustme.CA().cert_pem.bytes()}
    if trusted == "folder":
        path.mkdir()
    elif trusted == "context":
        given["ssl_context"] = ssl.create_default_context()
        authority.configure_trust(given["ssl_context"])
    elif trusted not in ("nobody", "missing"):
        path.write_bytes(content.get(trusted, b"" if trusted == "empty" else b"no certificate"))
    if trusted not in ("nobody", "context"):
        monkeypatch.setenv("SSL_CERT_FILE", str(path))
    async with serving(answer(DONE), ssl=server_context(authority, name, **options)) as server:
        async with client(server.base_url, retry=PATIENT, **given) as prodia:
            error = await failure(TransportError, prodia)
        assert server.requests == []
    assert_told(error, ["not_sent"], may_have_run=False, says=says)
    assert "certificate verify failed" in str(error)
    assert trusted == "context" or "SSL_CERT_FILE" in str(error)


async def test_certificates_are_those_that_are_named_when_the_client_is_first_used(monkeypatch, tmp_path):
    authority, path = trustme.CA(), tmp_path / "ca.pem"
    secure = server_context(authority)
    async with serving(answer(DONE), ssl=secure) as server, client(server.base_url) as prodia:
        authority.cert_pem.write_to_path(str(path))
        monkeypatch.setenv("SSL_CERT_FILE", str(path))
        await prodia.run(JOB)


async def answering(said, *, at_once=False):
    """Start a server that gives one and the same answer to anything, and return its address."""

    async def talk(reader, writer):
        if not at_once:
            await reader.read(4096)
        writer.write(said)
        await writer.drain()
        await reader.read()
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    return server, f"127.0.0.1:{server.sockets[0].getsockname()[1]}"


PLAIN = b"HTTP/1.1 %s\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


@pytest.mark.parametrize(
    ("scheme", "said", "says"),
    [
        ("http", PLAIN % b"407 Proxy Authentication Required", "407 Proxy Authentication Required"),
        ("http", PLAIN % b"400 Bad Request", "refuses with 400"),
        ("http", PLAIN % b"403 Forbidden", "refuses with 403"),
        ("http", PLAIN % b"404 Not Found", "refuses with 404"),
        ("http", PLAIN % b"405 Method Not Allowed", "refuses with 405"),
        ("http", PLAIN % b"501 Not Implemented", "refuses with 501"),
        ("http", PLAIN % b"302 Found", "refuses with 302"),
        ("http", b"SSH-2.0-OpenSSH_9.9\r\n", "cannot be read"),
        ("http", b"220 mail.example ESMTP\r\n", "cannot be read"),
        ("http", b"\x15\x03\x01\x00\x02\x02\x46\r\n\r\n", "cannot be read"),
        ("https", PLAIN % b"400 Bad Request", "speaks no TLS"),
        ("https", b"SSH-2.0-OpenSSH_9.9\r\n", "speaks no TLS"),
    ],
)
async def test_a_proxy_that_is_none_or_refuses_ends_the_job_at_once(monkeypatch, scheme, said, says):
    server, place = await answering(said)
    async with server:
        monkeypatch.setenv("HTTPS_PROXY", f"{scheme}://user:{PASSWORD}@{place}")
        async with client(SERVICE, retry=PATIENT) as prodia:
            error = await failure(TransportError, prodia)
    assert_told(error, ["not_sent"], may_have_run=False, says=says)
    assert f"the proxy {scheme}://{place} of HTTPS_PROXY" in str(error)
    assert PASSWORD not in f"{error!r}{error.attempts}"


@pytest.mark.parametrize("status", [b"502 Bad Gateway", b"503 Busy", b"504 Gateway Timeout", b"429 Slowly"])
async def test_a_proxy_that_cannot_reach_the_service_is_asked_again(monkeypatch, status):
    server, place = await answering(PLAIN % status)
    async with server:
        monkeypatch.setenv("https_proxy", f"http://{place}")
        async with client(SERVICE, retry=PATIENT) as prodia:
            error = await failure(TransportError, prodia)
    assert_told(error, ["not_sent"] * 4, may_have_run=False, says=f"http://{place} of https_proxy")


@pytest.mark.parametrize(("url", "attempts"), [("http://service.invalid", 1), (SERVICE, 1)])
async def test_a_proxy_without_address_ends_the_job_at_once(monkeypatch, url, attempts):
    monkeypatch.setenv("all_proxy", "http://proxy.invalid:3128")
    async with client(url, retry=PATIENT, allow_insecure=True) as prodia:
        error = await failure(TransportError, prodia)
    assert_told(error, ["not_sent"] * attempts, may_have_run=False, says="proxy.invalid:3128 of all_proxy")


async def test_a_service_without_address_is_asked_for_again():
    async with client(SERVICE, retry=PATIENT) as prodia:
        error = await failure(TransportError, prodia)
    assert_told(error, ["not_sent"] * 4, may_have_run=False, says="service.invalid")


@pytest.mark.parametrize("url", ["http://service.invalid", SERVICE])
async def test_user_and_password_reach_the_proxy_and_nobody_else(monkeypatch, url):
    authority, ours = trustme.CA(), ssl.create_default_context()
    authority.configure_trust(ours)
    theirs = server_context(authority, "service.invalid") if url == SERVICE else None
    said = in_json(400, job("failed", error=f"you sent {PASSWORD}"))
    async with serving(answer(said), answer(DONE), ssl=theirs) as server, proxying(server.base_url) as proxy:
        monkeypatch.setenv("all_proxy", proxy.url.replace("://", f"://user:{PASSWORD}@"))
        async with client(url, allow_insecure=True, ssl_context=ours) as prodia:
            error = await failure(BadRequestError, prodia)
            await prodia.run(JOB)
        heads = "".join(proxy.heads)
        assert "\r\nProxy-Authorization: Basic dXNlcjpIdW50ZXIyLW9mLXRoZS1wcm94eQ==\r\n" in heads
        assert (TOKEN in heads) is (url != SERVICE)
        if url == SERVICE:
            assert [one.headers.get("proxy-authorization") for one in server.requests] == [None, None]
    assert PASSWORD not in f"{error!r}{error.attempts}{error.result!r}{vars(prodia)!r}"


def test_a_client_of_a_bad_proxy_is_refused_when_it_is_made(monkeypatch):
    monkeypatch.setenv("https_proxy", f"http://user:{PASSWORD}#@proxy:3128")
    with pytest.raises(InputError, match="https_proxy cannot be read") as caught:
        Prodia(token=TOKEN)
    assert PASSWORD not in str(caught.value)


async def test_a_full_default_executor_is_no_dead_network():
    busy, loop = threading.Event(), asyncio.get_running_loop()
    work = [loop.run_in_executor(None, busy.wait) for _ in range(64)]
    try:
        async with (
            serving(answer(DONE)) as server,
            client(server.base_url.replace("127.0.0.1", "localhost")) as prodia,
        ):
            await prodia.run(JOB)
    finally:
        busy.set()
        await asyncio.gather(*work)
        await loop.shutdown_default_executor()


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "service.invalid"])
@pytest.mark.parametrize("where", ["atexit", "thread"])
def test_at_the_exit_of_the_interpreter_there_is_a_result_or_an_error_of_ours(host, where):
    program = f"""
import asyncio, atexit, logging, threading, time
from prodia_async import Prodia, ProdiaError, Retry

logging.disable()

async def bye():
    settings = dict(token="t", allow_insecure=True, retry=Retry(max_errors=0))
    async with Prodia(base_url="http://{host}:9", **settings) as prodia:
        try:
            await prodia.run("inference.ping.v1")
        except ProdiaError as error:
            print(type(error).__name__)

if "{where}" == "atexit":
    atexit.register(lambda: asyncio.run(bye()))
else:
    threading.Thread(target=lambda: (time.sleep(0.5), asyncio.run(bye()))).start()
"""
    ended = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert (ended.stdout.strip(), complaints(ended.stderr)) == ("TransportError", "")


@pytest.mark.skipif(sys.platform != "linux", reason="macOS has another name for it")
async def test_a_silent_connection_is_probed_after_a_minute():
    async with serving(answer(DONE)) as server, client(server.base_url) as prodia:
        await prodia.run(JOB)
        [opened] = prodia._engines.peek().transport._sockets
        assert opened.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        assert opened.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 60


@pytest.mark.parametrize("refuses", ["proxy", "certificate"])
async def test_a_batch_ends_where_no_connection_can_be_made(monkeypatch, tmp_path, refuses):
    rows = [f'{{"custom_id": "{n}", "type": "inference.test.v1"}}\n' for n in range(30)]
    (tmp_path / "jobs.jsonl").write_text("".join(rows))
    async with serving(ssl=server_context(trustme.CA())) as server:
        if refuses == "proxy":
            monkeypatch.setenv("https_proxy", "http://proxy.invalid:3128")
        url = SERVICE if refuses == "proxy" else server.base_url
        async with client(url) as prodia:
            report = await run_batch(tmp_path / "jobs.jsonl", tmp_path / "out", prodia=prodia)
    assert (report.ending, report.done, report.failed) == ("refused", 0, 0)
    assert f"the {refuses}" in report.reason
