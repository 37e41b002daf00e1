"""Which proxy the environment asks for, by the rules that curl, Go and requests share."""

from __future__ import annotations

import base64
import traceback

import pytest

from prodia_async import InputError, Prodia
from prodia_async._wire.address import is_exempt, parse, proxy_for

HTTPS = "https://inference.prodia.com"
PROXY = "http://proxy:3128"


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch):
    for kind in ("http", "https", "all", "no"):
        monkeypatch.delenv(f"{kind}_proxy", raising=False)
        monkeypatch.delenv(f"{kind}_proxy".upper(), raising=False)
    monkeypatch.delenv("REQUEST_METHOD", raising=False)


def login(user, password):
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


@pytest.mark.parametrize(
    ("environment", "url", "proxy"),
    [
        ({}, HTTPS, None),
        ({"https_proxy": PROXY}, HTTPS, PROXY),
        ({"HTTPS_PROXY": PROXY}, HTTPS, PROXY),
        ({"https_proxy": PROXY, "HTTPS_PROXY": "http://other:1"}, HTTPS, PROXY),
        ({"https_proxy": "proxy:3128"}, HTTPS, PROXY),
        ({"https_proxy": "//proxy:3128"}, HTTPS, PROXY),
        ({"https_proxy": f" {PROXY}\n"}, HTTPS, PROXY),
        ({"https_proxy": "HTTP://proxy:3128/"}, HTTPS, f"{PROXY}"),
        ({"https_proxy": f"{PROXY}/ignored?as=elsewhere"}, HTTPS, PROXY),
        ({"https_proxy": "https://proxy"}, HTTPS, "https://proxy"),
        ({"https_proxy": "http://[2001:db8::1]:3128"}, HTTPS, "http://[2001:db8::1]:3128"),
        ({"https_proxy": "http://user:word@proxy:3128"}, HTTPS, PROXY),
        ({"https_proxy": ""}, HTTPS, None),
        ({"https_proxy": " "}, HTTPS, None),
        ({"http_proxy": PROXY}, HTTPS, None),
        ({"http_proxy": PROXY}, "http://10.0.0.1", PROXY),
        ({"HTTP_PROXY": PROXY}, "http://10.0.0.1", PROXY),
        # A web server makes HTTP_PROXY of a request's header "Proxy" (CVE-2016-5385).
        ({"HTTP_PROXY": PROXY, "REQUEST_METHOD": "GET"}, "http://10.0.0.1", None),
        ({"http_proxy": PROXY, "REQUEST_METHOD": "GET"}, "http://10.0.0.1", PROXY),
        ({"all_proxy": PROXY}, HTTPS, PROXY),
        ({"ALL_PROXY": PROXY}, HTTPS, PROXY),
        ({"all_proxy": "http://all:1", "https_proxy": "http://own:2"}, HTTPS, "http://own:2"),
        ({"https_proxy": PROXY, "no_proxy": "prodia.com"}, HTTPS, None),
        ({"https_proxy": PROXY, "NO_PROXY": "prodia.com"}, HTTPS, None),
        ({"https_proxy": PROXY, "no_proxy": "*"}, HTTPS, None),
        ({"https_proxy": PROXY, "no_proxy": "example.com"}, HTTPS, PROXY),
        ({"https_proxy": PROXY}, "https://localhost", None),
        ({"http_proxy": PROXY}, "http://127.0.0.1:8080", None),
        ({"http_proxy": PROXY}, "http://[::1]:8080", None),
        ({"https_proxy": "socks5://proxy:1"}, "https://localhost", None),
    ],
)
def test_the_environment_decides(monkeypatch, environment, url, proxy):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    found = proxy_for(parse(url))
    assert (found and found.url) == proxy
    assert found is None or found.tunnels is url.startswith("https")


@pytest.mark.parametrize(
    ("given", "user", "password"),
    [
        ("user:word", "user", "word"),
        ("user:Hunter%232", "user", "Hunter#2"),
        ("user:Hunter%2F%3f2", "user", "Hunter/?2"),
        ("user:p@ss@word", "user", "p@ss@word"),
        ("user:a:b:c", "user", "a:b:c"),
        ("user:100%", "user", "100%"),
        ("user:a b", "user", "a b"),
        ("us%40er:w%25rd", "us@er", "w%rd"),
        ("user:pässwörd", "user", "pässwörd"),
        ("user:p%C3%A4ss", "user", "päss"),
        ("user:!$&'()*+,;=~", "user", "!$&'()*+,;=~"),
        ("user:", "user", ""),
        ("user", "user", ""),
        (":word", "", "word"),
    ],
)
def test_user_and_password_go_into_a_header_and_nowhere_else(monkeypatch, given, user, password):
    monkeypatch.setenv("https_proxy", f"http://{given}@proxy:3128")
    found = proxy_for(parse(HTTPS))
    assert (found.url, found.name) == (PROXY, "https_proxy")
    assert found.login.header == login(user, password)
    shown = f"{found!r} {found.login}"
    assert given not in shown
    assert login(user, password)[6:] not in shown
    said = f"the proxy was told {password}, {login(user, password)}"
    if len(password) > 3:
        assert found.login.redact(said) == "the proxy was told ***, Basic ***"


