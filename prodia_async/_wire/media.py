"""Media types: reading a Content-Type, file suffixes, and telling a file's type from its first bytes."""

from __future__ import annotations

import re
from functools import lru_cache

OCTETS = "application/octet-stream"
PAGES = ("text/html", "application/xhtml+xml")
"""What a proxy in between answers with."""

_WORD = r"[!#$%&'*+\-.0-9A-Z^_`a-z|~]+"
_TYPE = re.compile(rf"{_WORD}/{_WORD}")
_PARAMETER = re.compile(r";\s*([^\s;=\"]+)\s*=\s*(?:\"([^\"\\]*(?:\\.[^\"\\]*)*)\"|([^;\"]*))", re.DOTALL)
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)
_PRINTABLE = re.compile(r"[\x20-\x7e]+")

_TYPES = (
    ("image/png", ".png", "image/x-png", rb"\x89PNG\r\n\x1a\n"),
    ("image/jpeg", ".jpg .jpeg", "image/jpg", rb"\xff\xd8\xff"),
    ("image/webp", ".webp", "", rb"RIFF.{4}WEBP"),
    ("image/gif", ".gif", "", rb"GIF8[79]a"),
    ("image/avif", ".avif", "", rb".{4}ftyp(?:avi[fs]|mif1.{4}(?:.{4}){0,8}?avif)"),
    ("image/heic", ".heic", "", rb".{4}ftyp(?:hei[cmsx]|hev[cx]|mif1)"),
    ("image/bmp", ".bmp", "", rb"BM.{4}\0{4}"),
    ("image/tiff", ".tiff .tif", "", rb"II\*\0|MM\0\*"),
    ("image/svg+xml", ".svg", "", b""),
    ("audio/mpeg", ".mp3", "audio/mp3", rb"ID3|\xff[\xe2\xe3\xf2\xf3\xfa\xfb]"),
    ("audio/wav", ".wav", "audio/x-wav audio/wave audio/vnd.wave", rb"RIFF.{4}WAVE"),
    ("audio/flac", ".flac", "audio/x-flac", rb"fLaC"),
    ("audio/ogg", ".ogg .opus", "", rb"OggS"),
    ("audio/mp4", ".m4a", "audio/x-m4a", rb".{4}ftypM4A "),
    ("audio/aac", ".aac", "", rb"\xff[\xf1\xf9]"),
    ("video/quicktime", ".mov", "", rb".{4}ftypqt  "),
    ("video/mp4", ".mp4 .m4v", "", rb".{4}ftyp"),
    ("video/webm", ".webm", "", rb"\x1aE\xdf\xa3.{0,500}?webm"),
    ("video/x-matroska", ".mkv", "", rb"\x1aE\xdf\xa3"),
    ("text/plain", ".txt", "", b""),
    ("text/csv", ".csv", "", b""),
    ("text/html", ".html .htm", "", b""),
    ("application/json", ".json", "", b""),
    ("application/pdf", ".pdf", "", rb"%PDF-"),
    ("application/zip", ".zip", "application/x-zip-compressed", rb"PK(?:\x03\x04|\x05\x06)"),
    ("model/gltf-binary", ".glb", "", rb"glTF"),
    ("model/gltf+json", ".gltf", "", b""),
    (OCTETS, ".bin", "", b""),
)
"""A type, its suffixes, its other names, and what its files begin with, where that tells.

Files get the first suffix, and the first row whose bytes fit counts.
"""

_KINDS = ("image", "video", "audio")
_MAGIC = [(re.compile(magic, re.DOTALL), kind) for kind, _, _, magic in _TYPES if magic]
_SUFFIX = {
    name: suffixes.split()[0] for kind, suffixes, others, _ in _TYPES for name in (kind, *others.split())
}
_TYPE_BY_SUFFIX = {suffix: kind for kind, suffixes, _, _ in _TYPES for suffix in suffixes.split()}


def is_type(text: object) -> bool:
    """Tell whether `text` is a string of the form `type/subtype`, without parameters."""
    return isinstance(text, str) and _TYPE.fullmatch(text) is not None


def is_sound(content_type: str) -> bool:
    """Tell whether a Content-Type, with its parameters, can be shown, split and sent."""
    return _PRINTABLE.fullmatch(content_type) is not None and is_type(split(content_type)[0])


def clean(content_type: str) -> str:
    """Return a Content-Type that is sound, as the service wrote it."""
    text = content_type.strip()
    return text if is_sound(text) else OCTETS


def split(header: str) -> tuple[str, dict[str, str]]:
    """Return a Content-Type's media type and parameters, keys in lower case and quoted values unquoted.

    Never raises: what cannot be read is left out, and of a repeated parameter the first counts.
    """
    kind = header.partition(";")[0]
    parameters: dict[str, str] = {}
    for key, quoted, plain in _PARAMETER.findall(header, len(kind)):
        parameters.setdefault(key.lower(), _ESCAPE.sub(r"\1", quoted) if quoted else plain.strip())
    return kind.strip().lower(), parameters


@lru_cache(maxsize=64)
def suffix_for(content_type: str) -> str:
    """Return the file suffix, with its dot, for a Content-Type; ".bin" for one that is not known."""
    return _SUFFIX.get(split(content_type)[0], ".bin")


def type_for_name(filename: str) -> str | None:
    """Return the media type that a file name's suffix stands for; None if the suffix is not a known one."""
    _, dot, suffix = filename.rpartition(".")
    return _TYPE_BY_SUFFIX.get(dot + suffix.lower())


def type_of(filename: str, head: bytes) -> str:
    """Return the media type of a file: what its name says, else what its first bytes tell.

    Those are believed before the name where they tell another type of the same kind: many a picture from the
    web is called .jpg and is none. A tag at the front says nothing of the sound behind it.
    """
    named, told = type_for_name(filename), sniff(head)
    if named is None:
        return told
    kind = told.partition("/")[0]
    is_better = kind in _KINDS and named.startswith(kind + "/") and not head.startswith(b"ID3")
    return told if is_better else named


def sniff(head: bytes) -> str:
    """Return the media type that a file's first bytes, some 512, tell; application/octet-stream if none."""
    for magic, kind in _MAGIC:
        if magic.match(head):
            return kind
    return OCTETS
