"""Picture files: how they are read, made larger, masked and written."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

from PIL import Image, ImageFilter, ImageOps

from prodia_async._extras import missing
from prodia_async.emulator._request import JobError

if TYPE_CHECKING:
    from prodia_async.emulator._request import ReceivedInput

# Fast rather than small: a picture is encoded for every job.
FORMATS = {
    "image/jpeg": ("JPEG", ".jpg", {"quality": 85}),
    "image/png": ("PNG", ".png", {"compress_level": 1}),
    "image/webp": ("WEBP", ".webp", {"quality": 80, "method": 0}),
}
MOST_PIXELS = 8192 * 8192
# Not all that Pillow knows: some of its readers start other programs.
_READABLE = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")
_UNREADABLE = (OSError, ValueError, SyntaxError, Image.DecompressionBombError, Image.DecompressionBombWarning)


def encode(picture: Image.Image, media_type: str) -> bytes:
    """Return a picture as a file of the media type. Raises JobError where it is too large for that."""
    file_format, _, options = FORMATS[media_type]
    stream = io.BytesIO()
    try:
        picture.save(stream, file_format, **options)
    except (OSError, ValueError):
        raise JobError(f"{picture.width} x {picture.height} pixels do not fit into {media_type}") from None
    return stream.getvalue()


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


def upscale(source: ReceivedInput, factor: float) -> Image.Image:
    """Return the picture that was sent, `factor` times as wide and as high."""
    picture = read_picture(source)
    width, height = round(picture.width * factor), round(picture.height * factor)
    if width * height > MOST_PIXELS:
        raise JobError(f"config.upscale: {width} x {height} pixels are too many")
    return picture.resize((width, height), Image.Resampling.BICUBIC)


def mask(picture: Image.Image) -> Image.Image:
    """Return a mask of a picture: white where it is brighter than its average."""
    grey = picture.convert("L").filter(ImageFilter.BoxBlur(4))
    average = grey.resize((1, 1), Image.Resampling.BOX).tobytes()[0]
    return grey.point([255 if tone > average else 0 for tone in range(256)])


def read_frame(source: ReceivedInput) -> Image.Image:
    """Return the first frame of a video that was sent. Raises JobError where there is none."""
    try:
        import av  # noqa: PLC0415 - large, and needed by films only
    except ImportError:
        raise JobError(missing("a film", "av", "emulator")) from None
    try:
        with av.open(io.BytesIO(source.content or b""), "r") as container:
            frame: Any = next(container.decode(video=0))
            picture: Image.Image = frame.to_image().convert("RGB")
            return picture
    except (av.FFmpegError, IndexError, StopIteration, ValueError):
        raise JobError(f"{source.filename}: not a video that can be read") from None
