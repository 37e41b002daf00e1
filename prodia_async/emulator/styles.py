"""Styles: what a picture that was sent is made into. Each keeps its lights light and its darks dark."""

from __future__ import annotations

import functools
import math
import re
from typing import TYPE_CHECKING, NamedTuple

from PIL import Image, ImageChops, ImageFilter, ImageOps

from prodia_async.emulator.palettes import inks, tone_table

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from prodia_async.emulator.palettes import Inks

_LEAST_BRIGHTNESS = 88
_TABLE = range(256)
# From the hue of the shadows to that of the lights: near to it, further, opposite, and the other way.
_DISTANCES = (0.12, 0.34, 0.5, -0.2)


class Prepared(NamedTuple):
    """A picture as the styles take it: in RGB, and in grey tones from black to white."""

    colour: Image.Image
    grey: Image.Image


def prepare(picture: Image.Image) -> Image.Image:
    """Return an RGB picture with its brightness in a fourth channel, stretched; a dark one is lifted."""
    grey = ImageOps.autocontrast(picture.convert("L"), cutoff=0.5)
    average = grey.resize((1, 1), Image.Resampling.BOX).tobytes()[0]
    exponent = 1.0
    if average < _LEAST_BRIGHTNESS:
        exponent = max(0.5, math.log(_LEAST_BRIGHTNESS / 255) / math.log(max(2, average) / 255))
    lifted = [round(255 * (tone / 255) ** exponent) for tone in _TABLE]
    result = picture.point(lifted * 3)
    result.putalpha(grey.point(lifted))
    return result


