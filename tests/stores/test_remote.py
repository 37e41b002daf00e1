"""`Remote`: what is fetched, within which bounds, and what is not."""

from __future__ import annotations

import asyncio
import hashlib
import ipaddress
import pickle
import socket

import pytest
from support.leaks import client
from support.replies import DONE, Reply
from support.servers import answer, hang_up, serving, stall

from prodia_async import InputError, Remote
from prodia_async.remote import _Public, _require_public

pytestmark = pytest.mark.usefixtures("nothing_left")

PING = "inference.ping.v1"
CONTENT = bytes(range(256)) * 4000


def photo(content=CONTENT, **headers):
    return answer(Reply(body=content, headers={"ETag": '"1"', **headers}))


def redirect(location, status=302):
    return answer(Reply(status=status, headers={"Location": location}))


async def fetched(source_url, *service, **options):
    """Run a job with a remote input; return the requests that the service got."""
    async with serving(*service or [answer(DONE)]) as api, client(api.base_url) as prodia:
        await prodia.run(PING, inputs=[Remote(source_url, allow_private=True, **options)])
    return api.requests


async def test_it_is_fetched_with_its_exact_length_and_again_for_each_attempt():
    shed = answer(Reply(status=429, headers={"Retry-After": "0"}))
    async with serving(photo()) as web:
        requests = await fetched(f"{web.base_url}/a/photo.jpg?sig=1%2F2", shed, answer(DONE))
    assert [request.inputs() for request in requests] == [
        {"photo.jpg": hashlib.sha256(CONTENT).hexdigest()}
    ] * 2
    assert all(int(request.headers["content-length"]) > len(CONTENT) for request in requests)
    assert [request.target for request in web.requests] == ["/a/photo.jpg?sig=1%2F2"] * 3
    seen = str([request.headers for request in web.requests]).lower()
    assert "authorization" not in seen
    assert "s3cret" not in seen


async def test_a_chunked_body_and_a_name_of_its_own():
    async with serving(answer(Reply(body=CONTENT, framing="chunked"))) as web:
        [request] = await fetched(f"{web.base_url}/")
    assert request.inputs() == {"input.bin": hashlib.sha256(CONTENT).hexdigest()}
    picture = answer(Reply(body=b"\x89PNG\r\n\x1a\n"))
    async with serving(picture) as web, serving(answer(DONE)) as api, client(api.base_url) as prodia:
        await prodia.run(PING, inputs=[("x.png", Remote(f"{web.base_url}/a", allow_private=True))])
    assert list(api.requests[0].inputs()) == ["x.png"]


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_redirects_are_followed(status):
    async with serving(photo()) as web, serving(redirect(f"{web.base_url}/b.jpg", status)) as first:
        [request] = await fetched(f"{first.base_url}/a.jpg")
    assert request.inputs() == {"a.jpg": hashlib.sha256(CONTENT).hexdigest()}


async def refused(remote, match):
    async with serving(answer(DONE)) as api, client(api.base_url) as prodia:
        with pytest.raises(InputError, match=match) as caught:
            await prodia.run(PING, inputs=[remote])
        assert caught.value.may_have_run is False
    assert "s3cret" not in "".join(map(repr, (caught.value, caught.value.__cause__)))
    return api.requests


FAILING = {
    "missing": (answer(Reply(status=404)), {}, "answered with status 404: check the URL"),
    "server error": (answer(Reply(status=500)), {}, "answered with status 500"),
    "too large": (photo(), {"max_bytes": 1000}, "is larger than 1000 bytes: allow more with max_bytes="),
    "a loop": (redirect("/again?sig=s3cret"), {"redirects": 2}, "redirects more than 2 times"),
    "none wanted": (redirect("/b.jpg"), {"redirects": 0}, "redirects more than 0 times"),
    "to nowhere": (redirect("ftp://x/y"), {}, "Remote cannot fetch ftp://x/y"),
    "to a password": (redirect("http://me:s3cret@x/y"), {}, "fetches without passwords"),
    "no location": (answer(Reply(status=302)), {}, "redirects more than 3 times"),
    "compressed": (photo(**{"Content-Encoding": "gzip"}), {}, "comes compressed"),
    "reset": (hang_up("reset"), {}, "could not be fetched"),
    "silent": (stall(after="head"), {"timeout": 0.2}, "could not be fetched: .*"),
}


@pytest.mark.parametrize("case", FAILING)
async def test_what_fails_before_anything_is_sent(case):
    step, options, match = FAILING[case]
    async with serving(step) as web:
        remote = Remote(f"{web.base_url}/photo.jpg?sig=s3cret", allow_private=True, **options)
        assert await refused(remote, match) == []


