"""Media types: Content-Type and Accept headers, and what kind of answer a client asked for."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

MULTIPART = "multipart/form-data"
JSON = "application/json"

_PARAMETER = re.compile(r';\s*([^\s;="]+)(?:\s*=\s*(?:"((?:\\.|[^"\\])*)"|([^;,\s"]*)))?')


def split_media_type(header: str) -> tuple[str, dict[str, str]]:
    """Return a header's media type in lower case, and its parameters; one without a value maps to ""."""
    kind = header.partition(";")[0].strip().lower()
    parameters: dict[str, str] = {}
    for name, quoted, plain in _PARAMETER.findall(header):
        parameters.setdefault(name.lower(), re.sub(r"\\(.)", r"\1", quoted) or plain)
    return kind, parameters


@dataclass(frozen=True)
class Accept:
    """What a client asked for: the form of the answer, and the first output's type where it named one."""

    form: Literal["multipart", "json", "direct"]
    media_type: str | None = None


def read_accept(header: str) -> Accept:
    """Read an Accept header (API reference, Response Body); of several types the first one counts.

    `multipart/form-data; image/png` names the output's type after the semicolon. Without a wish the
    answer is multipart, in which nothing is lost.
    """
    kind, parameters = split_media_type(header.partition(",")[0])
    wished = next((name for name in parameters if "/" in name), None)
    if kind in ("", "*/*", MULTIPART):
        return Accept("multipart", wished)
    if kind == JSON:
        return Accept("json", wished)
    return Accept("direct", None if kind.endswith("/*") else kind)
