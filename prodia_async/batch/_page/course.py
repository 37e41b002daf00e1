"""The course of a batch over time, from the samples that were taken while it ran.

Samples may be any number, unevenly spaced, of several folders, from several runs with hours between them.
Every figure is made a curve that only grows (jobs ended, requests shed, the integral of the limit), and the
means in between are its differences: so nothing is lost or counted twice, however few points are drawn.
"""

from __future__ import annotations

from bisect import bisect_right
from itertools import accumulate, pairwise
from statistics import median
from typing import TYPE_CHECKING

from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from prodia_async.batch._journal import Sample

_MOST_POINTS = 80
_LONG = 60.0  # seconds without a sample in which, where samples were closer, the batch did not run
_NEAR = 3  # steps before and after, which tell how close samples were: it changes with a run's length


class Course(Struct, frozen=True):
    """Means over equal spans of the `seconds` that the batch ran, and the money at the end of each span.

    `throughput` counts ended jobs, `shed` requests, each a second. `breaks` are the seconds at which the
    batch had stopped and was started again. `total_shed` and `total_requests` count all runs.
    """

    seconds: float
    breaks: tuple[float, ...]
    throughput: tuple[float, ...]
    in_flight: tuple[float, ...]
    limit: tuple[float, ...]
    shed: tuple[float, ...]
    dollars: tuple[float, ...] | None
    total_shed: int
    total_requests: int


def course(batches: Iterable[Iterable[Sample]]) -> Course | None:
    """Return the course of some batches together; None where their samples do not span any time."""
    ordered = [sorted(batch, key=lambda sample: sample.at) for batch in batches]
    moments = sorted(sample.at for batch in ordered for sample in batch)
    steps = _steps(moments)
    running = list(accumulate(steps, initial=0.0))
    if running[-1] <= 0:
        return None
    count = min(_MOST_POINTS, len(steps))
    edges = [_at(running, moments, running[-1] * number / count) for number in range(count)]
    curves = [_Curves(batch) for batch in ordered if batch]

    def along(name: str) -> list[float]:
        """Return the sum of the batches' curves at each edge."""
        return [sum(curve.at(name, edge) for curve in curves) for edge in (*edges, moments[-1])]

    def means(name: str) -> tuple[float, ...]:
        return tuple((after - before) * count / running[-1] for before, after in pairwise(along(name)))

    return Course(
        seconds=running[-1],
        breaks=tuple(
            at
            for at, step, (before, after) in zip(running, steps, pairwise(moments), strict=False)
            if step == 0 and before != after
        ),
        throughput=means("ended"),
        in_flight=means("in_flight"),
        limit=means("limit"),
        shed=means("shed"),
        dollars=tuple(along("dollars")[1:]) if any(curve.has_prices for curve in curves) else None,
        total_shed=round(along("shed")[-1]),
        total_requests=round(along("requests")[-1]),
    )


class _Curves:
    """What one batch came to, as curves that never fall."""

    def __init__(self, samples: Sequence[Sample]) -> None:
        self._times = [sample.at for sample in samples]
        self.has_prices = any(sample.dollars is not None for sample in samples)
        steps = _steps(self._times)
        self._curves = {
            "ended": _growing(sample.done + sample.failed for sample in samples),
            "shed": _growing(sample.shed for sample in samples),
            "requests": _growing(sample.requests for sample in samples),
            "in_flight": _integral(steps, [sample.in_flight for sample in samples]),
            "limit": _integral(steps, [sample.limit for sample in samples]),
            "dollars": list(accumulate((sample.dollars or 0.0 for sample in samples), max)),
        }

    def at(self, name: str, moment: float) -> float:
        return _at(self._times, self._curves[name], moment)


def _steps(times: Sequence[float]) -> list[float]:
    """Return the seconds between each two times, none for a pause in which the batch did not run."""
    steps = [after - before for before, after in pairwise(times)]

    def is_pause(place: int) -> bool:
        near = steps[max(0, place - _NEAR) : place] + steps[place + 1 : place + 1 + _NEAR]
        return steps[place] > max(_LONG, 10 * median(near or [steps[place]]))

    return [0.0 if is_pause(place) else step for place, step in enumerate(steps)]


def _growing(counts: Iterable[float]) -> list[float]:
    """Return counts that a new run may have begun again at zero as one that never falls."""
    grown = (now - before if now >= before else now for before, now in pairwise((0.0, *counts)))
    return list(accumulate(grown))


def _integral(steps: Sequence[float], values: Sequence[float]) -> list[float]:
    areas = (
        (before + after) / 2 * step for step, (before, after) in zip(steps, pairwise(values), strict=True)
    )
    return list(accumulate(areas, initial=0.0))


def _at(times: Sequence[float], curve: Sequence[float], time: float) -> float:
    """Return a curve's value at a time, on a straight line between its points, level outside of them."""
    right = min(bisect_right(times, time), len(times) - 1)
    left = max(0, right - 1)
    span = times[right] - times[left]
    if span <= 0:
        return curve[right]
    share = min(1.0, (time - times[left]) / span)
    return curve[left] + share * (curve[right] - curve[left])
