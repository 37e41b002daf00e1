from __future__ import annotations

import random

import pytest

from prodia_async.emulator.media import Accept, read_accept, split_media_type
from prodia_async.emulator.settings import Settings


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


def make_settings(**options):
    defaults = {
        "latency": 0.5,
        "latency_sigma": 0.0,
        "retry_after": 1.0,
        "free_at": "headers",
        "token": "t",
        "forbidden": frozenset(),
        "price": None,
        "async_limit": 1,
        "async_lifetime": 1.0,
        "faults": {},
        "fault_time": 1.0,
    }
    return Settings(**(defaults | options))


def test_latency_is_constant_without_sigma_and_lognormal_around_its_mean_with_it():
    assert make_settings().draw_latency(random.Random(1)) == 0.5
    chance = random.Random(1)
    drawn = [make_settings(latency_sigma=0.5).draw_latency(chance) for _ in range(4000)]
    assert len(set(drawn)) == 4000
    assert min(drawn) > 0
    assert sum(drawn) / 4000 == pytest.approx(0.5, rel=0.05)


@pytest.mark.parametrize(
    "options",
    [
        {"latency": -1},
        {"latency_sigma": float("nan")},
        {"latency": float("inf")},
        {"free_at": "x"},
        {"async_limit": -1},
        {"async_lifetime": float("inf")},
    ],
)
def test_senseless_settings_are_refused(options):
    with pytest.raises(ValueError, match="cannot be"):
        make_settings(**options)


def test_prices_may_differ_by_type():
    settings = make_settings(price={"a": 0.1})
    assert (settings.dollars("a"), settings.dollars("b")) == (0.1, None)
