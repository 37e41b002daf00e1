"""The picture that was sent, in another style."""

from __future__ import annotations

import functools
import math
from typing import TYPE_CHECKING

from PIL import Image, ImageChops, ImageFilter, ImageOps

from prodia_async.emulator._drawing import Caption
from prodia_async.emulator._media import read_picture

if TYPE_CHECKING:
    from prodia_async.emulator._request import ReceivedInput


def restyle(source: ReceivedInput, prompt: str, seed: int) -> Image.Image:
    """Return the picture that was sent, at most 1024 pixels long, in another style, with a caption."""
    picture = restyled(read_picture(source, 1024), seed)
    Caption(prompt, seed, picture.size, share=0.25).draw_on(picture)
    return picture


def restyled(picture: Image.Image, seed: int) -> Image.Image:
    """Return an RGB picture as a poster, in dots, in lines or as a mosaic, in hues of the seed."""
    grey = ImageOps.autocontrast(picture.convert("L"), cutoff=0.5)
    average = min(254, max(2, grey.resize((1, 1), Image.Resampling.BOX).tobytes()[0]))
    lift = min(1, max(0.5, math.log(0.345) / math.log(average / 255)))
    lifted = [round(255 * (tone / 255) ** lift) for tone in range(256)]  # so that what is dark is seen
    grey, colour = grey.point(lifted), picture.point(lifted * 3)
    hue = seed * 0.618034 % 1 * 360  # the golden section spreads neighbouring seeds over all hues
    turn = (45, 120, 180, -70)[seed // 4 % 4]
    inks = ((0, "85%,30%"), (0.5, "70%,72%"), (1, "22%,100%"))
    dark, middle, light = (f"hsv({(hue + turn * share) % 360:.0f},{rest})" for share, rest in inks)
    style = seed % 4
    if style in (1, 2):
        printed = ImageChops.add(grey, _tiled(_screen(style), grey.size), 1, -128)
        printed = printed.point([min(255, max(0, (tone - 128) * 5 + 128)) for tone in range(256)])
        return ImageOps.colorize(printed, dark, light)
    if style == 0:
        flat = grey.filter(ImageFilter.BoxBlur(1.5)).point([tone // 64 * 85 for tone in range(256)])
        return ImageOps.colorize(flat, dark, light, middle)
    mixed = Image.blend(colour, ImageOps.colorize(grey, dark, light, middle), 0.4)
    side = max(4, max(grey.size) // 56)
    tiles = mixed.resize([math.ceil(length / side) for length in grey.size], Image.Resampling.BOX)
    joints = _tiled(_screen(style), (8 * tiles.width, 8 * tiles.height)).resize(grey.size).convert("RGB")
    return ImageChops.multiply(tiles.resize(grey.size, Image.Resampling.NEAREST), joints)


@functools.cache
def _screen(style: int) -> Image.Image:
    """Return dots, rising lines, or a tile that is darker at two edges, to be laid side by side."""
    width, height = (12, 6) if style == 2 else (8, 8)  # noqa: PLR2004 - the lines
    places = [(x, y) for y in range(height) for x in range(width)]
    if style == 3:  # noqa: PLR2004 - the tile
        tones = [255 if x and y else 150 for x, y in places]
    elif style == 2:  # noqa: PLR2004
        tones = [round(128 - 110 * math.cos(math.pi * (2 * y + x) / 6)) for x, y in places]
    else:
        tones = [round(128 - 100 * math.cos(math.pi * x / 4) * math.cos(math.pi * y / 4)) for x, y in places]
    return Image.frombytes("L", (width, height), bytes(tones))


def _tiled(tile: Image.Image, size: tuple[int, int]) -> Image.Image:
    whole = Image.new("L", size)
    for left in range(0, size[0], tile.width):
        whole.paste(tile, (left, 0))
    for top in range(tile.height, size[1], tile.height):
        whole.paste(whole.crop((0, 0, size[0], tile.height)), (0, top))
    return whole
