from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prodia_async._wire import media


@pytest.mark.parametrize(
    ("header", "kind", "parameters"),
    [
        ("", "", {}),
        ("image/PNG", "image/png", {}),
        (" text/plain ; Charset=UTF-8", "text/plain", {"charset": "UTF-8"}),
        ('multipart/form-data; boundary="a b;c"', "multipart/form-data", {"boundary": "a b;c"}),
        (
            'multipart/form-data; boundary="a\\"\\b"; x=1',
            "multipart/form-data",
            {"boundary": 'a"b', "x": "1"},
        ),
        ("multipart/form-data;boundary=aB;boundary=c", "multipart/form-data", {"boundary": "aB"}),
        ("multipart/form-data; boundary=a=b ", "multipart/form-data", {"boundary": "a=b"}),
        ('a/b; x=""', "a/b", {"x": ""}),
        ('a/b; "; ;= x', "a/b", {}),
    ],
)
def test_split(header, kind, parameters):
    assert media.split(header) == (kind, parameters)


@settings(max_examples=200, deadline=None)
@given(st.text(alphabet='a/;="\\ é\n', max_size=30))
def test_split_never_raises(header):
    kind, _ = media.split(header)
    assert kind == kind.strip().lower()


@pytest.mark.parametrize(
    ("content_type", "suffix"),
    [
        ("image/png", ".png"),
        ("IMAGE/JPEG; q=1", ".jpg"),
        ("image/jpg", ".jpg"),
        ("video/mp4", ".mp4"),
        ("text/plain; charset=utf-8", ".txt"),
        ("audio/x-wav", ".wav"),
        ("application/x-unheard-of", ".bin"),
        ("", ".bin"),
    ],
)
def test_suffix_for(content_type, suffix):
    assert media.suffix_for(content_type) == suffix


@pytest.mark.parametrize(
    ("filename", "kind"),
    [
        ("a.png", "image/png"),
        ("A.B.JPEG", "image/jpeg"),
        ("x.jpg", "image/jpeg"),
        ("x.bin", "application/octet-stream"),
        ("x.tif", "image/tiff"),
        ("x.v2", None),
        ("png", None),
        ("", None),
        ("x.", None),
    ],
)
def test_type_for_name(filename, kind):
    assert media.type_for_name(filename) == kind


@pytest.mark.parametrize(
    "suffix",
    [
        "png",
        "jpg",
        "jpeg",
        "webp",
        "gif",
        "mp4",
        "webm",
        "mp3",
        "wav",
        "txt",
        "json",
        "avif",
        "bmp",
        "tiff",
        "svg",
        "mov",
        "flac",
        "ogg",
        "m4a",
        "zip",
        "glb",
        "bin",
    ],
)
def test_the_suffixes_that_we_promise_are_known(suffix):
    kind = media.type_for_name(f"x.{suffix}")
    assert kind is not None
    assert media.type_for_name("x" + media.suffix_for(kind)) == kind


@pytest.mark.parametrize(
    ("head", "kind"),
    [
        (b"\x89PNG\r\n\x1a\n\0\0", "image/png"),
        (b"\xff\xd8\xff\xe0\0\x10JFIF", "image/jpeg"),
        (b"GIF89a", "image/gif"),
        (b"RIFF\x10\0\0\0WEBPVP8 ", "image/webp"),
        (b"RIFF\x10\0\0\0WAVEfmt ", "audio/wav"),
        (b"RIFF\x10\0\0\0????", "application/octet-stream"),
        (b"\0\0\0\x20ftypisom", "video/mp4"),
        (b"\0\0\0\x20ftypavif", "image/avif"),
        (b"\0\0\0\x20ftypheic", "image/heic"),
        (b"\0\0\0\x20ftypmif1\0\0\0\0mif1heic", "image/heic"),
        (b"\0\0\0\x20ftypmif1\0\0\0\0mif1miafavif", "image/avif"),
        (b"\0\0\0\x20ftypqt  ", "video/quicktime"),
        (b"\0\0\0\x20ftypM4A ", "audio/mp4"),
        (b"\x1a\x45\xdf\xa3\x01\x42\x82\x84webm", "video/webm"),
        (b"\x1a\x45\xdf\xa3\x01\x42\x82\x88matroska", "video/x-matroska"),
        (b"ID3\x04", "audio/mpeg"),
        (b"\xff\xfb\x90", "audio/mpeg"),
        (b"\xff\xf1\x50", "audio/aac"),
        (b"\xff\xfeh\0i\0", "application/octet-stream"),
        (b"fLaC", "audio/flac"),
        (b"OggS", "audio/ogg"),
        (b"BM\x36\0\0\0\0\0\0\0", "image/bmp"),
        (b"BMW is a car", "application/octet-stream"),
        (b"%PDF-1.7", "application/pdf"),
        (b"PK\x03\x04", "application/zip"),
        (b"glTF\x02", "model/gltf-binary"),
        (b"hello", "application/octet-stream"),
        (b"", "application/octet-stream"),
    ],
)
def test_sniff(head, kind):
    assert media.sniff(head) == kind


