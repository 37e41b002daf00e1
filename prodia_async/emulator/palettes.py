"""Colours: a scene is drawn in 256 tones, and a palette says which colour each tone becomes."""

from __future__ import annotations

import colorsys
import functools
import itertools
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

    Colour = tuple[float, float, float]

# Tones of a scene, from dark to light; what lies between two of them is mixed from their colours.
NEAR, FAR, TOP, HORIZON, LIGHT, SPOT = 0, 95, 110, 205, 232, 255
_TURN = 7
_TURNS = (-2, -1, 0, 1, 2)

# The colours of near land, far land, the sky's top, its horizon, the light, and small bright things.
NIGHT = (
    "0b1026 3a4a7a 0a1440 5466a8 fff3c4 ffb347",
    "0a1a1f 24606b 062a3a 2fa39a e9fff1 9dff6e",
    "190a2b 5b2f7d 1a0b3f b0489b ffe6f7 ff6fae",
    "0d0d14 4a4a5e 11131f 7f8299 f4f1e8 f2c14e",
    "06140f 1f5a44 04201d 59a86b f6ffd9 ffd166",
    "1a0f14 6d3142 250b25 d1495b ffe8c9 ffd23f",
    "071528 2b5f8c 061a45 7aa7e0 ffffff ff8fa3",
    "140d26 43367e 0c1050 8a5fd1 e6f5ff 6ff2ff",
)
DUSK = (
    "2b1330 8a4468 3d2b6b ff8c61 fff0b8 ffd23f",
    "1d2b3a 7a5c6e 2e5077 ffb07c fff3d6 ff6b4a",
    "2a0f1c a0413f 7b2046 ffb238 fff4c2 fff07a",
    "123033 4f7f74 196070 f7c59f fff6dd ef6351",
    "281a45 8f6bb0 5b3fa0 ffa6c9 fff1f0 ffe066",
    "33180f b0603a a2382c ffd08a fffbe0 7ed0c6",
    "1b1f3b 5c6f9c 4b4e9e f3b6a6 fff7e6 ff5d73",
    "30201a 8c7a4e 8a5a2b f4d58d fffdf0 d64933",
)
DAY = (
    "1f4d3a 8fbf9a 3f8fd0 d6f0ff fffbe0 ff5a5f",
    "3b5d1c b9cf6a 2bb3c0 e8f9d8 fffde8 ff7f50",
    "5a3a22 d8b078 3a9ad9 fff0cf ffffff d7263d",
    "12505b 7cc3c1 f28f79 fde7c8 fffaf0 ffca3a",
    "6b2d5c d19ac0 f7a8b8 fff0e6 ffffff 3fa7d6",
    "234e70 94b8d6 fbd46d fff6dd ffffff e84855",
    "7a3b1e e6a15c f6c945 fff3c9 ffffff 2a9d8f",
    "2f4858 a8c0c8 9bb8c9 f5efe6 ffffff f26419",
    "275d38 9dc88d f3a25f ffe9c7 fffef5 9b2fae",
    "4a2c6f b7a0dc 6fb1e8 f7e3ff ffffff ff9f1c",
)


class Inks(NamedTuple):
    """Three colours of one print, each lighter than the one before it."""

    dark: str
    middle: str
    light: str


def inks(hue: float, distance: float) -> Inks:
    """Return three colours; `hue` is the dark one's, from 0 to 1, and `distance` leads to the light one's."""
    return Inks(
        _hex(colorsys.hsv_to_rgb(hue % 1, 0.85, 0.30)),
        _hex(colorsys.hsv_to_rgb((hue + distance / 2) % 1, 0.70, 0.72)),
        _hex(colorsys.hsv_to_rgb((hue + distance) % 1, 0.22, 1.0)),
    )


@functools.lru_cache(maxsize=512)
def scene_table(palette: str, turn: int) -> bytes:
    """Return the colours of the 256 tones, as Pillow's palettes have them; `turn` moves the hues a little."""
    angle = _TURNS[turn % len(_TURNS)] * _TURN / 360
    colours = [_turned(_colour(word), angle) for word in palette.split()]
    return _table(tuple(zip((NEAR, FAR, TOP, HORIZON, LIGHT, SPOT), colours, strict=True)))


@functools.lru_cache(maxsize=512)
def tone_table(colours: Sequence[str]) -> bytes:
    """Return a table that leads from the first to the last of the colours in even steps."""
    last = len(colours) - 1
    return _table([(round(255 * n / last), _colour(word)) for n, word in enumerate(colours)])


def _table(stops: Sequence[tuple[int, Colour]]) -> bytes:
    table = bytearray()
    for (start, first), (end, second) in itertools.pairwise(stops):
        for step in range(end - start):
            share = step / (end - start)
            table += bytes(round(255 * (a + (b - a) * share)) for a, b in zip(first, second, strict=True))
    return bytes(table + bytes(round(255 * value) for value in stops[-1][1]))


def _colour(word: str) -> Colour:
    red, green, blue = bytes.fromhex(word.removeprefix("#"))
    return red / 255, green / 255, blue / 255


def _hex(colour: Colour) -> str:
    return "#" + bytes(round(255 * value) for value in colour).hex()


def _turned(colour: Colour, angle: float) -> Colour:
    hue, saturation, value = colorsys.rgb_to_hsv(*colour)
    return colorsys.hsv_to_rgb((hue + angle) % 1, saturation, value)
