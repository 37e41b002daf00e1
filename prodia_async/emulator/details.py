"""Small things in scenes, and weather that lies over them."""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING

from prodia_async.emulator.canvas import Canvas, depth
from prodia_async.emulator.palettes import FAR, HORIZON, LIGHT, SPOT

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_FIR = [(0, -1), (0.18, -0.62), (0.1, -0.64), (0.26, -0.32), (0.14, -0.34), (0.34, 0)]
_FIR += [(-x, y) for x, y in reversed(_FIR[1:])]
_BIRD = [(-1, -0.35), (-0.45, -0.55), (0, -0.05), (0.45, -0.55)]
_BIRD += [(1, -0.35), (0.45, -0.38), (0, 0.15), (-0.45, -0.38)]
_HULL = [(-1, 0), (1, 0), (0.65, 0.35), (-0.7, 0.35)]
_FISH = [(-1, -0.4), (-0.6, -0.08), (-0.2, -0.32), (0.3, -0.36), (0.8, -0.1), (1, 0)]
_FISH += [(x, -y) for x, y in reversed(_FISH[:-1])]
_CAMEL = [
    (-1, 0),
    (-0.8, -1),
    (-0.3, -0.9),
    (0, -1.5),
    (0.3, -0.9),
    (0.8, -1),
    (1.5, -1.7),
    (1.5, -1.4),
    (1, 0),
]


def fir(canvas: Canvas, x: float, y: float, size: float, tone: int) -> None:
    """Draw a fir that stands on a place."""
    canvas.figure(x, y, size, _FIR, tone)


def tree(canvas: Canvas, x: float, y: float, size: float, tone: int) -> None:
    """Draw a tree with a round crown."""
    canvas.figure(x, y, size, [(-0.05, 0), (-0.03, -0.6), (0.03, -0.6), (0.05, 0)], tone)
    for right, up, share in ((0, 0.85, 0.34), (-0.24, 0.65, 0.24), (0.24, 0.67, 0.26)):
        canvas.disc(*canvas.beside(x, y, size * right, -size * up), size * share, tone)


def flower(canvas: Canvas, x: float, y: float, size: float, tone: int) -> None:
    """Draw a flower with five petals."""
    start = canvas.chance.random()
    for petal in range(5):
        angle = start + petal * math.tau / 5
        place = canvas.beside(x, y, 0.7 * size * math.cos(angle), 0.7 * size * math.sin(angle))
        canvas.disc(*place, 0.6 * size, tone)
    canvas.disc(x, y, 0.45 * size, depth(0.8))


def house(canvas: Canvas, x: float, y: float, size: float) -> None:
    """Draw a house with a lit window."""
    canvas.figure(x, y, size, [(-0.5, 0.4), (-0.5, -0.4), (0.5, -0.4), (0.5, 0.4)], depth(0.9))
    canvas.figure(x, y, size, [(-0.65, -0.35), (0, -0.95), (0.65, -0.35)], depth(1))
    canvas.figure(x, y, size, [(-0.15, 0.1), (-0.15, -0.22), (0.15, -0.22), (0.15, 0.1)], SPOT)


def snow_cap(canvas: Canvas, line: list[tuple[float, float]], level: float) -> None:
    """Whiten what of a jagged line rises above a level."""
    for above, run in itertools.groupby(line, key=lambda place: place[1] < level):
        places = list(run)
        if above and len(places) > 1:
            chance = canvas.chance
            feet = [(x, min(level, y + chance.uniform(0.01, 0.08))) for x, y in places[1:-1]]
            canvas.shape([*places, *reversed(feet)], LIGHT)


def boat(canvas: Canvas, x: float, y: float, size: float) -> None:
    """Draw a sailing boat."""
    canvas.figure(x, y, size, _HULL, depth(0.95))
    canvas.figure(x, y, size, [(-0.06, -0.1), (-0.06, -1.6), (-0.8, -0.1)], LIGHT)
    canvas.figure(x, y, size, [(0.06, -0.1), (0.06, -1.9), (0.95, -0.1)], SPOT)


def lighthouse(canvas: Canvas, x: float, y: float) -> None:
    """Draw a lighthouse on a rock, and its beam."""
    _, top = canvas.beside(x, y, 0, -0.4)
    far = 1.2 * (1 - x) - 0.1
    canvas.shape([(x, top), (far, top - 0.09), (far, top + 0.05)], HORIZON + 14)
    canvas.figure(x, y, 0.4, [(-0.14, 0.05), (-0.08, -1), (0.08, -1), (0.14, 0.05)], LIGHT)
    for high in (0.2, 0.5, 0.8):
        canvas.figure(
            x, y, 0.4, [(-0.13, -high + 0.12), (-0.12, -high), (0.12, -high), (0.13, -high + 0.12)], SPOT
        )
    canvas.figure(x, y, 0.4, [(-0.1, -1), (-0.08, -1.12), (0, -1.2), (0.08, -1.12), (0.1, -1)], depth(0.9))
    canvas.disc(x, top, 0.02, SPOT)
    canvas.disc(x, y + 0.02, 0.16, depth(0.8), 0.35)


def tower_top(canvas: Canvas, x: float, top: float, width: float, tone: int) -> None:
    """Draw what stands on a house: a gable, a mast, a step, or nothing."""
    kind = canvas.chance.choice(("gable", "mast", "step", "flat"))
    middle = x + width / 2
    if kind == "gable":
        canvas.shape([(x, top), (middle, top - width * 0.8), (x + width, top)], tone)
    elif kind == "mast":
        canvas.line([(middle, top), (middle, top - 0.09)], 0.006, tone)
    elif kind == "step":
        canvas.box(x + width * 0.2, top - 0.03, x + width * 0.8, top, tone)


