"""The course of a batch over time, from the samples that were taken while it ran.

Samples may be any number, unevenly spaced, from several runs with hours between them. Every figure is made a
curve that only grows (jobs ended, requests shed, the integral of the limit), and the means in between are its
differences: so nothing is lost or counted twice, however few points are drawn.
"""

from __future__ import annotations

from bisect import bisect_right
from itertools import pairwise
from statistics import median
from typing import TYPE_CHECKING

from msgspec import Struct

from prodia_async._stats import LimitChange

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from prodia_async.batch.journal import Sample

_MOST_POINTS = 80
_MOST_CHANGES = 200
_LONG = 60.0  # seconds without a sample in which, where samples were closer, the batch did not run
_NEAR = 3  # steps before and after, which tell how close samples were: it changes with a run's length


class Timeline(Struct, frozen=True):
    """Means over `count` equal spans of the `seconds` that the batch ran, and the money at the end of each.

    `throughput` counts ended jobs, `shed` and `requests` requests, each a second. `breaks` are the seconds at
    which the batch had stopped and was started again. `total_shed` and `total_requests` count all runs.
    `limits` are the last changes of job types' limits.
    """

    seconds: float
    breaks: tuple[float, ...]
    throughput: tuple[float, ...]
    in_flight: tuple[float, ...]
    limit: tuple[float, ...]
    shed: tuple[float, ...]
    requests: tuple[float, ...]
    dollars: tuple[float, ...] | None
    total_shed: int
    total_requests: int
    total_ended: int
    limits: tuple[LimitChange, ...] = ()

    @property
    def count(self) -> int:
        """How many spans there are."""
        return len(self.throughput)


def timeline(samples: Iterable[Sample], limits: Sequence[LimitChange] = ()) -> Timeline | None:
    """Return the course of the batch; None where the samples do not span any time."""
    ordered = sorted(samples, key=lambda sample: sample.at)
    times, breaks = _running_time(ordered)
    if len(times) < 2 or times[-1] <= 0:  # noqa: PLR2004 - a span has two ends
        return None
    count = min(_MOST_POINTS, len(times) - 1)
    edges = [times[-1] * number / count for number in range(count + 1)]

    def means(curve: Sequence[float]) -> tuple[float, ...]:
        values = [_at(times, curve, edge) for edge in edges]
        return tuple((after - before) / (times[-1] / count) for before, after in pairwise(values))

    ended = _growing([sample.done + sample.failed for sample in ordered])
    shed = _growing([sample.shed for sample in ordered])
    requests = _growing([sample.requests for sample in ordered])
    dollars = _known([sample.dollars for sample in ordered])
    return Timeline(
        seconds=times[-1],
        breaks=tuple(breaks),
        throughput=means(ended),
        in_flight=means(_integral(times, [sample.in_flight for sample in ordered])),
        limit=means(_integral(times, [sample.limit for sample in ordered])),
        shed=means(shed),
        requests=means(requests),
        dollars=None if dollars is None else tuple(_at(times, dollars, edge) for edge in edges[1:]),
        total_shed=int(shed[-1]),
        total_requests=int(requests[-1]),
        total_ended=int(ended[-1]),
        limits=tuple(limits[-_MOST_CHANGES:]),
    )


def _running_time(samples: Sequence[Sample]) -> tuple[list[float], list[float]]:
    """Return each sample's time since the start, long pauses left out, and where those were."""
    steps = [after.at - before.at for before, after in pairwise(samples)]
    times, breaks = [0.0], []
    for place, step in enumerate(steps):
        near = steps[max(0, place - _NEAR) : place] + steps[place + 1 : place + 1 + _NEAR]
        if step > max(_LONG, 10 * median(near or [step])):
            breaks.append(times[-1])
            times.append(times[-1])
        else:
            times.append(times[-1] + step)
    return times, breaks


def _growing(counts: Sequence[float]) -> list[float]:
    """Return counts that a new run may have begun again at zero as one that never falls."""
    total, curve = 0.0, []
    for before, now in pairwise([0, *counts]):
        total += now - before if now >= before else now
        curve.append(total)
    return curve


def _integral(times: Sequence[float], values: Sequence[float]) -> list[float]:
    curve = [0.0]
    for (start, end), (before, after) in zip(pairwise(times), pairwise(values), strict=True):
        curve.append(curve[-1] + (before + after) / 2 * (end - start))
    return curve


def _known(values: Sequence[float | None]) -> list[float] | None:
    """Return sums of money with the gaps filled by what was known before; None if none was ever known."""
    if all(value is None for value in values):
        return None
    curve, last = [], 0.0
    for value in values:
        last = last if value is None else value
        curve.append(last)
    return curve


def _at(times: Sequence[float], curve: Sequence[float], time: float) -> float:
    """Return a curve's value at a time, on a straight line between its points."""
    right = min(bisect_right(times, time), len(times) - 1)
    left = max(0, right - 1)
    span = times[right] - times[left]
    if span <= 0:
        return curve[right]
    share = min(1.0, (time - times[left]) / span)
    return curve[left] + share * (curve[right] - curve[left])
