"""Media types: reading a Content-Type, file suffixes, and telling a file's type from its first bytes."""

from __future__ import annotations

import re
from functools import lru_cache

OCTETS = "application/octet-stream"

_WORD = r"[!#$%&'*+\-.0-9A-Z^_`a-z|~]+"
_TYPE = re.compile(rf"{_WORD}/{_WORD}")
_PARAMETER = re.compile(r";\s*([^\s;=\"]+)\s*=\s*(?:\"([^\"\\]*(?:\\.[^\"\\]*)*)\"|([^;\"]*))", re.DOTALL)
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)

# The first suffix of a type is the one that files get.
_SUFFIXES = {
    "image/png": (".png",),
    "image/jpeg": (".jpg", ".jpeg"),
    "image/webp": (".webp",),
    "image/gif": (".gif",),
    "image/avif": (".avif",),
    "image/heic": (".heic",),
    "image/bmp": (".bmp",),
    "image/tiff": (".tiff", ".tif"),
    "image/svg+xml": (".svg",),
    "video/mp4": (".mp4", ".m4v"),
    "video/webm": (".webm",),
    "video/quicktime": (".mov",),
    "video/x-matroska": (".mkv",),
    "audio/mpeg": (".mp3",),
    "audio/wav": (".wav",),
    "audio/flac": (".flac",),
    "audio/ogg": (".ogg", ".opus"),
    "audio/mp4": (".m4a",),
    "audio/aac": (".aac",),
    "text/plain": (".txt",),
    "text/csv": (".csv",),
    "text/html": (".html", ".htm"),
    "application/json": (".json",),
    "application/pdf": (".pdf",),
    "application/zip": (".zip",),
    "model/gltf-binary": (".glb",),
    "model/gltf+json": (".gltf",),
    OCTETS: (".bin",),
}
_ALIASES = {
    "image/jpg": "image/jpeg",
    "image/x-png": "image/png",
    "audio/mp3": "audio/mpeg",
    "audio/x-wav": "audio/wav",
    "audio/wave": "audio/wav",
    "audio/vnd.wave": "audio/wav",
    "audio/x-flac": "audio/flac",
    "audio/x-m4a": "audio/mp4",
    "application/x-zip-compressed": "application/zip",
}
_TYPE_BY_SUFFIX = {suffix: kind for kind, suffixes in _SUFFIXES.items() for suffix in suffixes}

_MAGIC = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
    (b"II*\x00", "image/tiff"),
    (b"MM\x00*", "image/tiff"),
    (b"ID3", "audio/mpeg"),
    (b"fLaC", "audio/flac"),
    (b"OggS", "audio/ogg"),
    (b"%PDF-", "application/pdf"),
    (b"PK\x03\x04", "application/zip"),
    (b"PK\x05\x06", "application/zip"),
    (b"glTF", "model/gltf-binary"),
)
_RIFF = {b"WEBP": "image/webp", b"WAVE": "audio/wav"}
_BRANDS = {  # ISO-BMFF, by the first four bytes of the major brand
    b"avif": "image/avif",
    b"avis": "image/avif",
    b"heic": "image/heic",
    b"heix": "image/heic",
    b"mif1": "image/heic",
    b"qt  ": "video/quicktime",
    b"M4A ": "audio/mp4",
}
_MP3_FRAMES = (b"\xff\xfb", b"\xff\xfa", b"\xff\xf3", b"\xff\xf2", b"\xff\xe3", b"\xff\xe2")
_AAC_FRAMES = (b"\xff\xf1", b"\xff\xf9")


def is_type(text: object) -> bool:
    """Tell whether `text` is a string of the form `type/subtype`, without parameters."""
    return isinstance(text, str) and _TYPE.fullmatch(text) is not None


def split(header: str) -> tuple[str, dict[str, str]]:
    """Return a Content-Type's media type and parameters, keys in lower case and quoted values unquoted.

    Never raises: what cannot be read is left out, and of a repeated parameter the first counts.
    """
    kind, _, rest = header.partition(";")
    if not rest:
        return kind.strip().lower(), {}
    if '"' not in rest and ";" not in rest:  # one parameter, as nearly always
        key, equals, value = rest.partition("=")
        words = key.split()
        return kind.strip().lower(), {words[0].lower(): value.strip()} if equals and len(words) == 1 else {}
    parameters: dict[str, str] = {}
    for key, quoted, plain in _PARAMETER.findall(header, len(kind)):
        parameters.setdefault(key.lower(), _ESCAPE.sub(r"\1", quoted) if quoted else plain.strip())
    return kind.strip().lower(), parameters


@lru_cache(maxsize=64)
def suffix_for(content_type: str) -> str:
    """Return the file suffix, with its dot, for a Content-Type; ".bin" for one that is not known."""
    kind = split(content_type)[0]
    return _SUFFIXES.get(_ALIASES.get(kind, kind), (".bin",))[0]


def type_for_name(filename: str) -> str | None:
    """Return the media type that a file name's suffix stands for; None if the suffix is not a known one."""
    _, dot, suffix = filename.rpartition(".")
    return _TYPE_BY_SUFFIX.get(dot + suffix.lower())


def sniff(head: bytes) -> str:
    """Return the media type that a file's first 64 bytes tell; application/octet-stream if they tell none."""
    for magic, kind in _MAGIC:
        if head.startswith(magic):
            return kind
    return _container(head) or _frames(head) or OCTETS


def _container(head: bytes) -> str | None:
    if head.startswith(b"RIFF"):
        return _RIFF.get(head[8:12])
    if head[4:8] == b"ftyp":
        return _BRANDS.get(head[8:12], "video/mp4")
    if head.startswith(b"\x1a\x45\xdf\xa3"):
        return "video/webm" if b"webm" in head[:64] else "video/x-matroska"
    return None


def _frames(head: bytes) -> str | None:
    if head.startswith(b"BM") and head[6:10] == b"\0\0\0\0":
        return "image/bmp"
    if head.startswith(_MP3_FRAMES):
        return "audio/mpeg"
    return "audio/aac" if head.startswith(_AAC_FRAMES) else None
