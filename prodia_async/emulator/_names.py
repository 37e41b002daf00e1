"""Content-Disposition as Go reads it: `mime.ParseMediaType` and `mime/multipart.Part.FileName`.

The service is written in Go, so this is how a file name that a client sends is understood. The rule is
applied to the raw bytes of the header: in a quoted string a backslash escapes only a following special
character of RFC 2045, and percent-encodings stay as they are.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import unquote_to_bytes

_SPECIALS = rb"()<>@,;:\\\"/\[\]?="
_TOKEN = re.compile(rb"[^\x00-\x20\x7f-\xff" + _SPECIALS + rb"]+")
_QUOTED = re.compile(rb'"((?:\\[' + _SPECIALS + rb"]|\\(?![" + _SPECIALS + rb'])|[^"\\\r\n])*)"')
_ESCAPE = re.compile(rb"\\([" + _SPECIALS + rb"])")
_EXTENDED = re.compile(rb"(us-ascii|utf-8)'[^']*'(.*)", re.IGNORECASE | re.DOTALL)


@dataclass(frozen=True)
class Disposition:
    """A part's form name and its file name; empty where the header gives none or cannot be read."""

    name: str
    filename: str


def read_disposition(header: bytes) -> Disposition:
    """Read a raw Content-Disposition header."""
    kind, parameters = _parse(header)
    if kind != b"form-data":
        return Disposition("", _base(parameters.get(b"filename", b"")))
    return Disposition(_text(parameters.get(b"name", b"")), _base(parameters.get(b"filename", b"")))


def _parse(header: bytes) -> tuple[bytes, dict[bytes, bytes]]:
    kind, _, _ = header.partition(b";")
    rest = header[len(kind) :]
    parameters: dict[bytes, bytes] = {}
    while rest.strip():
        found = _parameter(rest)
        if found is None:
            return kind.strip().lower(), _decoded(parameters) if rest.strip() == b";" else {}
        key, value, rest = found
        if parameters.setdefault(key, value) != value:
            return b"", {}
    return kind.strip().lower(), _decoded(parameters)


def _parameter(rest: bytes) -> tuple[bytes, bytes, bytes] | None:
    """Read `; key=value` from the front of `rest`: the key, the value, and what follows."""
    rest = rest.lstrip()
    key = _TOKEN.match(rest[1:].lstrip()) if rest.startswith(b";") else None
    if key is None:
        return None
    rest = rest[1:].lstrip()[key.end() :].lstrip()
    if not rest.startswith(b"="):
        return None
    rest = rest[1:].lstrip()
    quoted = _QUOTED.match(rest)
    if quoted is not None:
        return key[0].lower(), _ESCAPE.sub(rb"\1", quoted[1]), rest[quoted.end() :]
    token = _TOKEN.match(rest)
    return None if token is None else (key[0].lower(), token[0], rest[token.end() :])


def _decoded(parameters: dict[bytes, bytes]) -> dict[bytes, bytes]:
    """Replace `key*=utf-8''value` (RFC 2231) by the decoded `key`; the extended form wins."""
    plain = {key: value for key, value in parameters.items() if b"*" not in key}
    for key, value in parameters.items():
        extended = _EXTENDED.fullmatch(value) if key.endswith(b"*") else None
        if extended is not None:
            plain[key[:-1]] = unquote_to_bytes(extended[2])
    return plain


def _base(filename: bytes) -> str:
    """Return the last element of a path, as Go's `filepath.Base` does on Unix."""
    if not filename:
        return ""
    return _text(filename.rstrip(b"/").rpartition(b"/")[2]) or "/"


def _text(value: bytes) -> str:
    return value.decode("utf-8", "replace")
