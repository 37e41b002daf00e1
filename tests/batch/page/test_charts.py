from __future__ import annotations

import re

import pytest
from batch.page.test_timeline import HOUR, sample

from prodia_async.batch.page.charts import BOTTOM, LEFT, RIGHT, TOP, charts, times
from prodia_async.batch.page.timeline import timeline


def drawn(samples):
    course = timeline(samples)
    assert course is not None
    return charts(course), times(course)


def points(path: str) -> list[tuple[float, float]]:
    return [(float(x), float(y)) for x, y in re.findall(r"[ML]([\d.]+) ([\d.]+)", path)]


def test_there_is_a_chart_for_each_figure():
    samples = [sample(at, 10 * at, shed=at, requests=11 * at, limit=8, dollars=at * 0.5) for at in range(11)]
    made, middles = drawn(samples)

    assert [(chart.title, chart.headline) for chart in made] == [
        ("Throughput", "10 jobs/s"),
        ("Concurrency limit", "8 at the end"),
        ("Shed (429)", "10 of 110 · 9%"),
        ("Dollars", "$5.00 · $1,800.00/h"),
    ]
    assert made[0].description == "Throughput in 10 s: 10 jobs/s; highest 10 jobs/s."
    assert [line.name for line in made[1].lines] == ["limit", "in flight"]
    assert middles[0] == "0.5 s"
    assert all(len(line.values) == len(middles) for chart in made for line in chart.lines)


def test_the_dollars_are_left_out_where_no_price_was_reported():
    made, _ = drawn([sample(0), sample(1)])

    assert "Dollars" not in [chart.title for chart in made]


@pytest.mark.parametrize("top", [0, 0.003, 1, 7, 99, 12_345, 9_999_999])
@pytest.mark.parametrize("seconds", [0.01, 0.4, 3, 59, 700, 5 * HOUR, 400 * HOUR])
def test_every_point_and_mark_lies_in_the_picture(top, seconds):
    steps = [sample(at * seconds / 9, limit=top, requests=at, dollars=top * at) for at in range(10)]
    made, _ = drawn(steps)

    for chart in made:
        for line in chart.lines:
            assert all(LEFT <= x <= RIGHT and TOP <= y <= BOTTOM for x, y in points(line.path))
        assert 2 <= len(chart.up) <= 4
        assert all(TOP <= tick.at <= BOTTOM for tick in chart.up)
        assert 1 <= len(chart.across) <= 5
        assert all(LEFT <= tick.at <= RIGHT for tick in chart.across)
        assert len({tick.label for tick in chart.across}) == len(chart.across)


def test_a_break_between_two_runs_is_marked():
    made, _ = drawn([*(sample(at) for at in range(11)), *(sample(HOUR + at) for at in range(11))])

    assert made[0].breaks == ((LEFT + RIGHT) / 2,)
