from __future__ import annotations

import re

import pytest

from prodia_async.emulator import Emulator
from prodia_async.emulator._plans import Plan
from prodia_async.emulator._request import Accept, read_accept, split_media_type


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("", Accept("multipart")),
        ("*/*", Accept("multipart")),
        ("multipart/form-data", Accept("multipart")),
        ("multipart/form-data; image/png", Accept("multipart", "image/png")),
        ("Multipart/Form-Data;image/webp;q=0.5", Accept("multipart", "image/webp")),
        ("application/json", Accept("json")),
        ("image/png", Accept("direct", "image/png")),
        ("image/*", Accept("direct")),
        ("image/webp, */*", Accept("direct", "image/webp")),
    ],
)
def test_accept(header, expected):
    assert read_accept(header) == expected


def test_parameters_may_be_quoted():
    assert split_media_type(r'multipart/form-data; boundary="a;\"b"; x = y') == (
        "multipart/form-data",
        {"boundary": 'a;"b', "x": "y"},
    )


def test_latency_is_constant_without_sigma_and_lognormal_around_its_mean_with_it():
    def drawn(times, **options):
        runner = Emulator(**options)._routes._runner
        return [runner._latency(Plan({})) for _ in range(times)]

    assert drawn(3) == [0.5] * 3
    spread = drawn(4000, latency_sigma=0.5, seed=1)
    assert spread[:9] == drawn(9, latency_sigma=0.5, seed=1)
    assert len(set(spread)) == 4000
    assert min(spread) > 0
    assert sum(spread) / 4000 == pytest.approx(0.5, rel=0.05)


SENSELESS = [
    ("latency", -1, "seconds, at least 0, such as 0.5, not -1"),
    ("latency", float("inf"), "seconds, at least 0, such as 0.5, not inf"),
    ("latency", "0.5", "seconds, at least 0, such as 0.5, not '0.5'"),
    ("latency", True, "seconds, at least 0, such as 0.5, not True"),
    (
        "latency_sigma",
        float("nan"),
        "the spread of a lognormal distribution, at least 0, such as 0.5, not nan",
    ),
    ("capacity", 1.5, "a number of jobs, at least 0, such as 8, not 1.5"),
    ("retry_after", [], "seconds, a text or None, such as 1.0, not []"),
    ("retry_after", "1\r\nX: y", "seconds, a text or None, such as 1.0, not '1"),
    ("free_at", "x", '"headers" or "end", not \'x\''),
    ("token", "", 'a text in one line, such as "emulator-token"'),
    ("forbidden", "poor", 'a list of tokens, such as ["poor"]'),
    ("host", None, 'an address of this computer, such as "127.0.0.1", not None'),
    ("port", 65536, "a port from 0 to 65535; 0 is a free one, not 65536"),
    ("seed", "7", "a whole number, such as 7, not '7'"),
    ("price", -0.1, 'dollars, such as 0.0025, dollars by job type, "list" or None, not -0.1'),
    ("price", {"a": "1"}, "dollars, such as 0.0025, dollars by job type, \"list\" or None, not {'a': '1'}"),
    ("async_limit", -1, "a number of jobs, at least 0, such as 1000, not -1"),
    ("async_lifetime", float("inf"), "seconds, at least 0, such as 0.5, not inf"),
    ("faults", ["cut"], "faults and their chances, such as {'reset': 0.01}, not ['cut']"),
    ("fault_time", -1, "seconds, at least 0, such as 0.5, not -1"),
]


@pytest.mark.parametrize(("name", "value", "said"), SENSELESS)
def test_senseless_options_are_refused_and_say_what_is_right(name, value, said):
    with pytest.raises(ValueError, match=re.escape(f"{name}= takes {said}")):
        Emulator(**{name: value})


def test_a_token_is_not_shown():
    with pytest.raises(ValueError, match="token= takes") as caught:
        Emulator(token="secret\n")
    assert "secret" not in str(caught.value)


def test_prices_may_differ_by_type():
    runner = Emulator(price={"a": 0.1, "c": None})._routes._runner
    assert [runner._dollars(name, Plan({})) for name in "abc"] == [0.1, None, None]
