"""The lines of a manifest as they are written, before anything is made of them."""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import msgspec
from msgspec import Struct

from prodia_async._errors import InputError, quoted
from prodia_async._models import Mode

if TYPE_CHECKING:
    from prodia_async.batch._lines import LineReader

TOO_LONG = "longer than 4 MiB"
NOT_TEXT = "not UTF-8 text"
_OR_PROMPTS = "; prompts, one a line, are read from a file whose name ends in .txt"

_NO_WORD = re.compile(r"\W+")
_OF_A_PROMPT = 40
"""Characters of a prompt that its custom_id shows."""


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


class Made(Draft):
    """A job that no line says by itself: of a picture, or a prompt. `words` go into the default config."""

    words: dict[str, str] = {}


class Own(Draft):
    """A `Job` of the program's own: its `files` may be any form of input."""

    files: tuple[Any, ...] = ()


Numbered: TypeAlias = tuple[int, Draft | InputError]
"""A line's number, from 1, and the draft that stands in it, or why none does."""


class Drafts(Protocol):
    """A manifest of any form."""

    words: frozenset[str] | None
    """What may stand in the braces of the default config; None: braces mean nothing there."""

    def read(self) -> list[Numbered] | None:
        """Return the drafts of the next block, perhaps none; None at the end. Blocks."""


class _LineDrafts:
    """A manifest of which each line that is not blank is a draft."""

    words: frozenset[str] | None = None

    def __init__(self, lines: LineReader) -> None:
        self._lines = lines

    def read(self) -> list[Numbered] | None:
        """Return the drafts of the next block, perhaps none; None at the end. Blocks."""
        lines = self._lines.read()
        if lines is None:
            return None
        return [
            (line.number, InputError(TOO_LONG) if line.text is None else self._draft(line.text))
            for line in lines
            if not line.blank
        ]

    def _draft(self, text: bytes) -> Draft | InputError:
        raise NotImplementedError


class JsonDrafts(_LineDrafts):
    """A manifest of JSON lines."""

    _decoder = msgspec.json.Decoder(Draft)

    def _draft(self, text: bytes) -> Draft | InputError:
        try:
            return self._decoder.decode(text)
        except msgspec.ValidationError as error:
            return InputError(quoted(error, str))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            hint = "" if text.lstrip().startswith(b"{") else _OR_PROMPTS
            return InputError(f"not JSON: {quoted(error, str)}{hint}")


class PromptDrafts(_LineDrafts):
    """A manifest of prompts, one a line. A job is named by the prompt's first words and its SHA-256."""

    words: frozenset[str] | None = frozenset({"prompt"})

    def _draft(self, text: bytes) -> Draft | InputError:
        try:
            prompt = text.decode().strip()
        except UnicodeDecodeError:
            return InputError(NOT_TEXT)
        start = _NO_WORD.sub("-", prompt[:_OF_A_PROMPT].lower()).strip("-")
        name = f"{start}-{hashlib.sha256(prompt.encode()).hexdigest()[:8]}".lstrip("-")
        return Made(config={"prompt": prompt}, custom_id=name, words={"prompt": prompt})
