from __future__ import annotations

import os

import pytest
from batch.page.records import picture

from prodia_async.batch._page.rows import File
from prodia_async.batch._page.thumbs import preview, thumbnail_path


def file(path: str, media: str) -> File:
    return File(url=path, media=media, size=1)


def test_a_picture_has_a_thumbnail(tmp_path):
    picture(tmp_path / "outputs/aa/x.png")

    assert preview(tmp_path, file("outputs/aa/x.png", "image/png")) is True
    assert (tmp_path / "report/thumbs/aa/x.png.webp").is_file()


@pytest.mark.parametrize("media", ["text/plain", "application/json", "text/csv"])
def test_a_text_shows_its_first_lines(media, tmp_path):
    (tmp_path / "x").write_text("".join(f"line {number}\n" for number in range(100)))

    assert (
        preview(tmp_path, file("x", media))
        == "".join(f"line {number}\n" for number in range(11)) + "line 11…"
    )


def test_a_short_text_is_whole_and_a_long_line_is_cut(tmp_path):
    (tmp_path / "short").write_text("a\nb")
    (tmp_path / "long").write_bytes(b"x" * 1_000_000)

    assert preview(tmp_path, file("short", "text/plain")) == "a\nb"
    assert preview(tmp_path, file("long", "text/plain")) == "x" * 400 + "…"


def test_a_character_that_the_cut_goes_through_is_left_out(tmp_path):
    (tmp_path / "wide").write_text("x" + "\U0001f431" * 500)

    assert preview(tmp_path, file("wide", "text/plain")) == "x" + "\U0001f431" * 399 + "…"


@pytest.mark.parametrize(
    "content", [b"\xff\xfe\0", b"text\0text", b"caf\xe9 noir", b"<html>\x1f\x8b\x08\xff"]
)
def test_what_only_says_that_it_is_text_shows_nothing(content, tmp_path):
    (tmp_path / "binary").write_bytes(content)

    assert preview(tmp_path, file("binary", "text/html")) is False


def test_other_types_are_not_opened(tmp_path):
    (tmp_path / "x.mp4").write_bytes(b"film")

    assert preview(tmp_path, file("x.mp4", "video/mp4")) is False
    assert os.listdir(tmp_path) == ["x.mp4"]


@pytest.mark.parametrize("media", ["image/png", "text/plain"])
def test_what_is_no_file_has_no_preview(media, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()

    for path in ("pipe", "folder", "missing", "x" * 5000):
        assert preview(tmp_path, file(path, media)) is False


def test_a_thumbnail_lies_in_the_same_order_as_its_output(tmp_path):
    assert thumbnail_path(tmp_path, "outputs/aa/x.png") == tmp_path / "report/thumbs/aa/x.png.webp"
    assert thumbnail_path(tmp_path, "elsewhere/x.png") == tmp_path / "report/thumbs/elsewhere/x.png.webp"
    assert thumbnail_path(tmp_path, "../../in/x.png") == tmp_path / "report/thumbs/__/__/in/x.png.webp"