def windows(canvas: Canvas, x: float, top: float, width: float) -> None:
    """Light some windows of a house."""
    columns, rows = 4, 9
    for place in canvas.chance.sample(range(columns * rows), 13):
        left = x + width * (0.14 + 0.2 * (place % columns))
        upper = top + 0.025 + 0.042 * (place // columns)
        canvas.box(left, upper, left + width * 0.1, upper + 0.02, SPOT if place % 3 else LIGHT)


def camel(canvas: Canvas, x: float, y: float) -> None:
    """Draw a camel, far away."""
    canvas.figure(x, y, 0.026, _CAMEL, depth(0.95))


def cactus(canvas: Canvas, x: float, y: float, size: float) -> None:
    """Draw a cactus."""
    for points, share in (
        ([(0, 0), (0, -1)], 0.16),
        ([(0, -0.35), (-0.28, -0.35), (-0.28, -0.67)], 0.12),
        ([(0, -0.5), (0.28, -0.5), (0.28, -0.82)], 0.12),
    ):
        line = [canvas.beside(x, y, size * right, size * down) for right, down in points]
        canvas.line(line, size * share, depth(0.97))
        canvas.disc(*line[-1], size * share / 2, depth(0.97))


def fish(canvas: Canvas, place: tuple[float, float], size: float, tone: int) -> None:
    """Draw a fish that swims to the left or to the right."""
    way = canvas.chance.choice((-1, 1))
    canvas.figure(*place, size, [(way * right, down) for right, down in _FISH], tone)
    eye = canvas.beside(*place, way * size * 0.62, -size * 0.07)
    canvas.disc(*eye, size * 0.07, depth(1) if tone >= LIGHT else LIGHT)


def weed(canvas: Canvas, x: float, size: float) -> None:
    """Draw a weed that stands on the ground and sways."""
    line = [(x + 0.02 * math.sin(step * 0.9 + x * 9), 1 - size * step / 10) for step in range(11)]
    canvas.line(line, 0.014, depth(0.9))
    for place in line[2::2]:
        canvas.disc(*place, 0.016, depth(0.9), 0.6)


def books(canvas: Canvas, bottom: float) -> None:
    """Draw a row of books, with a gap here and there."""
    x, chance = 0.03, canvas.chance
    for _ in range(40):
        width = chance.uniform(0.012, 0.03)
        tone = chance.choice((SPOT, depth(0), depth(0.3), HORIZON, depth(0.55)))
        canvas.box(x, bottom - chance.uniform(0.07, 0.12), x + width, bottom, tone)
        x += width + chance.choice((0.004,) * 7 + (0.1,))
    canvas.box(0, bottom, 1, bottom + 0.014, depth(0.3))


def lamp(canvas: Canvas, x: float, bottom: float) -> None:
    """Draw a lamp that is lit."""
    _, y = canvas.beside(x, bottom, 0, -0.24)
    canvas.glow(x, y, 0.34, FAR, floor=0)
    canvas.line([(x, bottom), (x, y)], 0.012, depth(0.2))
    canvas.figure(x, y, 0.1, [(-0.45, -0.5), (0.45, -0.5), (0.8, 0.3), (-0.8, 0.3)], SPOT)


def snow(canvas: Canvas) -> None:
    """Let snow fall."""
    for _ in range(110):
        canvas.disc(canvas.chance.random(), canvas.chance.random(), canvas.chance.uniform(0.003, 0.01), LIGHT)


def rain(canvas: Canvas) -> None:
    """Let rain fall."""
    for _ in range(80):
        x, y, size = canvas.chance.random(), canvas.chance.random(), canvas.chance.uniform(0.03, 0.09)
        canvas.line([(x, y), (x - size * 0.25, y + size)], 0.003, HORIZON + 12)


def lights(canvas: Canvas) -> None:
    """Let small lights float."""
    for _ in range(28):
        x, y = canvas.chance.random(), canvas.chance.uniform(0.35, 0.95)
        canvas.glow(x, y, 0.06, FAR, floor=0)
        canvas.disc(x, y, 0.008, SPOT)


def birds(canvas: Canvas) -> None:
    """Draw a flock of birds."""
    x, y = canvas.chance.uniform(0.2, 0.7), canvas.chance.uniform(0.12, 0.3)
    for _ in range(7):
        place = (x + canvas.chance.uniform(-0.14, 0.2), y + canvas.chance.uniform(-0.08, 0.1))
        canvas.figure(*place, canvas.chance.uniform(0.018, 0.034), _BIRD, depth(0.8))


def balloon(canvas: Canvas) -> None:
    """Draw a hot-air balloon."""
    x, y, size = (
        canvas.chance.uniform(0.2, 0.8),
        canvas.chance.uniform(0.2, 0.34),
        canvas.chance.uniform(0.09, 0.14),
    )
    canvas.figure(x, y, size, [(-0.9, 0.4), (0.9, 0.4), (0.24, 1.3), (-0.24, 1.3)], SPOT)
    canvas.disc(x, y, size, SPOT, 1.05)
    canvas.disc(x, y, size * 0.62, LIGHT, 1.69)
    canvas.disc(x, y, size * 0.24, SPOT, 4.3)
    canvas.figure(x, y, size, [(-0.2, 1.45), (0.2, 1.45), (0.16, 1.75), (-0.16, 1.75)], depth(0.8))


WEATHER: Mapping[str, Callable[[Canvas], None]] = {
    each.__name__: each for each in (snow, rain, lights, birds, balloon)
}
