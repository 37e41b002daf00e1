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

_KINDS = ("image", "video", "audio")
_MAGIC = (  # what a file of a type begins with; the first that fits counts
    (rb"\x89PNG\r\n\x1a\n", "image/png"),
    (rb"\xff\xd8\xff", "image/jpeg"),
    (rb"GIF8[79]a", "image/gif"),
    (rb"II\*\0|MM\0\*", "image/tiff"),
    (rb"BM.{4}\0{4}", "image/bmp"),
    (rb"RIFF.{4}WEBP", "image/webp"),
    (rb"RIFF.{4}WAVE", "audio/wav"),
    (rb"ID3|\xff[\xe2\xe3\xf2\xf3\xfa\xfb]", "audio/mpeg"),
    (rb"\xff[\xf1\xf9]", "audio/aac"),
    (rb"fLaC", "audio/flac"),
    (rb"OggS", "audio/ogg"),
    (rb"%PDF-", "application/pdf"),
    (rb"PK(?:\x03\x04|\x05\x06)", "application/zip"),
    (rb"glTF", "model/gltf-binary"),
    (rb"\x1aE\xdf\xa3.{0,500}?webm", "video/webm"),
    (rb"\x1aE\xdf\xa3", "video/x-matroska"),
    (rb".{4}ftyp(?:avi[fs]|mif1.{4}(?:.{4}){0,8}?avif)", "image/avif"),
    (rb".{4}ftyp(?:hei[cmsx]|hev[cx]|mif1)", "image/heic"),
    (rb".{4}ftypqt  ", "video/quicktime"),
    (rb".{4}ftypM4A ", "audio/mp4"),
    (rb".{4}ftyp", "video/mp4"),
)


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
    kind = split(content_type)[0]
    return _SUFFIXES.get(_ALIASES.get(kind, kind), (".bin",))[0]


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
        if re.match(magic, head, re.DOTALL):
            return kind
    return OCTETS