UNREADABLE = [
    "http://user:Hunter#2@proxy:3128",
    "http://user:Hunter/2@proxy:3128",
    "http://user:Hunter?2@proxy:3128",
    "http://user:12/Hunter2@proxy:3128",
    "user:Hunter#2@proxy:3128",
    "http://user:Hunter[2@proxy:3128",
    "http://user:Hunter2\x07@proxy:3128",
    "http://user:Hunter2@proxy:port",
    "http://user:Hunter2@proxy:99999",
    "http://user:Hunter2@proxy:0",
    "http://user:Hunter2@",
    "http://user:Hunter2@a proxy:3128",
    "ftp://user:Hunter2@proxy:3128",
    "http://",
    "://proxy",
]


@pytest.mark.parametrize("name", ["https_proxy", "HTTPS_PROXY", "ALL_PROXY"])
@pytest.mark.parametrize("value", UNREADABLE)
def test_what_cannot_be_read_is_refused_when_the_client_is_made(monkeypatch, name, value):
    monkeypatch.setenv(name, value)
    with pytest.raises(InputError, match=f"the proxy of {name} cannot be read: .*percent-encoded") as caught:
        Prodia(token="a-token")
    shown = traceback.TracebackException.from_exception(caught.value, capture_locals=True)
    ours = [frame.locals for frame in shown.stack if "prodia_async" in frame.filename]
    assert ours
    assert "Hunter" not in f"{caught.value}{ours}"
    assert caught.value.__context__ is None


@pytest.mark.parametrize("kind", ["socks5", "socks5h", "socks4", "socks4a", "socks"])
def test_a_proxy_of_another_kind_is_refused_without_its_password(monkeypatch, kind):
    monkeypatch.setenv("https_proxy", f"{kind}://user:word@proxy:1080")
    with pytest.raises(
        InputError, match=f"https_proxy names a {kind} proxy, which is not supported"
    ) as caught:
        proxy_for(parse(HTTPS))
    assert "word" not in str(caught.value)


def test_a_client_keeps_to_the_proxy_that_it_was_made_with(monkeypatch):
    monkeypatch.setenv("https_proxy", PROXY)
    with_proxy = Prodia(token="a-token")
    monkeypatch.delenv("https_proxy")
    assert with_proxy._proxy.url == PROXY
    assert Prodia(token="a-token")._proxy is None


@pytest.mark.parametrize(
    ("listed", "url", "exempt"),
    [
        ("prodia.com", HTTPS, True),
        (".prodia.com", HTTPS, True),
        ("*.prodia.com", HTTPS, True),
        ("PRODIA.com.", HTTPS, True),
        ("inference.prodia.com", HTTPS, True),
        (".inference.prodia.com", HTTPS, True),
        ("*.inference.prodia.com", HTTPS, False),
        ("dia.com", HTTPS, False),
        ("prodia.com.example", HTTPS, False),
        ("localhost, prodia.com", HTTPS, True),
        ("localhost prodia.com", HTTPS, True),
        ("\tlocalhost,\n prodia.com ", HTTPS, True),
        ("prodia.com:443", HTTPS, True),
        ("prodia.com:8443", HTTPS, False),
        ("prodia.com:8443", "https://prodia.com:8443", True),
        ("prodia.com:80", "http://prodia.com", True),
        ("*", HTTPS, True),
        ("localhost,*", HTTPS, True),
        ("10.0.0.0/8", "http://10.20.30.40", True),
        ("10.9.9.9/8", "http://10.20.30.40", True),
        ("10.0.0.0/8", "http://11.0.0.1", False),
        ("10.0.0.0/8", "http://10.example", False),
        ("10.0.0.1", "http://10.0.0.1:8080", True),
        ("10.0.0.1:8080", "http://10.0.0.1:8080", True),
        ("10.0.0.1:80", "http://10.0.0.1:8080", False),
        ("10.0.0.0/8:8080", "http://10.0.0.1:8080", True),
        ("[2001:db8::1]:8080", "http://[2001:db8::1]:8080", True),
        ("[2001:db8::1]:80", "http://[2001:db8::1]:8080", False),
        ("[2001:db8::1]", "http://[2001:db8::1]:8080", True),
        ("2001:db8::1", "http://[2001:DB8:0::1]:8080", True),
        ("2001:db8::/32", "http://[2001:db8:1::1]", True),
        ("2001:db8::/32", "http://10.0.0.1", False),
        ("0.0.0.0/0", "http://[2001:db8::1]", False),
        ("10.0.0.0/99, [::, /, :, ., *., ,", HTTPS, False),
        ("prodia.com:" + "9" * 5000, HTTPS, False),
        ("", HTTPS, False),
    ],
)
def test_what_no_proxy_lists_is_reached_without_one(listed, url, exempt):
    assert is_exempt(parse(url), listed) is exempt
