"""What is drawn: land or sea under a wide sky, by a prompt and a seed, and both in words below it."""

from __future__ import annotations

import bisect
import functools
import math
import random
import re
import sys
import unicodedata
from pathlib import Path
from typing import TypeAlias

from PIL import Image, ImageColor, ImageDraw, ImageFont, ImageOps

_Colour: TypeAlias = tuple[int, ...]
_Line: TypeAlias = list[tuple[float, float]]

# The sky's top, its horizon, the light, far land and near land.
_NIGHT = (
    "0a1440 5466a8 fff3c4 3a4a7a 0b1026", "062a3a 2fa39a e9fff1 24606b 0a1a1f",
    "1a0b3f b0489b ffe6f7 5b2f7d 190a2b", "0c1050 8a5fd1 e6f5ff 43367e 140d26",
    "250b25 d1495b ffe8c9 6d3142 1a0f14", "04201d 59a86b f6ffd9 1f5a44 06140f",
)  # fmt: skip
_DAY = (
    "7b2046 ffb238 fff4c2 a0413f 2a0f1c", "196070 f7c59f fff6dd 4f7f74 123033",
    "5b3fa0 ffa6c9 fff1f0 8f6bb0 281a45", "3f8fd0 d6f0ff fffbe0 8fbf9a 1f4d3a",
    "2bb3c0 e8f9d8 fffde8 b9cf6a 3b5d1c", "3a9ad9 fff0cf ffffff d8b078 5a3a22",
    "f28f79 fde7c8 fffaf0 7cc3c1 12505b", "f7a8b8 fff0e6 ffffff d19ac0 6b2d5c",
)  # fmt: skip
_DARK = re.compile(r"\b(night|moon|stars?\b|midnight|aurora|neon|comet|planet|asleep|firef)", re.IGNORECASE)
_WET = re.compile(r"\b(sea|harbour|coast|ferry|boat|ship|wave|island|river|lake|ocean|whale)", re.IGNORECASE)
_SMOOTH = 1_000_000  # pixels: a smaller scene is drawn twice as large and made smaller, for smooth edges
_FOLDERS = {
    "darwin": ("/System/Library/Fonts", "/Library/Fonts", "~/Library/Fonts"),
    "win32": ("C:/Windows/Fonts",),
}.get(sys.platform, ("/usr/share/fonts", "/usr/local/share/fonts", "~/.local/share/fonts", "~/.fonts"))
_PLAIN = ("DejaVuSans.ttf", "NotoSans-Regular.ttf", "LiberationSans-Regular.ttf", "Arial.ttf")
_MOST_FONTS, _MOST_LETTERS, _LEAST_POINTS = 400, 600, 9


def drawn(prompt: str, seed: int, size: tuple[int, int]) -> Image.Image:
    """Return a picture of `size`: a scene made up from the prompt and the seed, and a caption."""
    caption, picture = Caption(prompt, seed, size, share=0.4), Image.new("RGB", size)
    picture.paste(paint(prompt, seed, (size[0], size[1] - caption.height)))
    caption.draw_on(picture)
    return picture


def paint(prompt: str, seed: int, size: tuple[int, int]) -> Image.Image:
    """Return an RGB picture of `size`, the same for the same prompt and seed."""
    own = f"{seed} {prompt}".encode("utf-8", "surrogatepass")  # bytes: the same on every machine
    factor = 2 if size[0] * size[1] < _SMOOTH else 1
    chance = random.Random(own)  # noqa: S311 - no secret
    return _Scene(prompt, chance, (size[0] * factor, size[1] * factor)).picture.reduce(factor)


