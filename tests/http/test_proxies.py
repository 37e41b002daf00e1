"""Which proxy the environment asks for."""

from __future__ import annotations

import pytest

from prodia_async import InputError
from prodia_async._wire.address import parse, proxy_for

HTTPS = "https://inference.prodia.com"


@pytest.mark.parametrize(
    ("environment", "url", "proxy"),
    [
        ({}, HTTPS, None),
        ({"https_proxy": "http://proxy:3128"}, HTTPS, "http://proxy:3128"),
        ({"https_proxy": "proxy:3128"}, HTTPS, "http://proxy:3128"),
        ({"https_proxy": "http://user:word@proxy:3128"}, HTTPS, "http://user:word@proxy:3128"),
        ({"http_proxy": "http://proxy:3128"}, HTTPS, None),
        ({"http_proxy": "http://proxy:3128"}, "http://10.0.0.1", "http://proxy:3128"),
        ({"all_proxy": "http://proxy:3128"}, HTTPS, "http://proxy:3128"),
        ({"all_proxy": "http://all:1", "https_proxy": "http://own:2"}, HTTPS, "http://own:2"),
        ({"https_proxy": "http://proxy:3128", "no_proxy": "prodia.com"}, HTTPS, None),
        ({"https_proxy": "http://proxy:3128", "no_proxy": "*"}, HTTPS, None),
        ({"https_proxy": "http://proxy:3128", "no_proxy": "example.com"}, HTTPS, "http://proxy:3128"),
        ({"https_proxy": "http://proxy:3128"}, "https://localhost", None),
        ({"http_proxy": "http://proxy:3128"}, "http://127.0.0.1:8080", None),
        ({"http_proxy": "http://proxy:3128"}, "http://[::1]:8080", None),
        ({"https_proxy": "socks5://proxy:1"}, "https://localhost", None),
    ],
)
def test_the_environment_decides(monkeypatch, environment, url, proxy):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert proxy_for(parse(url)) == proxy


def test_a_proxy_of_another_kind_is_refused_without_its_password(monkeypatch):
    monkeypatch.setenv("https_proxy", "socks5://user:word@proxy:1080")
    with pytest.raises(InputError, match="a socks5 proxy, which is not supported") as caught:
        proxy_for(parse(HTTPS))
    assert "word" not in str(caught.value)