@pytest.mark.parametrize(
    "second",
    [
        photo(b"another", ETag='"2"'),
        photo(CONTENT[1:]),
        photo(ETag='"2"'),
        answer(Reply(status=404)),
        hang_up("reset"),
        answer(Reply(body=CONTENT, headers={"ETag": '"1"'}, length=len(CONTENT) + 1), then="close"),
    ],
)
async def test_what_changes_or_breaks_under_way(second):
    async with serving(photo(), second) as web:
        remote = Remote(f"{web.base_url}/photo.jpg?sig=s3cret", allow_private=True)
        await refused(
            remote, r"input 'photo.jpg'(.*could not be fetched| changed while it was sent|.*status 404)"
        )


async def test_a_size_that_nobody_told_is_bounded():
    async with serving(answer(Reply(body=CONTENT, framing="chunked"))) as web:
        remote = Remote(f"{web.base_url}/photo.jpg", max_bytes=500_000, allow_private=True)
        await refused(remote, "is larger than 500000 bytes")


async def test_private_addresses_are_refused_at_each_redirect():
    async with serving(photo()) as web:
        port = web.base_url.rpartition(":")[2]
        for host in ("127.0.0.1", "localhost", "127.1", "2130706433"):
            match = r"is not public: allow it with allow_private=True|is not a canonical IPv4 address"
            if host == "127.0.0.1":
                with pytest.raises(InputError, match=match):
                    Remote(f"https://{host}:{port}/photo.jpg")
            else:
                await refused(Remote(f"https://{host}:{port}/photo.jpg"), match)
        assert web.requests == []


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "10.1.2.3",
        "172.16.0.1",
        "192.168.0.1",
        "169.254.169.254",
        "100.64.0.1",
        "0.0.0.0",
        "255.255.255.255",
        "224.0.0.1",
        "::1",
        "::",
        "fe80::1",
        "fc00::1",
        "ff02::1",
        "::ffff:127.0.0.1",
        "::ffff:169.254.169.254",
        "64:ff9b::7f00:1",
        "2002:7f00:1::",
    ],
)
async def test_what_is_not_public(address, monkeypatch):
    with pytest.raises(InputError, match="is not public"):
        _require_public("x", ipaddress.ip_address(address))
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    resolver = _Public()
    with pytest.raises(InputError, match="is not public"):
        await resolver.resolve(address, 80, family)


@pytest.mark.parametrize("address", ["8.8.8.8", "2001:4860:4860::8888", "::ffff:8.8.8.8", "64:ff9b::808:808"])
def test_what_is_public(address):
    _require_public("x", ipaddress.ip_address(address))


@pytest.mark.parametrize(
    ("url", "options"),
    [
        ("http://example.com/a.jpg", {}),
        ("ftp://example.com/a.jpg", {"allow_private": True}),
        ("example.com/a.jpg", {}),
        ("https://", {}),
        ("", {}),
        (7, {}),
        ("https://me:s3cret@example.com/a.jpg", {}),
        ("https://[::1/a.jpg", {}),
        ("https://[::1]/a.jpg", {}),
        ("https://example.com/a.jpg", {"max_bytes": 0}),
        ("https://example.com/a.jpg", {"timeout": 0}),
        ("https://example.com/a.jpg", {"redirects": -1}),
    ],
)
def test_what_is_no_remote(url, options):
    with pytest.raises(InputError) as caught:
        Remote(url, **options)
    assert "s3cret" not in str(caught.value)


def test_a_remote_shows_no_query_and_is_pickled():
    remote = Remote("https://example.com/a.jpg?sig=s3cret")
    assert repr(remote) == "Remote('https://example.com/a.jpg')"
    assert pickle.loads(pickle.dumps(remote)) == remote


@pytest.mark.parametrize("text", ["https://example.com/a.jpg", "http://127.0.0.1/a.jpg"])
async def test_a_text_is_never_fetched(text):
    await refused(text, "input")
    await refused(("a.jpg", text), "input")


async def test_cancelled_while_it_is_fetched():
    steps = photo(), stall(after="head")
    async with serving(*steps) as web, serving(answer(DONE)) as api, client(api.base_url) as prodia:
        remote = Remote(f"{web.base_url}/photo.jpg", allow_private=True)
        job = asyncio.ensure_future(prodia.run(PING, inputs=[remote]))
        while len(web.requests) < 2:
            await asyncio.sleep(0.01)
        job.cancel()
        await asyncio.wait([job])
        assert job.cancelled()
