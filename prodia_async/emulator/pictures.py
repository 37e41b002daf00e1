"""The pictures: drawn from a prompt and a seed, or made from the very picture that was sent."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from PIL import Image, ImageFilter, ImageOps

from prodia_async.emulator.cache import PictureCache
from prodia_async.emulator.captions import Caption
from prodia_async.emulator.films import moving_view
from prodia_async.emulator.request import JobError
from prodia_async.emulator.scenes import paint
from prodia_async.emulator.styles import prepare, restyled

if TYPE_CHECKING:
    from collections.abc import Iterator

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
# A scene is painted larger than the film that shows parts of it.
_FILM_SCALE = 1.5
MOST_PIXELS = 8192 * 8192
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
        """Return a picture of `size`: a scene made up from the prompt's words and the seed, and a caption."""
        caption = Caption(prompt, seed, size, share=0.4)
        scene = paint(prompt, seed, (size[0], size[1] - caption.height))
        picture = Image.new("RGB", size)
        picture.paste(scene)
        caption.draw_on(picture)
        return picture

    def restyle(self, source: ReceivedInput, prompt: str, seed: int) -> Image.Image:
        """Return the picture that was sent in another style and other colours, with a caption.

        It keeps its proportions; the longer side is at most 1024 pixels.
        """
        prepared = self._cache.get(source.sha256, lambda: prepare(read_picture(source, LONGEST_SIDE)))
        picture = restyled(prepared, prompt, seed)
        Caption(prompt, seed, picture.size, share=0.25).draw_on(picture)
        return picture

    def film(self, prompt: str, seed: int, size: tuple[int, int], frames: int) -> Iterator[Image.Image]:
        """Return the frames of a film: a scene over which a camera moves, above a caption that stands."""
        caption = Caption(prompt, seed, size, share=0.4)
        width, height = size[0], size[1] - caption.height
        scene = paint(prompt, seed, (round(width * _FILM_SCALE), round(height * _FILM_SCALE)))
        for view in moving_view(scene, (width, height), frames, seed):
            picture = Image.new("RGB", size)
            picture.paste(view)
            caption.draw_on(picture)
            yield picture

    def film_of(
        self, source: ReceivedInput, seed: int, size: tuple[int, int], frames: int
    ) -> Iterator[Image.Image]:
        """Return the frames of a film: a camera moves over the picture that was sent."""
        picture = read_picture(source, round(max(size) * _FILM_SCALE * 2))
        return moving_view(picture, size, frames, seed)

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
