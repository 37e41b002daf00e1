"""The pictures: drawn from a prompt and a seed, or made from the very picture that was sent."""

from __future__ import annotations

import functools
import io
import random
import textwrap
from typing import TYPE_CHECKING

from PIL import Image, ImageDraw, ImageFilter, ImageFont, ImageOps

from prodia_async.emulator.cache import PictureCache
from prodia_async.emulator.request import JobError

if TYPE_CHECKING:
    from prodia_async.emulator.request import ReceivedInput

FORMATS = {"image/jpeg": "JPEG", "image/png": "PNG", "image/webp": "WEBP"}
SUFFIXES = {"image/jpeg": ".jpg", "image/png": ".png", "image/webp": ".webp"}
# Fast rather than small: a picture is encoded for every job.
_SAVE_OPTIONS: dict[str, dict[str, int]] = {
    "JPEG": {"quality": 85},
    "PNG": {"compress_level": 1},
    "WEBP": {"quality": 80, "method": 0},
}
LONGEST_SIDE = 1024
MOST_PIXELS = 8192 * 8192
_PATTERNS = 32
_MOST_ROWS = 6
_DARK = 24
# Not all that Pillow knows: some of its readers start other programs.
_READABLE = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")
_UNREADABLE = (OSError, ValueError, SyntaxError, Image.DecompressionBombError, Image.DecompressionBombWarning)


def encode(picture: Image.Image, media_type: str) -> bytes:
    """Return a picture as a file of the media type. Raises JobError where it is too large for that."""
    file_format = FORMATS[media_type]
    stream = io.BytesIO()
    try:
        picture.save(stream, file_format, **_SAVE_OPTIONS[file_format])
    except (OSError, ValueError):
        raise JobError(f"{picture.width} x {picture.height} pixels do not fit into {media_type}") from None
    return stream.getvalue()


class Studio:
    """Makes pictures; called from worker threads, with what is costly kept in a cache."""

    def __init__(self) -> None:
        self._cache = PictureCache()

    def draw(self, prompt: str, seed: int, size: tuple[int, int]) -> Image.Image:
        """Return a picture of `size` that shows its prompt and its seed."""
        base = seed % _PATTERNS
        picture = self._cache.get((base, size), lambda: _pattern(base, size)).copy()
        _circles(picture, seed)
        _caption(picture, prompt, seed, share=0.5)
        return picture

    def restyle(self, source: ReceivedInput, prompt: str, seed: int) -> Image.Image:
        """Return the picture that was sent with fewer tones, other hues by the seed, and a caption.

        It keeps its proportions; the longer side is at most 1024 pixels.
        """
        picture = self._cache.get(("restyle", source.sha256), lambda: _fewer_tones(source))
        hue, saturation, value = picture.split()
        # Twelve shifts by 15 to 345 degrees: never back to the hues that were sent.
        shift = 11 + 21 * (seed % 12)
        shifted = hue.point([(tone + shift) % 256 for tone in range(256)])
        result = Image.merge("HSV", (shifted, saturation, value)).convert("RGB")
        _caption(result, prompt, seed, share=0.25)
        return result

    def upscale(self, source: ReceivedInput, factor: float) -> Image.Image:
        """Return the picture that was sent, `factor` times as wide and as high."""
        picture = read_picture(source)
        width, height = round(picture.width * factor), round(picture.height * factor)
        if width * height > MOST_PIXELS:
            raise JobError(f"config.upscale: {width} x {height} pixels are too many")
        return picture.resize((width, height), Image.Resampling.BICUBIC)

    def segment(self, source: ReceivedInput) -> Image.Image:
        """Return a mask of the picture that was sent: white where it is brighter than its average."""
        grey = read_picture(source, LONGEST_SIDE).convert("L").filter(ImageFilter.BoxBlur(4))
        average = grey.resize((1, 1), Image.Resampling.BOX).tobytes()[0]
        return grey.point([255 if tone > average else 0 for tone in range(256)])


def read_picture(source: ReceivedInput, longest: int | None = None) -> Image.Image:
    """Return an input as an upright RGB picture, made smaller where a side is above `longest`."""
    if source.content is None:
        raise JobError(f"{source.filename}: {source.size} bytes are too many for a picture")
    try:
        with Image.open(io.BytesIO(source.content), formats=_READABLE) as opened:
            if opened.width * opened.height > MOST_PIXELS:
                raise JobError(f"{source.filename}: {opened.width} x {opened.height} pixels are too many")
            if longest is not None:
                opened.draft("RGB", (longest, longest))
            picture = ImageOps.exif_transpose(opened).convert("RGB")
    except _UNREADABLE:
        raise JobError(f"{source.filename}: not a picture that can be read") from None
    if longest is not None:
        picture.thumbnail((longest, longest))
    return picture


def _fewer_tones(source: ReceivedInput) -> Image.Image:
    return ImageOps.posterize(read_picture(source, LONGEST_SIDE), 4).convert("HSV")


def _pattern(seed: int, size: tuple[int, int]) -> Image.Image:
    """Return a soft pattern in three colours chosen by the seed."""
    chance = random.Random(seed)  # noqa: S311 - the same pattern for the same seed, no secret
    slope = Image.linear_gradient("L").rotate(90 * chance.randrange(4))
    grey = Image.blend(slope, Image.radial_gradient("L"), chance.uniform(0.2, 0.8))
    hue = chance.randrange(360)
    coloured = ImageOps.colorize(
        grey,
        black=f"hsl({hue}, 70%, 22%)",
        mid=f"hsl({(hue + 40) % 360}, 65%, 50%)",
        white=f"hsl({(hue + 90) % 360}, 75%, 80%)",
    )
    return coloured.resize(size, Image.Resampling.BICUBIC)


def _circles(picture: Image.Image, seed: int) -> None:
    """Draw circles whose places depend on the seed, so that no two seeds look the same."""
    chance = random.Random(seed)  # noqa: S311 - the same circles for the same seed, no secret
    draw = ImageDraw.Draw(picture)
    for _ in range(6):
        x, y = chance.randrange(picture.width), chance.randrange(picture.height)
        radius = chance.randrange(4, 8 + max(picture.size) // 6)
        colour = f"hsl({chance.randrange(360)}, 70%, 65%)"
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), outline=colour, width=3)


def _caption(picture: Image.Image, prompt: str, seed: int, share: float) -> None:
    """Write the seed and the prompt on a dark band at the bottom, at most `share` of the height."""
    points = max(9, min(picture.size) // 24)
    line_height = points + 4
    rows = min(_MOST_ROWS, max(1, int(picture.height * share) // line_height - 1))
    letters = max(4, int(picture.width / (points * 0.56)))
    lines = [f"seed {seed}", *textwrap.wrap(prompt[: rows * letters], letters)[:rows]]
    band = Image.new("L", (picture.width, line_height * len(lines) + 4), _DARK)
    for row, line in enumerate(lines):
        x = points // 2
        for letter in line:
            glyph = _glyph(letter, points)
            band.paste(glyph, (x, row * line_height + 2))
            x += glyph.width
    picture.paste(band.convert("RGB"), (0, picture.height - band.height))


@functools.lru_cache(maxsize=2048)
def _glyph(letter: str, points: int) -> Image.Image:
    """Return a drawn letter. Kept, since drawing text anew was most of a picture's cost."""
    font = _font(points)
    glyph = Image.new("L", (max(1, round(font.getlength(letter))), points + 4), _DARK)
    ImageDraw.Draw(glyph).text((0, 0), letter, font=font, fill=255)
    return glyph


@functools.lru_cache(maxsize=64)
def _font(points: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(points)
