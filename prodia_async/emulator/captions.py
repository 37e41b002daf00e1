"""Captions: the seed and the prompt on a dark band, in whatever letters this machine's fonts have."""

from __future__ import annotations

import bisect
import functools
import math
import re
import unicodedata
from typing import NamedTuple

from PIL import Image, ImageDraw, ImageFont

# Found by name in the system's folders. The last resort is Pillow's own font, which has little but ASCII.
_FONTS = (
    "DejaVuSans.ttf",
    "NotoSans-Regular.ttf",
    "LiberationSans-Regular.ttf",
    "Arial Unicode.ttf",
    "Arial.ttf",
    "NotoSansCJK-Regular.ttc",
    "YuGothM.ttc",
    "Hiragino Sans GB.ttc",
)
_LEAST_POINTS = 9
_MOST_LETTERS = 600
_LONGEST_WORD = 60
_BAND = (14, 14, 20)
_BAND_COVER = 205
_SEED_COVER = 190
_NO_LETTER = "\U0010ffff"
_ELLIPSIS = "..."
# Letters such as O with a stroke are no letter with a mark, but their names tell the bare one.
_LATIN = re.compile("LATIN (CAPITAL|SMALL) (?:LETTER|LIGATURE) ([A-Z]{1,2})(?: |$)")
_PLAIN = {
    "\N{LATIN SMALL LETTER SHARP S}": "ss",
    "\N{LEFT SINGLE QUOTATION MARK}": "'",
    "\N{RIGHT SINGLE QUOTATION MARK}": "'",
    "\N{LEFT DOUBLE QUOTATION MARK}": '"',
    "\N{RIGHT DOUBLE QUOTATION MARK}": '"',
    "\N{EN DASH}": "-",
    "\N{EM DASH}": "-",
}


class _Word(NamedTuple):
    """A word as it is drawn: a mask as high as a row, and how far to the next word."""

    mask: Image.Image
    advance: int


