"""The charts: throughput, limit, shed and dollars over time, as shapes that a template draws as SVG."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from msgspec import Struct

from prodia_async.batch.page import figures

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from prodia_async.batch.page.timeline import Timeline

WIDTH, HEIGHT = 270, 130
LEFT, RIGHT, TOP, BOTTOM = 34, 264, 8, 108
_MARKS = 4
_STEPS_OF_TIME = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400)


class Tick(Struct, frozen=True):
    """A mark on an axis: where, and what stands beside it."""

    at: float
    label: str


class Line(Struct, frozen=True):
    """A line of a chart: its style ("main" or "second"), its name, its path in SVG, its values with units."""

    style: str
    name: str
    path: str
    values: tuple[str, ...]


class Chart(Struct, frozen=True):
    """A chart, ready to be drawn. `headline` is its one figure, `description` says in words what it shows."""

    title: str
    headline: str
    description: str
    area: str
    lines: tuple[Line, ...]
    across: tuple[Tick, ...]
    up: tuple[Tick, ...]
    breaks: tuple[float, ...]


def charts(timeline: Timeline) -> list[Chart]:
    """Return the charts of a batch; that of the dollars only where prices were reported."""
    seconds = max(timeline.seconds, 1e-9)
    mean = sum(timeline.throughput) / timeline.count
    share = timeline.total_shed / timeline.total_requests if timeline.total_requests else 0.0
    drawn = [
        _chart(
            timeline,
            "Throughput",
            f"{figures.amount(mean)} jobs/s",
            [("main", "jobs/s", timeline.throughput)],
            lambda value: f"{figures.amount(value)} jobs/s",
        ),
        _chart(
            timeline,
            "Concurrency limit",
            f"{figures.amount(timeline.limit[-1])} at the end",
            [("main", "limit", timeline.limit), ("second", "in flight", timeline.in_flight)],
            figures.amount,
        ),
        _chart(
            timeline,
            "Shed (429)",
            f"{figures.count(timeline.total_shed)} of {figures.count(timeline.total_requests)} · {share:.0%}",
            [("main", "shed/s", timeline.shed)],
            lambda value: f"{figures.amount(value)}/s",
        ),
    ]
    if timeline.dollars is not None:
        hourly = timeline.dollars[-1] * 3600 / seconds
        drawn.append(
            _chart(
                timeline,
                "Dollars",
                f"{figures.dollars(timeline.dollars[-1])} · {figures.dollars(hourly)}/h",
                [("main", "dollars", timeline.dollars)],
                figures.dollars,
            )
        )
    return drawn


def times(timeline: Timeline) -> list[str]:
    """Return the time at the middle of each span, in words, for reading values off the charts."""
    span = timeline.seconds / timeline.count
    return [figures.duration((number + 0.5) * span) for number in range(timeline.count)]


def _chart(
    timeline: Timeline,
    title: str,
    headline: str,
    series: Sequence[tuple[str, str, Sequence[float]]],
    say: Callable[[float], str],
) -> Chart:
    peak = max(max(values) for _, _, values in series)
    step = _nice(peak / 3 if peak > 0 else 1 / 3)
    top = step * max(1, math.ceil(round(peak / step, 6)))
    lines = tuple(
        Line(style, name, _path(values, top), tuple(map(say, values))) for style, name, values in series
    )
    first, highest = lines[0].path, max(series[0][2])
    return Chart(
        title=title,
        headline=headline,
        description=f"{title} in {figures.duration(timeline.seconds)}: {headline}; highest {say(highest)}.",
        area=f"{first}L{RIGHT} {BOTTOM}L{LEFT} {BOTTOM}Z",
        lines=lines,
        across=_across(timeline.seconds),
        up=tuple(
            Tick(_up(number * step, top), _axis_label(number * step, money=title == "Dollars"))
            for number in range(round(top / step) + 1)
        ),
        breaks=tuple(_x(at / timeline.seconds) for at in timeline.breaks),
    )


def _path(values: Sequence[float], top: float) -> str:
    """Return a line through the middle of each span, level at both ends."""
    middles = [(number + 0.5) / len(values) for number in range(len(values))]
    points = [(0.0, values[0]), *zip(middles, values, strict=True), (1.0, values[-1])]
    return "M" + "L".join(f"{_x(share):g} {_up(value, top):g}" for share, value in points)


def _x(share: float) -> float:
    return round(LEFT + share * (RIGHT - LEFT), 1)


def _up(value: float, top: float) -> float:
    return round(BOTTOM - (value / top) * (BOTTOM - TOP), 1)


def _across(seconds: float) -> tuple[Tick, ...]:
    """Return at most four marks of the time axis, at round times."""
    days = 86400 * _nice(max(1.0, seconds / _MARKS / 86400))
    step = next((step for step in _STEPS_OF_TIME if seconds / step < _MARKS), days)
    if seconds < step:
        step = _nice(seconds / 2)
    marks = [number * step for number in range(int(seconds / step) + 1)]
    return tuple(Tick(_x(mark / seconds), _time_label(mark)) for mark in marks)


def _time_label(seconds: float) -> str:
    return "0" if seconds == 0 else figures.duration(seconds)


def _axis_label(value: float, *, money: bool) -> str:
    return f"${figures.amount(value)}" if money and value else figures.amount(value)


def _nice(value: float) -> float:
    """Return the smallest of 1, 2, 2.5, 5 and 10 times a power of ten that is not below `value`."""
    power = 10.0 ** math.floor(math.log10(value))
    return next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor >= value * (1 - 1e-9))
