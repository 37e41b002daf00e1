"""What scenes show: each function draws one motif on a canvas that has its sky."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from PIL import Image

from prodia_async.emulator import details
from prodia_async.emulator.canvas import Canvas, depth
from prodia_async.emulator.palettes import HORIZON, LIGHT, SPOT, TOP

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
_FACE = TOP + 45
_WALL = depth(0.86)


def hills(canvas: Canvas) -> None:
    """Draw rolling hills under a sun, with trees and a house."""
    chance = canvas.chance
    canvas.sun(chance.uniform(0.2, 0.8), chance.uniform(0.2, 0.42), chance.uniform(0.06, 0.13))
    for layer in range(4):
        line = canvas.ridge(0.52 + 0.13 * layer, 0.09, depth(layer / 3.6), chance.uniform(0.7, 1.4))
        if layer in (1, 2):
            for x, y in chance.sample(line[4:-4], 5):
                details.tree(canvas, x, y + 0.01, 0.06 + 0.04 * layer, depth(layer / 3.6 + 0.12))
    x, y = chance.choice(line[12:-12])
    details.house(canvas, x, y - 0.02, 0.1)


def meadow(canvas: Canvas) -> None:
    """Draw a field of flowers before hills."""
    chance = canvas.chance
    canvas.sun(chance.uniform(0.15, 0.85), chance.uniform(0.18, 0.4), chance.uniform(0.07, 0.15))
    canvas.ridge(0.5, 0.08, depth(0.1))
    canvas.ridge(0.58, 0.05, depth(0.3))
    canvas.ridge(0.66, 0.04, depth(0.55))
    for number in range(60):
        row = number / 60
        size = 0.008 + 0.03 * row**1.5
        x, y = chance.random(), 0.66 + 0.33 * row + chance.uniform(0, 0.03)
        canvas.line(
            [(x, y), (x + chance.uniform(-0.01, 0.01), y + 0.14 * row + 0.03)], size * 0.22, depth(0.95)
        )
        details.flower(canvas, x, y, size, chance.choice((SPOT, SPOT, LIGHT)))


def mountains(canvas: Canvas) -> None:
    """Draw jagged mountains with snow on them, and firs below."""
    chance = canvas.chance
    canvas.sun(chance.uniform(0.15, 0.85), chance.uniform(0.14, 0.3), chance.uniform(0.05, 0.1))
    for layer in range(3):
        level = 0.42 + 0.14 * layer
        line = canvas.crag(level, 0.34 - 0.06 * layer, depth(layer / 4))
        if layer in (0, 1):
            details.snow_cap(canvas, line, level - 0.03)
    line = canvas.ridge(0.82, 0.04, depth(0.85))
    for x, y in chance.sample(line, 26):
        details.fir(canvas, x, y + 0.02, chance.uniform(0.08, 0.17), depth(0.9))
    x, y = chance.choice(line[12:-12])
    details.house(canvas, x, y, 0.08)


def sea(canvas: Canvas) -> None:
    """Draw waves, the light on them, and a sailing boat or a lighthouse."""
    chance = canvas.chance
    x, horizon = chance.uniform(0.2, 0.8), chance.uniform(0.46, 0.56)
    radius = chance.uniform(0.08, 0.16)
    canvas.sun(x, horizon - radius * chance.uniform(0.1, 1.6), radius)
    if chance.choice((True, False)):
        canvas.ridge(horizon - 0.01, 0.07, depth(0.05))
    canvas.box(0, horizon, 1, 1, depth(0.2))
    for row in range(16):
        y = horizon + 0.012 + row * (0.006 + 0.0016 * row)
        half = chance.uniform(0.2, 0.9) * (radius + 0.012 * row)
        canvas.box(x - half, y, x + half, y + 0.003 + 0.0004 * row, LIGHT - 4)
    if chance.choice((True, False)):
        details.boat(canvas, chance.uniform(0.2, 0.8), horizon + 0.07, chance.uniform(0.06, 0.12))
    else:
        details.lighthouse(canvas, chance.choice((0.16, 0.84)), horizon + 0.03)
    for layer in range(4):
        canvas.ridge(horizon + 0.14 + 0.1 * layer, 0.018, depth(0.38 + 0.19 * layer), 3.2 - 0.5 * layer)


def city(canvas: Canvas) -> None:
    """Draw rows of houses with lit windows."""
    chance = canvas.chance
    canvas.sun(chance.uniform(0.15, 0.85), chance.uniform(0.16, 0.4), chance.uniform(0.07, 0.14))
    for layer in range(3):
        x = chance.uniform(-0.08, 0)
        while x < 1:
            width = chance.uniform(0.06, 0.13)
            top = 0.32 + 0.17 * layer + chance.uniform(0, 0.22)
            tone = depth(0.1 + 0.4 * layer)
            canvas.box(x, top, x + width, 1, tone)
            details.tower_top(canvas, x, top, width, tone)
            if layer:
                details.windows(canvas, x, top, width)
            x += width + chance.choice((0, 0, 0.012))


def forest(canvas: Canvas) -> None:
    """Draw rows of trees in mist."""
    chance = canvas.chance
    canvas.sun(chance.uniform(0.25, 0.75), chance.uniform(0.22, 0.4), chance.uniform(0.08, 0.16))
    kind = chance.choice((details.fir, details.tree))
    for layer in range(4):
        tone = depth(layer / 3.2)
        line = canvas.ridge(0.56 + 0.12 * layer, 0.05, tone)
        for x, y in chance.sample(line, 20 - 4 * layer):
            size = (0.13 + 0.07 * layer) * chance.uniform(0.7, 1.3)
            kind(canvas, x, y + 0.02, size, tone)


def desert(canvas: Canvas) -> None:
    """Draw dunes, and a caravan or cactuses."""
    chance = canvas.chance
    canvas.sun(chance.uniform(0.2, 0.8), chance.uniform(0.25, 0.45), chance.uniform(0.1, 0.2))
    canvas.crag(0.52, 0.08, depth(0.0))
    for layer in range(4):
        line = canvas.ridge(0.56 + 0.11 * layer, 0.07, depth(0.12 + layer / 4), 0.8)
        shade = [(x, y + 0.03 + 0.05 * abs(math.sin(5 * x + layer))) for x, y in line]
        canvas.below(shade, depth(0.22 + layer / 4))
        if layer == 1:
            for x, y in line[20:48:4]:
                details.camel(canvas, x, y)
    for _ in range(2):
        details.cactus(
            canvas, chance.uniform(0.08, 0.92), chance.uniform(0.8, 0.9), chance.uniform(0.12, 0.2)
        )


def space(canvas: Canvas) -> None:
    """Draw planets, one with a ring, over a bare ground."""
    chance = canvas.chance
    canvas.stars(90)
    x, y, radius = chance.uniform(0.3, 0.7), chance.uniform(0.3, 0.42), chance.uniform(0.16, 0.24)
    canvas.glow(x, y, radius * 2.2, HORIZON + 8)
    canvas.disc(x, y, radius * 1.75, LIGHT, 0.24)
    canvas.disc(x, y, radius * 1.45, TOP + 25, 0.2)
    canvas.disc(x, y, radius, depth(0.1))
    canvas.disc(x - radius * 0.12, y - radius * 0.12, radius * 0.82, _FACE)
    canvas.disc(x - radius * 0.2, y - radius * 0.3, radius * 0.3, _FACE + 22, 0.5)
    canvas.shape(_front_of_ring(canvas, x, y, radius), LIGHT)
    canvas.disc(chance.choice((0.12, 0.88)), chance.uniform(0.12, 0.55), chance.uniform(0.03, 0.07), SPOT)
    canvas.crag(0.74, 0.1, depth(0.45))
    canvas.ridge(0.85, 0.05, depth(0.95))


def _front_of_ring(canvas: Canvas, x: float, y: float, radius: float) -> list[tuple[float, float]]:
    """Return the part of a ring that lies before its planet."""
    turns = [math.pi * step / 24 for step in range(25)]
    outer, inner = (
        [
            canvas.beside(x, y, radius * wide * math.cos(turn), radius * high * math.sin(turn))
            for turn in turns
        ]
        for wide, high in ((1.75, 0.42), (1.45, 0.29))
    )
    return [*outer, *reversed(inner)]


def clouds(canvas: Canvas) -> None:
    """Draw a sea of clouds, and a balloon over it."""
    chance = canvas.chance
    canvas.sun(chance.uniform(0.2, 0.8), chance.uniform(0.2, 0.45), chance.uniform(0.08, 0.16))
    canvas.crag(0.6, 0.3, depth(0.15))
    for layer in range(4):
        tone, y = LIGHT - 4 - 22 * layer, 0.64 + 0.1 * layer
        for step in range(9):
            x = step / 8 + chance.uniform(-0.05, 0.05)
            canvas.disc(x, y + chance.uniform(0, 0.05), chance.uniform(0.07, 0.15), tone, 0.62)
        canvas.box(0, y + 0.03, 1, 1, tone)
    details.balloon(canvas)


def room(canvas: Canvas) -> None:
    """Draw a view through arched windows, a shelf of books and a lamp."""
    chance = canvas.chance
    chance.choice((hills, city, mountains, sea))(canvas)
    count = max(1, round(2 * canvas.width / canvas.height))
    for number in range(count):
        _window(canvas, number / count, 1 / count)
    canvas.box(0, 0.72, 1, 1, _WALL)
    details.books(canvas, 0.9)
    details.lamp(canvas, chance.uniform(0.15, 0.85), 0.9)


def _window(canvas: Canvas, left: float, width: float) -> None:
    """Draw the wall around a window, and its bars."""
    start, end, middle = left + 0.14 * width, left + 0.86 * width, left + width / 2
    rise = min(0.24, (end - middle) * canvas.width / canvas.height)
    turns = [math.pi * step / 16 for step in range(17)]
    arch = [(middle - (end - middle) * math.cos(turn), 0.32 - rise * math.sin(turn)) for turn in turns]
    edges = (left - 0.01, left + width + 0.01)
    canvas.shape([(edges[0], -0.01), (edges[0], 0.32), *arch, (edges[1], 0.32), (edges[1], -0.01)], _WALL)
    canvas.box(edges[0], 0.3, start, 1, _WALL)
    canvas.box(end, 0.3, edges[1], 1, _WALL)
    canvas.line([(middle, 0.05), (middle, 0.74)], 0.008, _WALL)
    canvas.line([(start, 0.46), (end, 0.46)], 0.008, _WALL)


def water(canvas: Canvas) -> None:
    """Draw fish under water, rays of light, and weeds."""
    chance = canvas.chance
    canvas.picture.paste(canvas.picture.transpose(Image.Transpose.FLIP_TOP_BOTTOM))
    canvas.glow(0.5, 0, 0.9, HORIZON)
    for number in range(5):
        x = number / 5 + chance.uniform(0, 0.1)
        canvas.shape([(x, 0), (x + 0.05, 0), (x + 0.01, 0.7), (x - 0.12, 0.7)], HORIZON - 14)
    canvas.ridge(0.74, 0.06, depth(0.15))
    for number in range(12):
        size = chance.uniform(0.03, 0.13) if number else chance.uniform(0.2, 0.28)
        tone = chance.choice((SPOT, LIGHT, depth(0.5), depth(0.7))) if number else depth(0.75)
        x, y = chance.uniform(0.1, 0.9), chance.uniform(0.15, 0.72)
        details.fish(canvas, (x, y), size, tone)
    canvas.ridge(0.86, 0.04, depth(0.6))
    for _ in range(9):
        details.weed(canvas, chance.random(), chance.uniform(0.15, 0.4))


MOTIFS: Mapping[str, Callable[[Canvas], None]] = {
    each.__name__: each
    for each in (hills, meadow, mountains, sea, city, forest, desert, space, clouds, room, water)
}
