"""A picture of slots, capacity and sheds over time; drawn at twice its size and reduced."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from PIL import Image, ImageDraw, ImageFont

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Sequence

Points = list[tuple[float, float]]

SCALE = 2
SIZE = (1200, 640)
LEFT, RIGHT, TOP, SPLIT, LOW, BOTTOM = 84, 1172, 128, 440, 474, 574
BAR = 0.25  # seconds

PAPER, INK, FAINT, GRID = "#ffffff", "#1f2430", "#5b6270", "#e3e6ec"
CAPACITY, CAPACITY_EDGE, SHED = "#cfe3d8", "#6fa88a", "#d9552b"
FIRST, SECOND = "#1d5fd1", "#b8468f"


@dataclass(frozen=True)
class Line:
    label: str
    colour: str
    points: Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Figure:
    """Each series is (seconds, value); `shed` counts up. `every`: seconds between marks; `grid`: slots."""

    title: str
    subtitle: str
    seconds: float
    capacity: Sequence[tuple[float, float]]
    lines: Sequence[Line]
    shed: Sequence[tuple[float, float]] = ()
    every: int = 2
    grid: int = 16


def save(figure: Figure, path: pathlib.Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    _Drawing(figure).finished().save(path, optimize=True)


class _Drawing:
    def __init__(self, figure: Figure) -> None:
        self._figure = figure
        self._image = Image.new("RGB", (SIZE[0] * SCALE, SIZE[1] * SCALE), PAPER)
        self._draw = ImageDraw.Draw(self._image)
        self._seconds = math.ceil(figure.seconds)
        points = [*figure.capacity, *(point for line in figure.lines for point in line.points)]
        self._slots = _round_up(max(value for _, value in points), figure.grid)
        self._bars = _bars(figure.shed, self._seconds)
        self._most_shed = _round_up(max(self._bars), 10)
        self._split = SPLIT if figure.shed else BOTTOM

    def finished(self) -> Image.Image:
        self._text((LEFT, 20), self._figure.title, 30)
        self._text((LEFT, 60), self._figure.subtitle, 20, FAINT)
        self._axes()
        if self._figure.shed:
            self._shed()
        self._capacity()
        for line in self._figure.lines:
            self._line(_steps(line.points, self._figure.seconds), line.colour, 3)
        self._legend()
        return self._image.resize(SIZE, Image.Resampling.LANCZOS)

    # Places

    def _x(self, seconds: float) -> float:
        return LEFT + (RIGHT - LEFT) * seconds / self._seconds

    def _y(self, slots: float) -> float:
        return self._split - (self._split - TOP) * slots / self._slots

    def _y_shed(self, shed: float) -> float:
        return BOTTOM - (BOTTOM - LOW) * shed / self._most_shed

    # Marks

    def _axes(self) -> None:
        for slots in range(0, int(self._slots) + 1, self._figure.grid):
            self._rule(LEFT, self._y(slots), RIGHT, self._y(slots))
            self._text((LEFT - 12, self._y(slots)), str(slots), 20, FAINT, "rm")
        for second in range(0, self._seconds + 1, self._figure.every):
            self._rule(self._x(second), BOTTOM, self._x(second), BOTTOM + 6, FAINT)
            self._text((self._x(second), BOTTOM + 12), f"{second} s", 20, FAINT, "ma")
        self._text((LEFT, TOP - 12), "jobs at once", 20, FAINT, "ls")

    def _capacity(self) -> None:
        points = _steps(self._figure.capacity, self._figure.seconds)
        ground = [(points[0][0], 0.0), *points, (points[-1][0], 0.0)]
        self._draw.polygon([self._place(point) for point in ground], fill=CAPACITY)
        self._line(points, CAPACITY_EDGE, 2)

    def _shed(self) -> None:
        for shed in (0, self._most_shed):
            self._rule(LEFT, self._y_shed(shed), RIGHT, self._y_shed(shed))
            self._text((LEFT - 12, self._y_shed(shed)), f"{shed:g}", 20, FAINT, "rm")
        self._text((LEFT, LOW - 8), f"sheds (429) in each {BAR} s", 20, SHED, "ls")
        for index, count in enumerate(self._bars):
            if count:
                left, right = self._x(index * BAR) + 1, self._x((index + 1) * BAR) - 1
                self._box(left, self._y_shed(count), right, BOTTOM, SHED)

    def _legend(self) -> None:
        x, y = RIGHT, TOP - 20
        for line in reversed(self._figure.lines):
            x -= 10.5 * len(line.label)
            self._text((x, y), line.label, 20, INK, "lm")
            self._box(x - 38, y - 2, x - 10, y + 2, line.colour)
            x -= 60
        x -= 205
        self._text((x, y), "the service's capacity", 20, INK, "lm")
        self._box(x - 38, y - 9, x - 10, y + 9, CAPACITY)

    # Strokes

    def _place(self, point: tuple[float, float]) -> tuple[float, float]:
        return self._x(point[0]) * SCALE, self._y(point[1]) * SCALE

    def _line(self, points: Points, colour: str, width: int) -> None:
        self._draw.line([self._place(point) for point in points], colour, width * SCALE, joint="curve")

    def _rule(self, left: float, top: float, right: float, bottom: float, colour: str = GRID) -> None:
        self._draw.line([value * SCALE for value in (left, top, right, bottom)], colour, SCALE)

    def _box(self, left: float, top: float, right: float, bottom: float, colour: str) -> None:
        self._draw.rectangle([value * SCALE for value in (left, top, right, bottom)], colour)

    def _text(
        self, at: tuple[float, float], text: str, size: int, colour: str = INK, anchor: str = "la"
    ) -> None:
        font = ImageFont.load_default(size * SCALE)
        self._draw.text((at[0] * SCALE, at[1] * SCALE), text, colour, font, anchor)


def _steps(series: Sequence[tuple[float, float]], end: float) -> Points:
    """Return the corners of a value that holds until the next one."""
    corners = [series[0]]
    for at, value in [*series[1:], (end, series[-1][1])]:
        corners += [(at, corners[-1][1]), (at, value)]
    return corners


def _bars(counted: Sequence[tuple[float, float]], seconds: int) -> list[float]:
    bars = [0.0] * (int(seconds / BAR) + 1)
    before = 0.0
    for at, value in counted:
        bars[max(0, int(at / BAR))] += value - before
        before = value
    return bars


def _round_up(value: float, step: int) -> int:
    return max(step, math.ceil(value / step) * step)
