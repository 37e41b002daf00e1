"""What can be seen of a file: a small copy of a picture, made once, or a text's first lines. Blocks.

The pictures come from outside. What no thumbnail can be made of costs little and sinks nothing: a picture's
size is read from its header and checked before anything is decoded, and large pictures are decoded one at a
time. Pillow's own guard in `Image.open` does not serve here: up to twice its limit it only warns, and beyond
that it refuses a JPEG too, which can be shrunk while it is decoded. So its readers are called by class.
"""

from __future__ import annotations

import codecs
import contextlib
import io
import secrets
import stat
import threading
from typing import TYPE_CHECKING

from PIL import (
    BmpImagePlugin,
    GifImagePlugin,
    ImageOps,
    JpegImagePlugin,
    PngImagePlugin,
    WebPImagePlugin,
)

from prodia_async._wire import media

if TYPE_CHECKING:
    from pathlib import Path
    from typing import BinaryIO

    from PIL import Image, ImageFile

    from prodia_async.batch._page.rows import File

_READERS: dict[str, type[ImageFile.ImageFile]] = {
    "image/bmp": BmpImagePlugin.BmpImageFile,
    "image/gif": GifImagePlugin.GifImageFile,
    "image/jpeg": JpegImagePlugin.JpegImageFile,
    "image/png": PngImagePlugin.PngImageFile,
    "image/webp": WebPImagePlugin.WebPImageFile,
}
SIDE = 256
_MOST_PIXELS = 64_000_000  # 256 MB once decoded
_MOST_PIXELS_SHRUNK = 400_000_000  # of a JPEG, which can be decoded at an eighth of its size
_LARGE = 16_000_000
_QUALITY = 75
_MOST_LINES = 12
_MOST_CHARACTERS = 400
_large = threading.Lock()


def preview(folder: Path, file: File) -> bool | str:
    """Return True where there is a thumbnail now, the first lines of a text, else False. Never raises."""
    source = folder / file.path
    try:
        if not stat.S_ISREG(source.stat().st_mode):  # opening a pipe would block
            return False
        if file.is_text:
            return _first_lines(source)
    except (OSError, UnicodeDecodeError):
        return False
    return file.is_picture and make_thumbnail(source, thumbnail_path(folder, file.path))


def thumbnail_path(folder: Path, path: str) -> Path:
    """Return where the thumbnail of a file stands; the page's script knows this rule too."""
    return folder / "report" / "thumbs" / f"{path.removeprefix('outputs/').replace('../', '__/')}.webp"


def _first_lines(source: Path) -> str | bool:
    """Return the beginning of a text; False for what is none."""
    with source.open("rb") as file:
        head = codecs.getincrementaldecoder("utf-8")().decode(file.read(4 * _MOST_CHARACTERS))
        is_all = not file.read(1)
    if "\0" in head:
        return False
    text = "\n".join(head.split("\n")[:_MOST_LINES])[:_MOST_CHARACTERS]
    return text if is_all and len(text) == len(head) else f"{text}…"


def write_whole(path: Path, content: bytes) -> None:
    """Write a file, or replace it, in one step, and make its folder. A failure leaves nothing behind."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.parent / f".prodia-{secrets.token_hex(8)}.part"
    try:
        temporary.write_bytes(content)
        temporary.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise


def make_thumbnail(source: Path, target: Path) -> bool:
    """Make a thumbnail of a picture unless one stands that is not older; return whether there is one now."""
    try:
        if _is_fresh(source, target):
            return True
        write_whole(target, _thumbnail(source))
    except Exception:  # noqa: BLE001 - a hostile picture may raise anything, and is shown without a thumbnail
        return False
    return True


def _is_fresh(source: Path, target: Path) -> bool:
    made = source.stat().st_mtime_ns
    try:
        return target.stat().st_mtime_ns >= made
    except FileNotFoundError:
        return False


def _thumbnail(source: Path) -> bytes:
    with source.open("rb") as file, _opened(file) as picture:
        _shrink_on_load(picture)
        pixels = picture.size[0] * picture.size[1]
        if pixels > _MOST_PIXELS:
            raise ValueError("the picture is too large for a thumbnail")
        if pixels > _LARGE:
            with _large:
                return _encoded(_reduced(picture))
        return _encoded(_reduced(picture))


def _opened(file: BinaryIO) -> ImageFile.ImageFile:
    kind = media.sniff(file.read(64))
    file.seek(0)
    return _READERS[kind](file)


def _shrink_on_load(picture: ImageFile.ImageFile) -> None:
    """Let a JPEG be decoded at a fraction of its size. A progressive one is held whole all the same."""
    pixels = picture.size[0] * picture.size[1]
    most = _MOST_PIXELS if picture.info.get("progressive") else _MOST_PIXELS_SHRUNK
    if pixels <= most:
        picture.draft(None, (2 * SIDE, 2 * SIDE))  # does nothing for other formats


def _reduced(picture: Image.Image) -> Image.Image:
    if picture.mode.startswith("I"):  # 16 bits of grey, as depth maps have
        picture = picture.convert("I").point(lambda value: value * (1 / 256)).convert("L")
    elif picture.mode not in ("L", "RGB", "RGBA"):
        picture = picture.convert("RGBA" if picture.has_transparency_data else "RGB")
    picture.thumbnail((SIDE, SIDE))
    return ImageOps.exif_transpose(picture)


def _encoded(picture: Image.Image) -> bytes:
    content = io.BytesIO()
    picture.save(content, "WEBP", quality=_QUALITY, method=1, icc_profile=b"", exif=b"")
    return content.getvalue()
