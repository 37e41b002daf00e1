"""File names that are hard on the wire, and media types, for both directions."""

from __future__ import annotations

HARD_NAMES = {
    "plain": "photo.jpg",
    "space": "two  words.png",
    "spaces around": " photo.png ",
    "quote": 'a"b.png',
    "backslash": r"a\b.png",
    "backslashes": r"a\\b.png",
    "backslash and quote": r"a\".png",
    "backslash at the end": "photo\\",
    "Windows path": r"C:\new\x.jpg",
    "percent": "100%.png",
    "percent-encoded": "a%22b%0D%0A.png",
    "parameters": "a; filename=b.png; x=",
    "specials": "(a)<b>@,;:[c]?=.png",
    "extended": "filename*=utf-8''a.png",
    "apostrophes": "'a'.png",
    "Latin": "café.png",
    "combining": "cafe\u0301.png",
    "CJK": "写真の日本語.png",
    "emoji": "👩‍🚀🦊.png",
    "right to left": "\u202egnp.exe",
    "line separators": "a\u2028b\u0085c.png",
    "leading dot": ".hidden",
    "dot": ".",
    "two dots": "..",
    "200 bytes": "é" * 98 + ".png",
    "no suffix": "b3d4fb97-6dce",
    "byte order mark": "\ufeffa.png",
}

REFUSED_NAMES = {
    "empty": "",
    "directory": "a/b.png",
    "parent": "../x.png",
    "root": "/etc/passwd",
    "slash at the end": "a/",
    "line feed": "a\nb.png",
    "header": "a\r\nX-Evil: 1",
    "null": "a\0b.png",
    "tab": "a\tb.png",
    "escape": "\x1b[31ma.png",
    "delete": "a\x7f.png",
    "half of a surrogate pair": "a\ud800.png",
}

HOSTILE_NAMES = [
    "../../escaped.png",
    "/etc/escaped.png",
    "..",
    ".",
    "",
    "../",
    r"..\..\escaped.png",
    r"C:\escaped.png",
    "%2e%2e%2fescaped.png",
    "~/escaped.png",
    "con.png",
    "\x1b[31mescaped.png",
    "a\tb.png",
    "<script>.html",
    "x" * 5000,
    "\u202egnp.exe",
]

MEDIA_TYPES = [
    "image/png",
    "image/svg+xml",
    "text/plain; charset=utf-8",
    'video/mp4; codecs="avc1.42E01E, mp4a.40.2"',
    "application/vnd.a-b.c+json",
    "IMAGE/PNG",
]

SIZES = [0, 1, 64 * 1024 - 1, 64 * 1024, 64 * 1024 + 1, 3 * 1024 * 1024]
