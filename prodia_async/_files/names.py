"""File names that are safe on every system, made from text that nobody has checked."""

from __future__ import annotations

import hashlib
import itertools
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_MOST_BYTES = 100
_FORBIDDEN = re.compile(r"[^A-Za-z0-9._-]")
_RESERVED = re.compile(r"(?:con|prn|aux|nul|com[0-9]|lpt[0-9])(?:\.|\Z)", re.IGNORECASE)


def safe_name(text: str) -> str:
    """Return `text` as a file name without a directory, at most 109 bytes long.

    Letters, digits, `.`, `_` and `-` stay. Where anything had to change (other characters, more than
    100 bytes, a dot at either end, a name that Windows reserves), 8 hex digits of the SHA-256 of `text`
    follow, so that two texts do not fall on one name.
    """
    name = _FORBIDDEN.sub("_", text)[:_MOST_BYTES].strip(".")
    if _RESERVED.match(name):
        name = f"_{name}"[:_MOST_BYTES]
    if name == text and name:
        return name
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    return f"{name or 'output'}-{digest}"


def numbered(stem: str, suffix: str) -> Iterator[str]:
    """Give `stem` + `suffix`, then the same with -2, -3 ... before the suffix, without end."""
    return (name_of(stem, suffix, number) for number in itertools.count(1))


def name_of(stem: str, suffix: str, number: int) -> str:
    """Return `stem` + `suffix`, from number 2 on with the number before the suffix."""
    return f"{stem}{suffix}" if number == 1 else f"{stem}-{number}{suffix}"