class _Scene:
    """A picture in the making."""

    def __init__(self, prompt: str, chance: random.Random, size: tuple[int, int]) -> None:
        is_dark = bool(_DARK.search(prompt)) or chance.random() < 0.3  # noqa: PLR2004 - three in ten
        palette = chance.choice(_NIGHT if is_dark else _DAY).split()
        self.top, self.low, self.light, self.far, self.near = (ImageColor.getrgb("#" + c) for c in palette)
        self.chance, (self.width, self.height), self.unit = chance, size, min(size)
        self.horizon = chance.uniform(0.45, 0.62)
        self.picture = _shaded(self.top, self.low, size)
        self.draw = ImageDraw.Draw(self.picture)
        for _ in range(70 if is_dark else 0):
            x, y = chance.random() * self.width, chance.random() ** 1.5 * 0.6 * self.height
            self.draw.circle((x, y), self.unit * chance.choice((0.002, 0.003, 0.005)), self.light)
        self.sun = chance.uniform(0.15, 0.85) * self.width
        y = chance.uniform(0.16, self.horizon - 0.06) * self.height
        radius = chance.uniform(0.06, 0.12) * self.unit
        halo = Image.radial_gradient("L").point([max(0, 150 - far) for far in range(256)])
        halo = halo.resize((round(8 * radius) + 2,) * 2, Image.Resampling.BILINEAR)
        self.picture.paste(self.light, (round(self.sun) - halo.width // 2, round(y) - halo.width // 2), halo)
        self.draw.circle((self.sun, y), radius, self.light)
        (self._sea if _WET.search(prompt) or chance.random() < 0.3 else self._land)()  # noqa: PLR2004 - as above

    def _ridge(self, level: float, swing: float, roughness: float) -> _Line:
        """Return a wavy line across the picture, from the left to the right."""
        waves = [
            (n * self.chance.uniform(0.7, 1.3), self.chance.random() * 6.3, swing * n**-roughness / 2)
            for n in (3.8, 8.8, 19.5, 45.9, 94.9)
        ]
        heights = (level + sum(w * math.sin(p * x / 160 + s) for p, s, w in waves) for x in range(161))
        return [(x * self.width / 160, y * self.height) for x, y in enumerate(heights)]

    def _below(self, line: _Line, colour: _Colour) -> None:
        self.draw.polygon([*line, (self.width + 1, self.height + 1), (-1, self.height + 1)], colour)

    def _land(self) -> None:
        """Draw ridges behind ridges, each nearer and darker, and trees on those that are near."""
        count, roughness = self.chance.randint(4, 6), self.chance.choice((0.9, 1.4, 2.2))
        for share in (number / (count - 1) for number in range(count)):
            level = self.horizon + (0.94 - self.horizon) * share**1.2
            line = self._ridge(level, 0.16 - 0.07 * share, roughness + share)
            colour = _mixed(_mixed(self.far, self.low, 0.45 * (1 - share) ** 2), self.near, share)
            self._below(line, colour)
            for left, top in self.chance.sample(line, 30 if share > 0.4 and roughness > 1 else 0):  # noqa: PLR2004
                tall = self.unit * 0.09 * share * self.chance.uniform(0.5, 1.1)
                base, half = top + tall * 0.15, tall * 0.2
                self.draw.polygon([(left - half, base), (left, top - tall), (left + half, base)], colour)

    def _sea(self) -> None:
        """Draw water with the light on it, an island and a boat."""
        deep, horizon = _mixed(self.near, self.top, 0.35), round(self.horizon * self.height)
        self._below(self._ridge(self.horizon - 0.04, 0.12, 1.2), _mixed(self.far, self.low, 0.3))
        water = _shaded(_mixed(self.low, self.far, 0.5), deep, (self.width, self.height - horizon))
        self.picture.paste(water, (0, horizon))
        for share in ((number / 90) ** 1.6 for number in range(90)):
            y, spread = horizon + water.height * share, self.unit * (0.04 + 0.3 * share)
            x, half = self.sun + self.chance.gauss(0, 0.6) * spread, spread * self.chance.uniform(0.1, 0.5)
            colour = _mixed(self.light, self.low, self.chance.uniform(0.1, 0.7))
            self.draw.rectangle((x - half, y, x + half, y + self.unit * (0.002 + 0.006 * share)), colour)
        x, y = self.chance.uniform(0.2, 0.8), self.horizon + self.chance.uniform(0.08, 0.2)
        size, grey = self.unit * self.chance.uniform(0.09, 0.15), _mixed(self.light, self.far, 0.35)
        for tone, *shape in (
            (self.near, (-1, 0.2), (1, 0.2), (0.6, 0), (-0.6, 0)),
            (self.light, (-0.05, 0.3), (-0.75, 0.3), (-0.05, 1.8)),
            (grey, (0.05, 0.3), (0.6, 0.3), (0.05, 1.8)),
        ):
            places = [(x * self.width + size * right, y * self.height - size * up) for right, up in shape]
            self.draw.polygon(places, tone)


def _mixed(one: _Colour, other: _Colour, share: float) -> _Colour:
    return tuple(round(a + (b - a) * share) for a, b in zip(one, other, strict=True))


def _shaded(top: _Colour, low: _Colour, size: tuple[int, int]) -> Image.Image:
    shade = Image.linear_gradient("L").resize((1, 256))
    return ImageOps.colorize(shade, top, low).resize((max(1, size[0]), max(1, size[1])))


class Caption:
    """The caption of a picture of `size`, at most about `share` of its height; `height` is its band's.

    The letters' size follows the picture's; what does not fit of the prompt ends with an ellipsis.
    """

    def __init__(self, prompt: str, seed: int, size: tuple[int, int], share: float) -> None:
        points = max(_LEAST_POINTS, round(min(size[0] / 27, size[1] / 15)))
        text = " ".join(unicodedata.normalize("NFC", prompt[:_MOST_LETTERS]).split())
        name = _font_for("".join(sorted(set(text))))
        shown = "".join(letter if _has(name, letter) else plain(letter) for letter in text)
        self._font, self._margin = _font(name, points), max(2, points // 2)
        self._row = sum(self._font.getmetrics())
        room, most = size[0] - 2 * self._margin, int((size[1] * share - self._margin) // self._row)
        label = f"seed {seed}"
        label = label if self._font.getlength(label) <= room else str(seed)
        self._rows = [self._fitted(label, room, "...")]
        while shown:
            is_last = len(self._rows) >= max(1, most - 1)
            row = self._fitted(shown, room, "..." if is_last else "")
            if len(row) < len(shown) and not is_last and shown[len(row)] != " " and " " in row:
                row = row[: row.rindex(" ")]  # only a word that is longer than a row, as in Japanese, is cut
            self._rows.append(row)
            shown = "" if is_last else shown[len(row) :].lstrip()
        self.height: int = self._row * len(self._rows) + self._margin

    def _fitted(self, text: str, room: float, ellipsis: str) -> str:
        """Return a text, or as much of it as fits, with the ellipsis then."""
        if self._font.getlength(text) <= room:
            return text
        lengths = range(1, len(text))
        size = bisect.bisect_right(lengths, room, key=lambda n: self._font.getlength(text[:n] + ellipsis))
        return text[: max(1, size)].rstrip() + ellipsis

    def draw_on(self, picture: Image.Image) -> None:
        """Darken the foot of an RGB picture and write on it."""
        letters = Image.new("L", (picture.width, self.height))
        for number, row in enumerate(self._rows):
            place = (self._margin, self._margin // 2 + number * self._row)
            ImageDraw.Draw(letters).text(place, row, 255 if number else 190, self._font)
        box = (0, picture.height - self.height, *picture.size)
        picture.paste((14, 14, 20), box, Image.new("L", letters.size, 205))
        picture.paste((255, 255, 255), box, letters)


def plain(letter: str) -> str:
    """Return a letter in ASCII: without its accents, or `?`; nothing for a mark that only joins letters."""
    bare = unicodedata.normalize("NFKD", letter).encode("ascii", "ignore").decode().strip()
    return bare or ("" if unicodedata.category(letter) in ("Cc", "Cf", "Mn") else "?")


@functools.cache
def fonts() -> list[str]:
    """Return this machine's fonts: plain ones first, and at last Pillow's own, whose name is empty."""
    paths = (path for folder in _FOLDERS for path in Path(folder).expanduser().rglob("*.[to]t[fc]"))
    return [*map(str, sorted(paths, key=lambda path: (path.name not in _PLAIN, path))[:_MOST_FONTS]), ""]


@functools.lru_cache(maxsize=1024)
def _font_for(letters: str) -> str:
    """Return the first font that has all the letters, or the one that has most of them."""
    has_all = (name for name in fonts() if all(_has(name, letter) for letter in letters))
    return next(has_all, "") or max(fonts(), key=lambda name: sum(_has(name, letter) for letter in letters))


@functools.lru_cache(maxsize=512)
def _font(name: str, points: int) -> ImageFont.FreeTypeFont:
    font = ImageFont.truetype(name, points) if name else ImageFont.load_default(points)
    assert isinstance(font, ImageFont.FreeTypeFont)  # noqa: S101 - with a size, never the bitmap one
    return font


@functools.lru_cache(maxsize=65536)
def _has(name: str, letter: str) -> bool:
    """Whether a font has a letter: one that it has not looks like a code point that is no letter."""
    try:
        drawn, missing = (_font(name, 24).getmask(one) for one in (letter, "\U0010ffff"))
    except (OSError, UnicodeError):  # no font after all, or half of a surrogate pair
        return False
    return (drawn.size, bytes(drawn)) != (missing.size, bytes(missing))