class Caption:
    """The caption of a picture of `size`, at most about `share` of its height.

    `height` is known before it is drawn. The size of the letters follows the picture's width and height;
    what does not fit of the prompt ends with an ellipsis.
    """

    def __init__(self, prompt: str, seed: int, size: tuple[int, int], share: float) -> None:
        width, height = size
        self._points = max(_LEAST_POINTS, round(min(width / 27, height / 15)))
        self._margin = max(2, self._points // 2)
        self._row_height = sum(FACES.metrics(self._points))
        room = width - 2 * self._margin
        most = max(2, int((height * share - self._margin) // self._row_height))
        words = _pieces(prompt[:_MOST_LETTERS], room, self._points)
        label = f"seed {seed}"
        self._seed = _fitting(
            label if _length(label, self._points) <= room else str(seed), room, self._points
        )
        self._rows = _wrapped(words, room, self._points, most - 1)
        self.height = self._row_height * (1 + len(self._rows)) + self._margin

    def draw_on(self, picture: Image.Image) -> None:
        """Darken the foot of an RGB picture and write on it."""
        letters = Image.new("L", (picture.width, self.height))
        for number, row in enumerate([[self._seed], *self._rows]):
            x, y = self._margin, self._margin // 2 + number * self._row_height
            for text in row:
                word = _word(text, self._points)
                letters.paste(255 if number else _SEED_COVER, (x, y), word.mask)
                x += word.advance
        box = (0, picture.height - self.height, *picture.size)
        picture.paste(_BAND, box, Image.new("L", letters.size, _BAND_COVER))
        picture.paste((255, 255, 255), box, letters)


def _pieces(prompt: str, room: float, points: int) -> list[str]:
    """Return the prompt's words; one that does not fit into a row, as in Japanese, is cut."""
    pieces = []
    for word in prompt.split():
        rest = word
        while rest:
            size = min(len(rest), _LONGEST_WORD)
            while size > 1 and _length(rest[:size], points) > room:
                size = size * 7 // 8
            pieces.append(rest[:size])
            rest = rest[size:]
    return pieces


def _wrapped(words: list[str], room: float, points: int, most: int) -> list[list[str]]:
    """Return the words in rows, at most so many."""
    rows: list[list[str]] = []
    left = 0.0
    for number, word in enumerate(words):
        length = _length(word, points)
        if length > left:
            if len(rows) == most:
                rows[-1] = [_fitting(" ".join((*rows[-1], *words[number:])), room, points)]
                break
            rows.append([])
            left = room
        rows[-1].append(word)
        left -= _length(word + " ", points)
    return rows


def _fitting(text: str, room: float, points: int) -> str:
    """Return a text, or as much of it as fits, with an ellipsis."""
    if _length(text, points) <= room:
        return text
    sizes = range(1, len(text))
    fitting = bisect.bisect_right(sizes, room, key=lambda size: _length(text[:size] + _ELLIPSIS, points))
    return text[:fitting].rstrip() + _ELLIPSIS


@functools.lru_cache(maxsize=4096)
def _word(text: str, points: int) -> _Word:
    """Return a drawn text. Kept, since drawing text anew was most of a picture's cost."""
    font, shown = FACES.shown(text, points)
    ascent, descent = FACES.metrics(points)
    left, _, right, _ = font.getbbox(shown)
    start = max(0, math.ceil(-left))
    mask = Image.new("L", (max(1, math.ceil(right) + start), ascent + descent))
    ImageDraw.Draw(mask).text((start, ascent), shown, font=font, fill=255, anchor="ls")
    return _Word(mask, start + math.ceil(_length(text + " ", points)))


@functools.lru_cache(maxsize=8192)
def _length(text: str, points: int) -> float:
    font, shown = FACES.shown(text, points)
    return font.getlength(shown)


class Faces:
    """The fonts of these names that this machine has, in their order, and Pillow's own."""

    def __init__(self, names: tuple[str, ...]) -> None:
        self._names = names

    @functools.cached_property
    def _found(self) -> list[str | None]:
        return [*filter(_is_there, self._names), None]

    def metrics(self, points: int) -> tuple[int, int]:
        """Return how far the letters of a size rise above their line, and how far they hang below it."""
        return _font(self._found[0], points).getmetrics()

    def shown(self, text: str, points: int) -> tuple[ImageFont.FreeTypeFont, str]:
        """Return a font and the text as it can be drawn: in plain letters where no font has its own."""
        text, first = unicodedata.normalize("NFC", text), self._found[0]
        if not text.isascii():
            for name in self._found:
                if all(_has(name, letter) for letter in text):
                    return _font(name, points), text
            text = "".join(letter if _has(first, letter) else plain(letter) for letter in text)
        return _font(first, points), text


FACES = Faces(_FONTS)


def plain(letter: str) -> str:
    """Return a letter in ASCII: without its accents, or `?`; nothing for a mark that only joins letters."""
    if unicodedata.category(letter) in ("Cc", "Cf", "Mn"):
        return ""
    named = _LATIN.match(unicodedata.name(letter, ""))
    if named is not None:
        return named[2] if named[1] == "CAPITAL" else named[2].lower()
    return (
        _PLAIN.get(letter)
        or unicodedata.normalize("NFKD", letter).encode("ascii", "ignore").decode().strip()
        or "?"
    )


@functools.lru_cache(maxsize=64)
def _font(name: str | None, points: int) -> ImageFont.FreeTypeFont:
    """Return a font in a size; the name None means Pillow's own."""
    if name is not None:
        return ImageFont.truetype(name, points, layout_engine=ImageFont.Layout.BASIC)
    font = ImageFont.load_default(points)
    if isinstance(font, ImageFont.FreeTypeFont):
        return font
    raise AssertionError("with a size, Pillow's own font is never the bitmap one")


def _is_there(name: str) -> bool:
    try:
        _font(name, _LEAST_POINTS)
    except OSError:
        return False
    return True


@functools.lru_cache(maxsize=8192)
def _has(name: str | None, letter: str) -> bool:
    """Whether a font has a letter: one that it has not looks like a code point that is no letter."""
    font = _font(name, 24)
    drawn, missing = font.getmask(letter), font.getmask(_NO_LETTER)
    return (drawn.size, bytes(drawn)) != (missing.size, bytes(missing))
