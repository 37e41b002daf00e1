r"""The headers of a part, by the rule of the service's language, Go (`mime.ParseMediaType`).

In a quoted string a backslash escapes only a character that is special in MIME (`\"`, `\\`), a percent sign
means itself, and names are UTF-8. Browsers write and read Content-Disposition by another rule.
"""

from __future__ import annotations

import re
from functools import lru_cache
from urllib.parse import unquote_to_bytes

from msgspec import Struct

from prodia_async._wire import media

_MAX_HEADERS = 64
_MAX_LINE = 8 * 1024

_FOLD = r"\r\n[ \t](?![ \t\v\f]*(?:\r\n|\Z))"
"""What goes on in another line, which has something."""

_HEADER = re.compile(rf"([a-zA-Z0-9\-_]+)[ \t]*:[ \t]*((?:[^\r\n]|{_FOLD})*)(?:\r\n|\Z)")
_LENGTH = re.compile(r"0|[1-9][0-9]{0,17}")  # no content is longer
_BARE = re.compile(rb"\r(?!\n)|(?<!\r)\n|\0")

_WORD = rb"[!#$%&'*+\-.0-9A-Z^_`a-z{|}~]+"
_KIND = re.compile(rb"[ \t]*(" + _WORD + rb")[ \t]*(?=;|\Z)")
_PARAMETER = re.compile(
    rb"[ \t]*;[ \t]*(" + _WORD + rb")[ \t]*=[ \t]*(?:\"([^\"\\]*(?:\\.[^\"\\]*)*)\"|(" + _WORD + rb"))",
    re.DOTALL,
)
_END = re.compile(rb"[ \t]*;?[ \t]*\Z")
_ESCAPE = re.compile(rb"\\([()<>@,;:\\\"/\[\]?=])")


class Head(Struct, frozen=True):
    """What a part's headers say of it: its form name, file name and media type.

    `filename` is the service's own name for it, never a path to trust. `length`: how many bytes of content
    they promise, if they do.
    """

    name: str | None = None
    filename: str | None = None
    content_type: str = media.OCTETS
    length: int | None = None


@lru_cache(maxsize=64)  # a service's replies keep coming with a few forms of at most 64 KiB
def read_head(head: bytes) -> Head:
    """Read a part's headers as they came, up to the empty line. Raises ValueError saying what is wrong."""
    if _BARE.search(head):
        raise ValueError("a bare CR, LF or NUL")
    text, position, count = head.decode("latin-1"), 0, 0
    found: dict[str, list[str]] = {}
    while position < len(text):
        header = _HEADER.match(text, position)
        if header is None:
            raise ValueError("a line that is no header")
        if header.end(2) - position > _MAX_LINE or count == _MAX_HEADERS:
            raise ValueError(f"more than {_MAX_LINE} bytes in a line, or than {_MAX_HEADERS} headers")
        found.setdefault(header[1].title(), []).append(re.sub(_FOLD, " ", header[2]))
        position, count = header.end(), count + 1
    said = [read_disposition(value.encode("latin-1")) for value in found.get("Content-Disposition", [""])]
    if said[0] is None or any(each is None or each[0] != "form-data" for each in said):
        raise ValueError("a Content-Disposition that cannot be read")
    length, *more_lengths = found.get("Content-Length", [None])
    if more_lengths or (length is not None and not _LENGTH.fullmatch(length)):
        raise ValueError("a Content-Length that is no number, or a second one")
    content_type = media.clean(found.get("Content-Type", [""])[0])
    return Head(*said[0][1:], content_type, None if length is None else int(length))


def read_disposition(raw: bytes) -> tuple[str, str | None, str | None] | None:
    """Return kind, name and file name of a Content-Disposition header; None where it cannot be read.

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
    texts: list[str | None] = []
    for name in (b"name", b"filename"):
        charset, _, rest = found.get(name + b"*", b"").partition(b"'")
        _, quote, text = rest.partition(b"'")
        is_extended = quote and charset.lower() in (b"utf-8", b"us-ascii")
        raw_text = unquote_to_bytes(text) if is_extended else found.get(name)
        texts.append(None if raw_text is None else raw_text.decode("utf-8", "replace"))
    return kind.group(1).decode("ascii").lower(), texts[0], texts[1]
