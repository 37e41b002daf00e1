from __future__ import annotations

import click
import pytest

from prodia_async.cli import terminal as words
from prodia_async.cli.options import dollars, seconds, type_price


def test_counts():
    assert [words.count(number, "job") for number in (0, 1, 1200)] == ["0 jobs", "1 job", "1,200 jobs"]
    assert [words.count(number, "job was", "jobs were") for number in (1, 2)] == ["1 job was", "2 jobs were"]


def test_amounts():
    told = [words.dollars(amount) for amount in (0, 0.00375, 0.1 + 0.2, 9.5, 10, 1234.5)]
    assert told == ["$0.00", "$0.00375", "$0.30", "$9.50", "$10.00", "$1,234.50"]


def test_amounts_that_are_reckoned():
    told = [words.about(amount) for amount in (0, 0.0037512, 0.123, 1.987, 98.76, 1234.5)]
    assert told == ["$0.00", "$0.0038", "$0.12", "$2.00", "$99.00", "$1,200.00"]


def test_times():
    told = [words.duration(time) for time in (0, 59.4, 59.6, 100, 3600, 9999, 3600 * 2000)]
    assert told == ["0 s", "59 s", "1 min 0 s", "1 min 40 s", "1 h 0 min", "2 h 46 min", "2,000 h 0 min"]


@pytest.mark.parametrize(
    ("text", "value"),
    [("90", 90), ("90s", 90), (" 0.5 ", 0.5), ("30m", 1800), ("1.5h", 5400), ("3h", 10800)],
)
def test_times_are_read(text, value):
    assert seconds(text) == value


@pytest.mark.parametrize("text", ["", "0", "0h", "-1", "nan", "inf", "h", "3d", "1e3", "1 2", "9" * 400])
def test_what_is_no_time_is_refused(text):
    with pytest.raises(click.BadParameter, match="invalid time "):
        seconds(text)


@pytest.mark.parametrize(("text", "value"), [("5.00", 5), ("0", 0), (".04", 0.04)])
def test_amounts_are_read(text, value):
    assert dollars(text) == value
    assert type_price(f"inference.a=b.v1={text}") == ("inference.a=b.v1", value)


@pytest.mark.parametrize("text", ["", "-0.01", "nan", "inf", "$5", "1,000"])
def test_what_is_no_amount_is_refused(text):
    with pytest.raises(click.BadParameter, match="invalid amount of dollars"):
        dollars(text)
    with pytest.raises(click.BadParameter, match="invalid amount of dollars"):
        type_price(f"type={text}")


@pytest.mark.parametrize("text", ["", "0.04", "=0.04"])
def test_a_price_needs_a_type(text):
    with pytest.raises(click.BadParameter, match="is not TYPE=DOLLARS"):
        type_price(text)
