from __future__ import annotations

import os
import struct
import time
import zlib

import pytest
from batch.page.records import picture
from PIL import Image

from prodia_async.batch._page.thumbs import make_thumbnail


def made(source, tmp_path):
    target = tmp_path / "thumbs" / "aa" / "x.webp"
    assert make_thumbnail(source, target)
    with Image.open(target) as image:
        image.load()
        return image


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "gif", "bmp"])
def test_a_picture_gets_a_small_copy(suffix, tmp_path):
    image = made(picture(tmp_path / f"x.{suffix}", (900, 600)), tmp_path)

    assert (image.format, image.size) == ("WEBP", (256, 171))
    assert os.listdir(tmp_path / "thumbs" / "aa") == ["x.webp"]


@pytest.mark.parametrize(
    ("mode", "suffix", "color", "level"),
    [
        ("L", "png", 200, 200),
        ("1", "png", 1, 255),
        ("I;16", "png", 40_000, 156),
        ("LA", "png", (200, 255), 200),
        ("RGBA", "png", (200, 200, 200, 255), 200),
        ("P", "gif", 3, None),
        ("CMYK", "jpg", (0, 0, 0, 55), 200),
    ],
)
def test_every_kind_of_pixel_is_understood(mode, suffix, color, level, tmp_path):
    image = made(picture(tmp_path / f"x.{suffix}", mode=mode, color=color), tmp_path)

    if level is not None:
        assert image.convert("L").getpixel((5, 5)) == pytest.approx(level, abs=4)


def test_what_is_transparent_stays_so(tmp_path):
    image = made(picture(tmp_path / "x.png", mode="RGBA", color=(10, 20, 30, 0)), tmp_path)

    assert image.convert("RGBA").getpixel((3, 3))[3] == 0


def test_a_picture_is_turned_as_its_camera_says_and_keeps_no_secrets(tmp_path):
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "a secret place"
    source = picture(tmp_path / "x.jpg", (300, 200), exif=exif, icc_profile=b"profile" * 1000)
    image = made(source, tmp_path)

    content = (tmp_path / "thumbs/aa/x.webp").read_bytes()
    assert image.size == (171, 256)
    assert b"secret" not in content
    assert b"profile" not in content


def test_a_thumbnail_is_made_once_and_again_when_the_picture_is_newer(tmp_path):
    source = picture(tmp_path / "x.png", color=(255, 0, 0))
    target = tmp_path / "x.webp"
    make_thumbnail(source, target)
    first = target.stat()

    assert make_thumbnail(source, target)
    assert (target.stat().st_ino, target.stat().st_mtime_ns) == (first.st_ino, first.st_mtime_ns)

    later = time.time() + 60
    os.utime(picture(tmp_path / "x.png", color=(0, 0, 255)), (later, later))
    assert make_thumbnail(source, target)
    assert target.stat().st_ino != first.st_ino


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"not a picture",
        b"\x89PNG\r\n\x1a\n",
        b"\x89PNG\r\n\x1a\n" + b"\0" * 64,
        b"\xff\xd8\xff" + b"\0" * 64,
        b"GIF89a" + b"\xff" * 64,
        b"RIFF\x10\0\0\0WEBPVP8 " + b"\0" * 40,
        b"BM" + b"\0" * 60,
    ],
)
def test_a_broken_picture_gets_none_and_raises_nothing(content, tmp_path):
    (tmp_path / "x.png").write_bytes(content)

    assert not make_thumbnail(tmp_path / "x.png", tmp_path / "t" / "x.webp")
    assert not (tmp_path / "t").exists()


def test_a_picture_that_was_cut_short_gets_none(tmp_path):
    source = picture(tmp_path / "x.png", (500, 500))
    source.write_bytes(source.read_bytes()[:-80])

    assert not make_thumbnail(source, tmp_path / "x.webp")


def test_a_picture_that_is_not_there_gets_none(tmp_path):
    assert not make_thumbnail(tmp_path / "x.png", tmp_path / "x.webp")


def test_no_thumbnail_where_it_cannot_be_written(tmp_path):
    (tmp_path / "thumbs").write_bytes(b"a file, where the folder should be")

    assert not make_thumbnail(picture(tmp_path / "x.png"), tmp_path / "thumbs" / "x.webp")


def png_header(width: int, height: int) -> bytes:
    head = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 6, 0, 0, 0)
    data = b"IDAT" + zlib.compress(b"\0" * 1000)
    parts = [
        struct.pack(">I", len(part) - 4) + part + struct.pack(">I", zlib.crc32(part)) for part in (head, data)
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


@pytest.mark.parametrize("size", [(9000, 9000), (60_000, 60_000)])
def test_a_bomb_is_refused_by_its_header(size, tmp_path):
    (tmp_path / "x.png").write_bytes(png_header(*size))

    assert not make_thumbnail(tmp_path / "x.png", tmp_path / "x.webp")


def test_a_jpeg_of_100_megapixels_is_shrunk_while_it_is_decoded(tmp_path):
    image = made(picture(tmp_path / "x.jpg", (12_500, 8_000), mode="L"), tmp_path)

    assert image.size == (256, 164)


def test_a_progressive_jpeg_of_that_size_is_refused(tmp_path):
    source = picture(tmp_path / "x.jpg", (12_500, 8_000), mode="L", progressive=True)

    assert not make_thumbnail(source, tmp_path / "x.webp")


def test_a_large_picture_is_decoded(tmp_path):
    image = made(picture(tmp_path / "x.png", (5000, 4000), mode="L"), tmp_path)

    assert image.size == (256, 205)
