from __future__ import annotations

import pytest

from prodia_async.batch.page import figures


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (0.042, "0.042"),
        (0.5, "0.5"),
        (1.54, "1.5"),
        (12.4, "12"),
        (320, "320"),
        (12345.6, "12,346"),
        (1e-9, "0"),
    ],
)
def test_amounts(value, text):
    assert figures.amount(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "$0.00"), (0.0025, "$0.0025"), (0.039, "$0.039"), (0.5, "$0.50"), (1234.5, "$1,234.50")],
)
def test_dollars(value, text):
    assert figures.dollars(value) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (0.54, "0.54 s"),
        (42, "42 s"),
        (200, "3 min 20 s"),
        (3600, "1 h"),
        (3605, "1 h"),
        (7500, "2 h 5 min"),
        (90000, "1 d 1 h"),
    ],
)
def test_durations(seconds, text):
    assert figures.duration(seconds) == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("2026-11-22T13:28:39.817526Z", "22 Nov 2026, 13:28 UTC"),
        ("2026-11-22T13:28:39+02:00", "22 Nov 2026, 11:28 UTC"),
        ("2026-11-02T13:28:39", "2 Nov 2026, 13:28 UTC"),
        ("yesterday", None),
        ("0001-01-01T00:00:00+14:00", None),
        (None, None),
    ],
)
def test_moments(text, shown):
    assert figures.moment(text) == shown
