r"""The headers of a part, by the rule of the service's language, Go (`mime.ParseMediaType`).

In a quoted string a backslash escapes only a character that is special in MIME (`\"`, `\\`), a percent sign
means itself, and names are UTF-8. Browsers write and read Content-Disposition by another rule.
"""

from __future__ import annotations

import re
from urllib.parse import unquote_to_bytes

from msgspec import Struct

_MAX_HEADERS = 64
_MAX_LINE = 8 * 1024

_NAME = re.compile(r"[a-zA-Z0-9\-_]+")
_LENGTH = re.compile(r"0|[1-9][0-9]{0,17}")  # no content is longer
_BARE = re.compile(rb"\r(?!\n)|(?<!\r)\n|\0")
_BLANKS = " \t\v\f"

_WORD = rb"[!#$%&'*+\-.0-9A-Z^_`a-z{|}~]+"
_KIND = re.compile(rb"[ \t]*(" + _WORD + rb")[ \t]*(?=;|\Z)")
_PARAMETER = re.compile(
    rb"[ \t]*;[ \t]*(" + _WORD + rb")[ \t]*=[ \t]*(?:\"([^\"\\]*(?:\\.[^\"\\]*)*)\"|(" + _WORD + rb"))",
    re.DOTALL,
)
_END = re.compile(rb"[ \t]*;?[ \t]*\Z")
_ESCAPE = re.compile(rb"\\([()<>@,;:\\\"/\[\]?=])")


class Head(Struct, frozen=True):
    """What a part's headers say of it: its form name, file name and media type, as the service wrote them.

    `length`: how many bytes of content they promise, if they do.
    """

    name: str | None
    filename: str | None
    content_type: str
    length: int | None = None


class Disposition(Struct, frozen=True):
    """A Content-Disposition header: its kind in lower case, and the two parameters that matter."""

    kind: str
    name: str | None
    filename: str | None


def read_head(head: bytes) -> Head:
    """Read a part's headers as they came, up to the empty line. Raises ValueError saying what is wrong."""
    if _BARE.search(head):
        raise ValueError("a bare CR, LF or NUL")
    headers = _headers(head)
    dispositions = [
        read_disposition(value.encode("latin-1")) for name, value in headers if name == "Content-Disposition"
    ]
    first = dispositions[0] if dispositions else None
    if first is None or any(each is None or each.kind != "form-data" for each in dispositions):
        raise ValueError("a Content-Disposition that cannot be read")
    content_type = next((value for name, value in headers if name == "Content-Type"), "")
    length = next((int(value) for name, value in headers if name == "Content-Length"), None)
    return Head(first.name, first.filename, content_type, length)


def _headers(head: bytes) -> list[tuple[str, str]]:
    """Split headers into names, spelled as usual, and values; a line that begins with a blank goes on."""
    headers: list[tuple[str, str]] = []
    has_length = False
    for line in head.decode("latin-1").split("\r\n"):
        whole = line
        if line.startswith((" ", "\t")):
            if not headers or not line.strip(_BLANKS):
                raise ValueError("a line that continues none, or with nothing")
            whole = ": ".join(headers.pop()) + " " + line[1:]
        if len(whole) > _MAX_LINE or len(headers) == _MAX_HEADERS:
            raise ValueError(f"more than {_MAX_LINE} bytes in a line, or than {_MAX_HEADERS} headers")
        name, colon, value = whole.partition(":")
        name, value = name.strip().title(), value.lstrip(" \t")
        if not colon or not _NAME.fullmatch(name):
            raise ValueError("a line that is no header")
        if name == "Content-Length":
            if has_length or not _LENGTH.fullmatch(value):
                raise ValueError("a Content-Length that is no number, or a second one")
            has_length = True
        headers.append((name, value))
    return headers


def read_disposition(raw: bytes) -> Disposition | None:
    """Read the value of a Content-Disposition header; None where it cannot be read.

    `filename*=UTF-8''...` (RFC 5987) wins over a plain `filename`. Bytes that are no UTF-8 are replaced by
    U+FFFD. Values continued in pieces (`filename*0=`) are not joined: no server sends them.
    """
    kind = _KIND.match(raw)
    if kind is None:
        return None
    found: dict[bytes, bytes] = {}
    position = kind.end()
    while parameter := _PARAMETER.match(raw, position):
        key, quoted, plain = parameter.groups()
        value = plain if quoted is None else _ESCAPE.sub(rb"\1", quoted)
        if found.setdefault(key.lower(), value) != value:
            return None
        position = parameter.end()
    if not _END.match(raw, position):
        return None
    return Disposition(
        kind.group(1).decode("ascii").lower(), _parameter(found, b"name"), _parameter(found, b"filename")
    )


def _parameter(found: dict[bytes, bytes], key: bytes) -> str | None:
    value = _extended(found.get(key + b"*"))
    if value is None:
        value = found.get(key)
    return None if value is None else value.decode("utf-8", "replace")


def _extended(value: bytes | None) -> bytes | None:
    """Return the bytes of a `charset'language'percent-encoded` value; None for another charset or form."""
    charset, _, rest = (value or b"").partition(b"'")
    _, quote, text = rest.partition(b"'")
    return unquote_to_bytes(text) if quote and charset.lower() in (b"utf-8", b"us-ascii") else None
