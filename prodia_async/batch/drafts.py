"""The lines of a manifest as they are written, before anything is made of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import msgspec
from msgspec import Struct

from prodia_async._errors import InputError, quoted
from prodia_async._models import Mode

if TYPE_CHECKING:
    from prodia_async.batch.lines import LineReader

TOO_LONG = "longer than 4 MiB"


class Draft(Struct, forbid_unknown_fields=True):
    """A line's own values."""

    type: str | None = None
    config: dict[str, Any] = {}
    inputs: list[str] = []
    accept: str | None = None
    custom_id: str | int | float | None = None
    priority: int = 0
    mode: Mode | None = None
    extra: dict[str, Any] = {}


Numbered: TypeAlias = tuple[int, Draft | InputError]
"""A line's number, from 1, and the draft that stands in it, or why none does."""


class Drafts(Protocol):
    """A manifest of either form."""

    def read(self) -> list[Numbered] | None:
        """Return the drafts of the next block, perhaps none; None at the end. Blocks."""


class JsonDrafts:
    """A manifest of JSON lines."""

    def __init__(self, lines: LineReader) -> None:
        self._lines = lines
        self._decoder = msgspec.json.Decoder(Draft)

    def read(self) -> list[Numbered] | None:
        """Return the drafts of the next block, perhaps none; None at the end. Blocks."""
        lines = self._lines.read()
        if lines is None:
            return None
        return [(line.number, self._draft(line.text)) for line in lines if not line.blank]

    def _draft(self, text: bytes | None) -> Draft | InputError:
        if text is None:
            return InputError(TOO_LONG)
        try:
            return self._decoder.decode(text)
        except msgspec.ValidationError as error:
            return InputError(quoted(error, str))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            return InputError(f"not JSON: {quoted(error, str)}")
