"""Films: a camera moves over a picture, and PyAV makes an MP4 of what it sees."""

from __future__ import annotations

import io
import random
from typing import TYPE_CHECKING

from PIL import Image

from prodia_async._extras import missing
from prodia_async.emulator._drawing import Caption, paint
from prodia_async.emulator._request import JobError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_SCALE = 1.5  # a scene is painted larger than the film that shows parts of it


def film(prompt: str, seed: int, size: tuple[int, int], frames: int) -> Iterator[Image.Image]:
    """Yield the frames of a film: a scene over which a camera moves, above a caption that stands."""
    caption = Caption(prompt, seed, size, share=0.4)
    shown = (size[0], size[1] - caption.height)
    scene = paint(prompt, seed, (round(shown[0] * _SCALE), round(shown[1] * _SCALE)))
    for view in moving_view(scene, shown, frames, seed):
        picture = Image.new("RGB", size)
        picture.paste(view)
        caption.draw_on(picture)
        yield picture


def moving_view(picture: Image.Image, size: tuple[int, int], frames: int, seed: int) -> Iterator[Image.Image]:
    """Yield so many frames of `size`: what a camera sees that comes nearer; the seed decides its way."""
    chance = random.Random(seed)  # noqa: S311 - the same way for the same seed, no secret
    start, end = ((chance.random(), chance.random()) for _ in range(2))
    largest = min(picture.width / size[0], picture.height / size[1])
    for frame in range(frames):
        share = frame / max(1, frames - 1)
        scale = largest * (0.96 - 0.28 * share)
        width, height = size[0] * scale, size[1] * scale
        left = (picture.width - width) * (start[0] + (end[0] - start[0]) * share)
        top = (picture.height - height) * (start[1] + (end[1] - start[1]) * share)
        yield picture.resize(size, Image.Resampling.BILINEAR, (left, top, left + width, top + height))


def encode_film(frames: Iterable[Image.Image], size: tuple[int, int], rate: int) -> bytes:
    """Return RGB frames as an MP4 (H.264); sides must be even. Raises JobError where PyAV is missing."""
    try:
        import av  # noqa: PLC0415 - large, and needed by films only
    except ImportError:
        raise JobError(missing("a film", "av", "emulator")) from None
    stream = io.BytesIO()
    with av.open(stream, "w", format="mp4") as container:
        video = container.add_stream("libx264", rate=rate, options={"preset": "ultrafast"})
        video.width, video.height = size
        video.pix_fmt = "yuv420p"  # what browsers play
        video.thread_count = 1  # of several jobs at once
        for frame in frames:
            container.mux(video.encode(av.VideoFrame.from_bytes(frame.convert("RGBA").tobytes(), *size)))
        container.mux(video.encode(None))
    return stream.getvalue()
