"""A canvas of tones: what scenes are drawn on, in shares of its width and height."""

from __future__ import annotations

import functools
import itertools
import math
from typing import TYPE_CHECKING

from PIL import Image, ImageChops, ImageDraw

from prodia_async.emulator.palettes import FAR, HORIZON, LIGHT, NEAR, TOP

if TYPE_CHECKING:
    import random

_STEPS = 56
# The radial gradient has this tone in the middle of its edges, and more in its corners.
_HALO_RIM = 180


class Canvas:
    """A picture in tones (see `palettes`), and what most motifs are made of.

    Places are shares of the width and the height, from the top left; lengths are shares of `unit`, the
    shorter side. `chance` decides what the caller does not.
    """

    def __init__(self, size: tuple[int, int], chance: random.Random) -> None:
        self.width, self.height = size
        self.unit = min(size)
        self.chance = chance
        self.picture = Image.new("L", size, HORIZON)
        self._draw = ImageDraw.Draw(self.picture)

    def sky(self, bands: int = 0, horizon: float = 0.75) -> None:
        """Fill all with a sky that grows lighter down to the horizon; in so many bands, or smoothly."""
        height = max(1, round(self.height * horizon))
        self.picture.paste(_gradient(bands).resize((self.width, height), Image.Resampling.NEAREST), (0, 0))

    def stars(self, count: int) -> None:
        """Scatter stars over the upper part."""
        for _ in range(count):
            x, y = self.chance.random(), self.chance.random() ** 1.5 * 0.7
            self.disc(x, y, self.chance.choice((0.002, 0.003, 0.004, 0.006)), LIGHT)

    def glow(self, x: float, y: float, radius: float, tone: int = 222, floor: int = TOP) -> None:
        """Lighten the surroundings of a place; `floor` is the tone at the rim, 0 for a light on land."""
        side = max(2, round(2 * radius * self.unit))
        left, top = round(x * self.width) - side // 2, round(y * self.height) - side // 2
        halo = _halo(tone, floor).resize((side, side), Image.Resampling.NEAREST)
        box = (max(0, left), max(0, top), min(self.width, left + side), min(self.height, top + side))
        light = halo.crop((box[0] - left, box[1] - top, box[2] - left, box[3] - top))
        self.picture.paste(ImageChops.lighter(self.picture.crop(box), light), box)

    def sun(self, x: float, y: float, radius: float) -> None:
        """Draw a sun or a moon with its glow."""
        self.glow(x, y, radius * 4)
        self.disc(x, y, radius, LIGHT)

    def disc(self, x: float, y: float, radius: float, tone: int, height: float = 1) -> None:
        """Draw a filled circle, or an ellipse whose height is `height` times its width."""
        x, y, radius = x * self.width, y * self.height, radius * self.unit
        self._draw.ellipse((x - radius, y - radius * height, x + radius, y + radius * height), tone)

    def beside(self, x: float, y: float, right: float, down: float) -> tuple[float, float]:
        """Return the place that lies these lengths to the right of a place, and below it."""
        return x + right * self.unit / self.width, y + down * self.unit / self.height

    def shape(self, points: list[tuple[float, float]], tone: int) -> None:
        """Draw a filled polygon."""
        self._draw.polygon([(x * self.width, y * self.height) for x, y in points], tone)

    def figure(self, x: float, y: float, size: float, points: list[tuple[float, float]], tone: int) -> None:
        """Draw a polygon, never distorted: its points are shares of `size` away from a place."""
        x, y, size = x * self.width, y * self.height, size * self.unit
        self._draw.polygon([(x + size * right, y + size * down) for right, down in points], tone)

    def line(self, points: list[tuple[float, float]], thickness: float, tone: int) -> None:
        """Draw a line through places."""
        places = [(x * self.width, y * self.height) for x, y in points]
        self._draw.line(places, tone, max(1, round(thickness * self.unit)), joint="curve")

    def box(self, left: float, top: float, right: float, bottom: float, tone: int) -> None:
        """Draw a filled rectangle."""
        w, h = self.width, self.height
        self._draw.rectangle((left * w, top * h, right * w, bottom * h), tone)

    def ridge(self, level: float, swing: float, tone: int, waves: float = 1.0) -> list[tuple[float, float]]:
        """Fill what lies below a wavy line with a tone; return the line."""
        parts = [
            (waves * 2 * math.pi * (number + self.chance.random()), 6.3 * self.chance.random(), share)
            for number, share in ((0.5, 0.6), (1.5, 0.3), (3.5, 0.1))
        ]
        line = [
            (x, level + swing * sum(share * math.sin(pace * x + start) for pace, start, share in parts))
            for x in (step / _STEPS for step in range(_STEPS + 1))
        ]
        self.below(line, tone)
        return line

    def crag(self, level: float, swing: float, tone: int) -> list[tuple[float, float]]:
        """Fill what lies below a jagged line with a tone; return the line."""
        heights = [self.chance.uniform(-0.5, 0.5) for _ in range(3)]
        spread = 0.5
        while len(heights) < _STEPS:
            heights = [
                value
                for one, other in itertools.pairwise(heights)
                for value in (one, (one + other) / 2 + self.chance.uniform(-spread, spread))
            ] + heights[-1:]
            spread *= 0.52
        line = [(n / (len(heights) - 1), level + swing * value) for n, value in enumerate(heights)]
        self.below(line, tone)
        return line

    def below(self, line: list[tuple[float, float]], tone: int) -> None:
        """Fill what lies below a line that leads from the left to the right."""
        self.shape([*line, (1.01, 1.01), (-0.01, 1.01)], tone)


def depth(share: float) -> int:
    """Return the tone of land: 0 is far away, 1 is near."""
    return round(FAR + (NEAR - FAR) * share)


@functools.lru_cache(maxsize=16)
def _gradient(bands: int) -> Image.Image:
    steps = bands or 256
    span = HORIZON - TOP
    return (
        Image.linear_gradient("L")
        .resize((1, 256))
        .point([TOP + round(span * (tone * steps // 256) / (steps - 1)) for tone in range(256)])
    )


@functools.lru_cache(maxsize=16)
def _halo(tone: int, floor: int) -> Image.Image:
    """Return light that fades from a tone in the middle to `floor` at the rim of a disc."""
    span, rim = tone - floor, _HALO_RIM
    return Image.radial_gradient("L").point(
        [round(tone - span * far / rim) if far < rim else 0 for far in range(256)]
    )
