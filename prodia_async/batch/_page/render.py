"""The page as one file of HTML: a template, its style and script, and the jobs as data. Blocks."""

from __future__ import annotations

import base64
import hashlib
import html
import string
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from prodia_async._stats import LimitChange
from prodia_async.batch._page.contents import Contents
from prodia_async.batch._page.course import Course
from prodia_async.batch._page.rows import File, Row

_TEMPLATES = Path(__file__).parent / "templates"
_SCRIPTS = ("list.js", "cards.js", "viewer.js", "charts.js", "picks.js", "start.js")
_MOST_TEXT = 4 * 1024 * 1024
_CUTS = (2000, 1000, 500, 250)
_ESCAPES = (("<", "\\u003c"), ("\u2028", "\\u2028"), ("\u2029", "\\u2029"))
_SHARED = ("type", "config", "request", "course")


class Folder(Struct, frozen=True):
    """A batch's folder: its name, its URL as seen from the page, and what its jobs belong to."""

    name: str
    url: str
    service: str | None = None
    shard: str | None = None


class Told(Struct, frozen=True):
    """What the page tells."""

    title: str
    folders: tuple[Folder, ...]
    contents: Contents
    course: Course | None = None
    limits: tuple[LimitChange, ...] = ()


def render(told: Told) -> bytes:
    """Return the page as one file of HTML. The same batch gives the same bytes."""
    style = (_TEMPLATES / "page.css").read_text(encoding="utf-8")
    parts = [(_TEMPLATES / name).read_text(encoding="utf-8") for name in _SCRIPTS]
    script = '"use strict";\n(() => {\n' + "".join(parts) + "})();\n"
    page = string.Template((_TEMPLATES / "page.html").read_text(encoding="utf-8"))
    texts = {"title": told.title, "done": f"{told.contents.done:,}", "failed": f"{told.contents.failed:,}"}
    return page.substitute(
        {name: html.escape(text) for name, text in texts.items()},
        style=style,
        style_hash=_hash(style),
        script=script,
        script_hash=_hash(script),
        data=json_for_script(_data(told)),
    ).encode()


def json_for_script(value: Any) -> str:
    """Return JSON that nothing in it can end the element, or break the line, that it stands in."""
    text = msgspec.json.encode(value).decode()
    for character, escape in _ESCAPES:
        text = text.replace(character, escape)
    return text


def _data(told: Told) -> dict[str, Any]:
    """Return what the script needs: rows as lists in the order of `columns`; texts that jobs share, once."""
    contents, texts = told.contents, dict[str, int]()
    groups = {failure.group: number for number, (failure, _) in enumerate(contents.reasons)}
    cut = _cut_for(contents)

    def shared(text: str) -> int:
        return texts.setdefault(text, len(texts))

    def file(value: File | None) -> list[Any] | None:
        return None if value is None else [value.url, shared(value.media), value.size, value.preview]

    def cell(row: Row, name: str) -> Any:
        value = getattr(row, name)
        if name in _SHARED:
            return shared(value)
        if name == "prompt":
            return value if len(value) <= cut else f"{value[:cut]}…"
        if name in ("files", "inputs"):
            return [file(one) for one in value]
        if name == "error" and value is not None:
            reason = groups.get(value.group)
            return [shared(value.label), shared(value.message), value.request_id, value.may_have_run, reason]
        return round(value, 6) if isinstance(value, float) else value

    columns = Row.__struct_fields__
    return {
        "columns": columns,
        "rows": [[cell(row, name) for name in columns] for row in contents.rows],
        "texts": list(texts),
        "folders": told.folders,
        "done": contents.done,
        "failed": contents.failed,
        "dollars": contents.dollars,
        "first": contents.first,
        "last": contents.last,
        "reasons": [[failure.label, failure.message, count] for failure, count in contents.reasons],
        "course": told.course,
        "limits": told.limits,
    }


def _cut_for(contents: Contents) -> int:
    """Return how many characters of each prompt the page can carry: most batches' prompts whole."""
    lengths = [len(row.prompt) for row in contents.rows]
    fits = (cut for cut in _CUTS if sum(min(length, cut) for length in lengths) <= _MOST_TEXT)
    return next(fits, _CUTS[-1])


def _hash(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
