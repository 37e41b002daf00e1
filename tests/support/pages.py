"""The code blocks of the README and of the docs' pages."""

from __future__ import annotations

import pathlib
import re
from typing import NamedTuple

ROOT = pathlib.Path(__file__).parents[2]

_BLOCK = re.compile(
    r"^(?:<!-- not run: (?P<reason>[^\n]+?) -->\n\n?)?```(?P<language>\w+)\n(?P<text>.*?)^```$",
    re.DOTALL | re.MULTILINE,
)


class Block(NamedTuple):
    """A fenced block: the line where its text begins, and why it is not run, if it says so."""

    page: str
    line: int
    language: str
    text: str
    reason: str | None


def blocks(page: str, language: str | None = None) -> list[Block]:
    """Return a page's blocks, of one language perhaps; `page` is a path in the repository."""
    text = (ROOT / page).read_text(encoding="utf-8")
    found = [
        Block(
            page,
            text.count("\n", 0, match.start("text")) + 1,
            match["language"],
            match["text"],
            match["reason"],
        )
        for match in _BLOCK.finditer(text)
    ]
    return [block for block in found if language in (None, block.language)]


def saved(page: str) -> dict[str, str]:
    """Return what a page has its reader save, by name: "Save this as `x.py`:" stands before its block."""
    text = (ROOT / page).read_text(encoding="utf-8")
    block = r"Save this as `([\w.]+)`:\n\n```\w+\n(.*?)^```$"
    return dict(re.findall(block, text, re.DOTALL | re.MULTILINE))
