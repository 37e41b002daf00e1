import pytest

from prodia_async import InputError
from prodia_async._wire.address import parse


@pytest.mark.parametrize(
    "given", ["https://x.example", "https://x.example/", "https://x.example/v2", " https://x.example/v2/ "]
)
def test_the_spellings_of_one_service(given):
    assert parse(given).url == "https://x.example"


def test_a_path_and_a_port_are_kept():
    address = parse("http://[::1]:8080/gateway/v2/")
    assert (address.url, address.scheme, address.host) == ("http://[::1]:8080/gateway", "http", "::1")


@pytest.mark.parametrize(
    "given",
    [
        "",
        "x.example",
        "ftp://x.example",
        "https://",
        "https://x.example:port",
        "https://[::1",
        "https://u:p@x.example",
        "https://x.example?a=1",
        "https://x.example#a",
        "https://x.example:0",
        "https://a b.example",
        "https://x\0.example",
        "https://.x.example",
        "https://x..example",
        f"https://{'x' * 64}.example",
    ],
)
def test_what_is_no_base_url(given):
    with pytest.raises(InputError, match="base URL"):
        parse(given)


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("localhost", True),
        ("LOCALHOST", True),
        ("a.localhost", True),
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("[::1]", True),
        ("0.0.0.0", True),
        ("[::]", True),
        ("0.0.0.1", False),
        ("10.0.0.1", False),
        ("x.example", False),
        ("localhost.example", False),
    ],
)
def test_which_hosts_are_this_computer(host, loopback):
    assert parse(f"http://{host}:1").is_loopback is loopback
