from __future__ import annotations

import pytest

from prodia_async.emulator._names import Disposition, read_disposition


@pytest.mark.parametrize(
    ("raw", "name"),
    [
        (b"plain.png", "plain.png"),
        (b"two words.png", "two words.png"),
        ("é.png".encode(), "é.png"),
        ("日本.png".encode(), "日本.png"),
        (rb"a\"b.png", 'a"b.png'),
        (rb"a\\b.png", r"a\b.png"),
        (rb"a\b.png", r"a\b.png"),
        (rb"C:\x\y.png", r"C:\x\y.png"),
        (b"100%25.png", "100%25.png"),
        (b"a%22b.png", "a%22b.png"),
        (b"a;b.png", "a;b.png"),
        (b"+.png", "+.png"),
        (b"../../x.png", "x.png"),
        (b"folder/", "folder"),
        (b"//", "/"),
        (rb"a\/b.png", "b.png"),
        (b"latin-\xe9.png", "latin-�.png"),
        (b"", ""),
    ],
)
def test_file_names_follow_gos_rule(raw, name):
    header = b'form-data; name="input"; filename="' + raw + b'"'
    assert read_disposition(header) == Disposition("input", name)


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (b"form-data; name=input; filename=a.png", Disposition("input", "a.png")),
        (b"Form-Data ; NAME = input ;FileName= a.png", Disposition("input", "a.png")),
        (b'form-data; name="input"; filename="a.png";', Disposition("input", "a.png")),
        (b'form-data; name="input"; filename=a b.png', Disposition("", "")),
        (b'form-data; name="input"; filename="a.png', Disposition("", "")),
        (rb'form-data; name="input"; filename="a.png\"', Disposition("", "")),
        (b'form-data; name="input"; filename="a\nb.png"', Disposition("", "")),
        (b'form-data; name="input"; filename', Disposition("", "")),
        (b'form-data; name="input"; filename=', Disposition("", "")),
        (b'form-data; name="input"; =x', Disposition("", "")),
        (b'form-data; name="a"; name="b"', Disposition("", "")),
        (b'form-data; name="a"; name="a"', Disposition("a", "")),
        (b'attachment; name="input"; filename="a.png"', Disposition("", "a.png")),
        (b"form-data; name=i; filename=\"e.png\"; filename*=utf-8''%C3%A9.png", Disposition("i", "é.png")),
        (b"form-data; name=i; filename*=klingon''a.png", Disposition("i", "")),
        (b"form-data", Disposition("", "")),
        (b"", Disposition("", "")),
    ],
)
def test_whole_headers_follow_gos_rule(header, expected):
    assert read_disposition(header) == expected