JPEG, PNG, GIF = b"\xff\xd8\xff\xe0\0\x10JFIF", b"\x89PNG\r\n\x1a\n", b"GIF89a"
WEBP, WAVE, OGG = b"RIFF\x10\0\0\0WEBPVP8 ", b"RIFF\x10\0\0\0WAVEfmt ", b"OggS"
AVIF, HEIC, MP4, MOV, M4A = (
    b"\0\0\0\x20ftyp" + brand for brand in (b"avif", b"heic", b"isom", b"qt  ", b"M4A ")
)
WEBM = b"\x1a\x45\xdf\xa3" + b"\0" * 90 + b"\x42\x82\x84webm"


@pytest.mark.parametrize(
    ("filename", "head", "kind"),
    [
        # Of the same kind: the content counts.
        ("a.jpg", WEBP, "image/webp"),
        ("a.jpg", PNG, "image/png"),
        ("a.JPEG", AVIF, "image/avif"),
        ("a.jpg", HEIC, "image/heic"),
        ("a.png", JPEG, "image/jpeg"),
        ("a.webp", GIF, "image/gif"),
        ("a.gif", b"BM\x36\0\0\0\0\0\0\0", "image/bmp"),
        ("a.heic", JPEG, "image/jpeg"),
        ("a.tif", PNG, "image/png"),
        ("a.png", b"II*\0", "image/tiff"),
        ("a.svg", PNG, "image/png"),
        ("a.mp4", MOV, "video/quicktime"),
        ("a.mov", MP4, "video/mp4"),
        ("a.mp4", WEBM, "video/webm"),
        ("a.mp3", WAVE, "audio/wav"),
        ("a.wav", b"fLaC", "audio/flac"),
        ("a.mp3", M4A, "audio/mp4"),
        ("a.aac", OGG, "audio/ogg"),
        # Of another kind, or of none: the name does.
        ("a.m4a", MP4, "audio/mp4"),
        ("a.aac", b"ID3\x04\0", "audio/aac"),
        ("a.flac", b"ID3\x04\0", "audio/flac"),
        ("a.svg", b"<svg xmlns=", "image/svg+xml"),
        ("a.png", MP4, "image/png"),
        ("a.txt", PNG, "text/plain"),
        ("a.json", b"PK\x03\x04", "application/json"),
        ("a.glb", b"PK\x03\x04", "model/gltf-binary"),
        ("a.bin", PNG, "application/octet-stream"),
        ("a.jpg", b"", "image/jpeg"),
        ("a.jpg", b"text", "image/jpeg"),
        ("a.webm", WEBM, "video/webm"),
        # A name that says nothing.
        ("a", WEBP, "image/webp"),
        ("a.dat", M4A, "audio/mp4"),
        ("", b"ID3\x04\0", "audio/mpeg"),
        ("a.dat", b"", "application/octet-stream"),
    ],
)
def test_the_content_counts_before_the_name_within_one_kind(filename, head, kind):
    assert media.type_of(filename, head) == kind
