r"""Content-Disposition by the rule of the service's language, Go (`mime.ParseMediaType`).

In a quoted string a backslash escapes only a character that is special in MIME (`\"`, `\\`), a percent sign
means itself, and names are UTF-8. Browsers write and read the header by another rule.
"""

from __future__ import annotations

import re
from urllib.parse import unquote_to_bytes

from msgspec import Struct

from prodia_async._errors import InputError

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_WORD = rb"[!#$%&'*+\-.0-9A-Z^_`a-z{|}~]+"
_KIND = re.compile(rb"[ \t]*(" + _WORD + rb")[ \t]*(?=;|\Z)")
_PARAMETER = re.compile(
    rb"[ \t]*;[ \t]*(" + _WORD + rb")[ \t]*=[ \t]*(?:\"([^\"\\]*(?:\\.[^\"\\]*)*)\"|(" + _WORD + rb"))",
    re.DOTALL,
)
_END = re.compile(rb"[ \t]*;?[ \t]*\Z")
_ESCAPE = re.compile(rb"\\([()<>@,;:\\\"/\[\]?=])")


class Disposition(Struct, frozen=True):
    """A Content-Disposition header: its kind in lower case, and the two parameters that matter."""

    kind: str
    name: str | None
    filename: str | None


def form_data(name: str, filename: str) -> bytes:
    """Return the Content-Disposition value of a part called `name` that carries the file `filename`.

    Raises InputError for a file name that would not arrive as it is.
    """
    return b'form-data; name="' + _quoted(name, "part") + b'"; filename="' + _quoted(filename, "file") + b'"'


def _quoted(name: str, what: str) -> bytes:
    if not name:
        raise InputError(f"a {what} name cannot be empty")
    if _CONTROL.search(name):
        raise InputError(f"the {what} name {name!r} holds a control character: rename it")
    if "/" in name:
        raise InputError(
            f"the {what} name {name!r} holds a directory, which the service strips: give the base name"
        )
    try:
        raw = name.encode()
    except UnicodeEncodeError:
        raise InputError(f"the {what} name {name!r} is not Unicode text: rename it") from None
    return raw.replace(b"\\", b"\\\\").replace(b'"', b'\\"')


def parse(raw: bytes) -> Disposition | None:
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