def restyled(prepared: Image.Image, prompt: str, seed: int) -> Image.Image:
    """Return a prepared picture as RGB: its style by the prompt or else the seed, its colours by the seed."""
    words = re.findall(r"\w+", prompt[:1000].lower())
    named = next((_WORDS[word] for word in words if word in _WORDS), None)
    style = named or _STYLES[seed % len(_STYLES)]
    # The golden section spreads neighbouring seeds over all hues.
    hue = seed * 0.618034 % 1
    colours = inks(hue, _DISTANCES[seed // len(_STYLES) % len(_DISTANCES)])
    return style(Prepared(prepared.convert("RGB"), prepared.getchannel("A")), colours)


def duotone(prepared: Prepared, colours: Inks) -> Image.Image:
    """Print in two inks on light paper."""
    return _toned(prepared.grey, colours)


def poster(prepared: Prepared, colours: Inks) -> Image.Image:
    """Print a few flat areas of colour."""
    soft = prepared.grey.filter(ImageFilter.BoxBlur(1.5))
    return _toned(soft.point([tone // 64 * 85 for tone in _TABLE]), colours)


def ink(prepared: Prepared, colours: Inks) -> Image.Image:
    """Draw dark outlines over flat colours."""
    areas = prepared.colour.reduce(3).resize(prepared.grey.size, Image.Resampling.BILINEAR)
    flat = areas.point([60 + (tone & 0xC0) for tone in _TABLE] * 3)
    tinted = Image.blend(flat, _toned(prepared.grey, colours), 0.6)
    return ImageChops.multiply(tinted, ImageChops.invert(_edges(prepared.grey)).convert("RGB"))


def halftone(prepared: Prepared, colours: Inks) -> Image.Image:
    """Print dots, the larger the darker the picture."""
    return _screened(prepared.grey, _dots(), (colours.dark, colours.light))


def engraving(prepared: Prepared, colours: Inks) -> Image.Image:
    """Print lines, the thicker the darker the picture."""
    return _screened(prepared.grey, _lines(), (colours.dark, colours.light))


def mosaic(prepared: Prepared, colours: Inks) -> Image.Image:
    """Lay tiles with joints between them."""
    width, height = prepared.grey.size
    side = max(4, max(width, height) // 56)
    size = (math.ceil(width / side), math.ceil(height / side))
    mixed = Image.blend(prepared.colour, _toned(prepared.grey, colours), 0.4)
    tiles = mixed.resize(size, Image.Resampling.BOX).resize((width, height), Image.Resampling.NEAREST)
    return ImageChops.multiply(tiles, _joints(size).resize((width, height)).convert("RGB"))


def spectrum(prepared: Prepared, colours: Inks) -> Image.Image:
    """Let the hues run on from the shadows to the lights, as in a picture of heat."""
    shadow, warm = inks(0.64, 0.3)[0], "#f58a3c"
    return _toned(prepared.grey, (shadow, colours.dark, colours.middle, warm, colours.light))


def shifted(prepared: Prepared, colours: Inks) -> Image.Image:
    """Let the channels change their places, which moves all hues, and tint what has none."""
    red, green, blue = prepared.colour.split()
    orders = ((green, blue, red), (blue, red, green), (blue, green, red))
    moved = Image.merge("RGB", orders[sum(bytes.fromhex(colours.dark[1:])) % len(orders)])
    return Image.blend(moved, _toned(prepared.grey, colours), 0.35)


def neon(prepared: Prepared, colours: Inks) -> Image.Image:
    """Let outlines shine over a dark picture."""
    dim = _toned(prepared.grey.point([tone * 7 // 10 for tone in _TABLE]), colours)
    # The brighter of the two sides shines, so that lights stay lighter than darks.
    outlines = ImageChops.multiply(_edges(prepared.grey), prepared.grey)
    return ImageChops.add(dim, _toned(outlines, ("#000000", colours.middle, "#ffffff")))


def crayon(prepared: Prepared, colours: Inks) -> Image.Image:
    """Draw with a soft crayon on tinted paper."""
    blurred = ImageChops.invert(prepared.grey).filter(ImageFilter.BoxBlur(6))
    strokes = Image.blend(prepared.grey, blurred, 0.5)
    strokes = strokes.point([max(0, min(255, (tone - 128) * 6 + 235)) for tone in _TABLE])
    paper = _toned(prepared.grey.point([60 + tone * 195 // 255 for tone in _TABLE]), colours)
    return ImageChops.multiply(paper, strokes.convert("RGB"))


def _toned(grey: Image.Image, colours: tuple[str, ...]) -> Image.Image:
    """Return a grey picture in the colours that lead from the first to the last."""
    picture = grey.copy()
    picture.putpalette(tone_table(colours))
    return picture.convert("RGB")


def _edges(grey: Image.Image) -> Image.Image:
    """Return where the tones change: light lines on black. Found at half the size, which is soon done."""
    small = grey.reduce(2)
    found = ImageChops.difference(small.filter(ImageFilter.BoxBlur(1)), small)
    lines = found.point([min(230, max(0, tone - 6) * 10) for tone in _TABLE])
    return lines.resize(grey.size, Image.Resampling.BILINEAR)


def _screened(grey: Image.Image, screen: Image.Image, colours: tuple[str, ...]) -> Image.Image:
    """Return a grey picture printed through a screen: where both are dark there is ink."""
    summed = ImageChops.add(grey, _tiled(screen, grey.size), 1, -128)
    return _toned(summed.point([max(0, min(255, (tone - 128) * 5 + 128)) for tone in _TABLE]), colours)


def _tiled(tile: Image.Image, size: tuple[int, int]) -> Image.Image:
    row, all_rows = Image.new("L", (size[0], tile.height)), Image.new("L", size)
    for left in range(0, size[0], tile.width):
        row.paste(tile, (left, 0))
    for top in range(0, size[1], tile.height):
        all_rows.paste(row, (0, top))
    return all_rows


@functools.cache
def _dots() -> Image.Image:
    waves = [math.cos(math.pi * step / 4) for step in range(8)]
    return Image.frombytes("L", (8, 8), bytes(round(128 - 100 * x * y) for x in waves for y in waves))


@functools.cache
def _lines() -> Image.Image:
    """Return a screen of lines that rise by one pixel in two, so that its tile fits to itself."""
    tones = (round(128 - 110 * math.cos(math.pi * (2 * y + x) / 6)) for y in range(6) for x in range(12))
    return Image.frombytes("L", (12, 6), bytes(tones))


@functools.lru_cache(maxsize=16)
def _joints(tiles: tuple[int, int]) -> Image.Image:
    """Return tiles of eight pixels, each a little darker at two of its edges."""
    tile = Image.new("L", (8, 8), 255)
    tile.paste(150, (0, 0, 8, 1))
    tile.paste(150, (0, 0, 1, 8))
    return _tiled(tile, (8 * tiles[0], 8 * tiles[1]))


_STYLES: tuple[Callable[[Prepared, Inks], Image.Image], ...] = (
    duotone,
    mosaic,
    poster,
    halftone,
    ink,
    spectrum,
    engraving,
    shifted,
    neon,
    crayon,
)
_WORDS: Mapping[str, Callable[[Prepared, Inks], Image.Image]] = {
    word: style
    for style, words in {
        mosaic: "mosaic tiles pixel stained cross embroidery stitch",
        poster: "poster ukiyo woodcut linocut label cut",
        halftone: "pop novel magazine comic cover",
        ink: "ink cubist felted",
        spectrum: "infrared nebulae marbled",
        engraving: "engraving engraved etching stamp woodcut",
        neon: "neon night fireflies glowing",
        crayon: "crayon chalk charcoal sketch pencil watercolour",
        duotone: "blueprint candlelight bronze marble",
    }.items()
    for word in words.split()
}
