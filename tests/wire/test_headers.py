from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prodia_async._wire import result as results

NOW = 784111777.0  # Sun, 06 Nov 1994 08:49:37 GMT


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("1", 1.0),
        (" 30 ", 30.0),
        ("0", 0.0),
        ("0.25", 0.25),
        ("1e+06", 1e6),
        ("99999999999999", 99999999999999.0),
        ("Sun, 06 Nov 1994 08:50:37 GMT", 60.0),
        ("Sunday, 06-Nov-94 08:50:37 GMT", 60.0),
        ("Sun Nov  6 08:50:37 1994", 60.0),
        ("Sun, 06 Nov 1994 10:50:37 +0200", 60.0),
        ("Sun, 06 Nov 1994 08:49:37 GMT", 0.0),
        ("Sun, 06 Nov 1994 08:49:36 GMT, 5", 5.0),
        ("2, 5", 2.0),
        ("soon, 5", 5.0),
        ("-1, nan, 7", 7.0),
        ("Sun, 06 Nov 1994 08:50:37 GMT, 5", 60.0),
        ("5, Sun, 06 Nov 1994 08:50:37 GMT", 5.0),
    ],
)
def test_a_sensible_value(value, seconds):
    assert results.retry_after(value, NOW) == seconds


@pytest.mark.parametrize(
    "value",
    [
        *(None, "", " ", ",", "-1", "nan", "inf", "-inf", "soon", "1_0", "٣", "5 seconds", "0x10", "9" * 400),
        *("Sun, 99 Nov 1994 08:49:37 GMT", "08:49:37", ":", "1994-11-06T08:49:37Z"),
        *("Sun, 06 Nov 99999 08:49:37 GMT", "Sun, 06 Nov 1994 08:49:36 GMT", "Sun, 06 Nov 1970 08:49:37 GMT"),
    ],
)
def test_a_senseless_value(value):
    assert results.retry_after(value, NOW) is None


@pytest.mark.parametrize("skew", [0, 600, -600, 86_400, -86_400, 1e9, -1e9])
@pytest.mark.parametrize(
    ("value", "date", "seconds"),
    [
        ("Sun, 06 Nov 1994 08:50:37 GMT", "Sun, 06 Nov 1994 08:49:37 GMT", 60.0),
        ("Sun, 06 Nov 1994 08:50:37 GMT", "Sun Nov  6 08:49:37 1994", 60.0),
        ("Sun, 06 Nov 1994 10:50:37 +0200", "Sunday, 06-Nov-94 08:49:37 GMT", 60.0),
        ("Sun, 06 Nov 1994 08:49:37 GMT", "Sun, 06 Nov 1994 08:49:37 GMT", 0.0),
        ("Sun, 06 Nov 1994 08:49:36 GMT", "Sun, 06 Nov 1994 08:49:37 GMT", None),
        ("60", "Sun, 06 Nov 1994 08:49:37 GMT", 60.0),
    ],
)
def test_a_date_is_by_the_clock_of_the_server(value, date, seconds, skew):
    assert results.retry_after(value, NOW + skew, date) == seconds


@pytest.mark.parametrize("date", [None, "", "soon", "0", "Sun, 99 Nov 1994 08:49:37 GMT"])
def test_without_a_date_of_the_server_our_clock_has_to_do(date):
    assert results.retry_after("Sun, 06 Nov 1994 08:50:37 GMT", NOW, date) == 60.0


def test_minus_zero_is_zero():
    assert math.copysign(1, results.retry_after("-0", NOW)) == 1


@settings(max_examples=200, deadline=None)
@given(st.text(alphabet="0123456789.,:-+eE SunNovGMT/naif\x00é", max_size=40))
def test_never_raises_nor_gives_what_cannot_be_waited_for(value):
    seconds = results.retry_after(value, NOW)
    assert seconds is None or (math.isfinite(seconds) and seconds >= 0)


@pytest.mark.parametrize(
    ("code", "kind", "ran"),
    [
        (201, "refused", True),
        (0, "refused", True),
        (101, "refused", True),
        (300, "refused", False),
        (301, "refused", False),
        (400, "refused", False),
        (401, "refused", False),
        (404, "refused", False),
        (413, "refused", False),
        (499, "refused", False),
        (429, "shed", False),
        (500, "server_error", True),
        (502, "server_error", True),
        (503, "server_error", False),
        (504, "server_error", True),
        (599, "server_error", True),
        (600, "refused", True),
        (999, "refused", True),
    ],
)
def test_each_status_has_its_verdict(code, kind, ran):
    assert results.meaning(code) == (kind, ran)
