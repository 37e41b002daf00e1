"""The page as one file of HTML: a template, its style and script, and the jobs as data. Blocks."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jinja2
import msgspec

from prodia_async.batch.page import charts, figures
from prodia_async.batch.page.rows import Failure, File, Row

if TYPE_CHECKING:
    from prodia_async.batch.page.contents import Contents
    from prodia_async.batch.page.timeline import Timeline

_TEMPLATES = Path(__file__).parent / "templates"
_SCRIPTS = ("list.js", "cards.js", "viewer.js", "start.js")
_MOST_TEXT = 4 * 1024 * 1024
_CUTS = (2000, 1000, 500, 250)
_ESCAPES = (("<", "\\u003c"), ("\u2028", "\\u2028"), ("\u2029", "\\u2029"))


def render(title: str, contents: Contents, timeline: Timeline | None) -> bytes:
    """Return the page. The same batch gives the same bytes."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    style = _read("report.css")
    script = '"use strict";\n(() => {\n' + "".join(_read(name) for name in _SCRIPTS) + "})();\n"
    drawn = [] if timeline is None else charts.charts(timeline)
    return (
        environment.get_template("report.html")
        .render(
            title=title,
            contents=contents,
            timeline=timeline,
            facts=_facts(contents, timeline),
            period=_period(contents),
            charts=drawn,
            size=charts,
            types=sorted({row.type for row in contents.rows if row.type}),
            figures=figures,
            style=style,
            style_hash=_hash(style),
            script=script,
            script_hash=_hash(script),
            data=json_for_script(_data(contents, timeline, drawn)),
        )
        .encode()
    )


def json_for_script(value: Any) -> str:
    """Return JSON that nothing in it can end the element, or break the line, that it stands in."""
    text = msgspec.json.encode(value).decode()
    for character, escape in _ESCAPES:
        text = text.replace(character, escape)
    return text


def _facts(contents: Contents, timeline: Timeline | None) -> list[tuple[str, str]]:
    facts = [("Done", figures.count(contents.done)), ("Failed", figures.count(contents.failed))]
    if timeline is not None:
        facts.append(("Time", figures.duration(timeline.seconds)))
    spans = [row.elapsed for row in contents.rows if row.elapsed is not None]
    if spans:
        facts.append(("Mean job", figures.duration(sum(spans) / len(spans))))
    if contents.dollars is not None:
        facts.append(("Price", figures.dollars(contents.dollars)))
    return facts


def _period(contents: Contents) -> str | None:
    first, last = figures.moment(contents.first), figures.moment(contents.last)
    if first is None or last is None or first == last:
        return first
    return f"{first} to {last}"


class _Table:
    """Texts that many jobs share, each sent once and named by its number."""

    def __init__(self) -> None:
        self.numbers: dict[str, int] = {}

    def number(self, text: str) -> int:
        return self.numbers.setdefault(text, len(self.numbers))


def _data(contents: Contents, timeline: Timeline | None, drawn: list[charts.Chart]) -> dict[str, Any]:
    """Return what the script needs: rows as lists in the order of `columns`, shared texts in tables."""
    tables = {name: _Table() for name in ("type", "config", "course", "media")}
    cut = _cut_for(contents)
    rows = [[_cell(row, name, tables, cut) for name in _COLUMNS] for row in contents.rows]
    return {
        "columns": _COLUMNS,
        "file": _FILE,
        "error": _ERROR,
        "tables": {name: list(table.numbers) for name, table in tables.items()},
        "rows": rows,
        "times": [] if timeline is None else charts.times(timeline),
        "charts": [[[line.name, line.values] for line in chart.lines] for chart in drawn],
    }


_COLUMNS = list(Row.__struct_fields__)
_FILE = [name for name in File.__struct_fields__ if name != "path"]
_ERROR = [*Failure.__struct_fields__, "label"]


def _cell(row: Row, name: str, tables: dict[str, _Table], cut: int) -> Any:
    value = getattr(row, name)
    if name in tables:
        return tables[name].number(value)
    if name == "prompt":
        return value if len(value) <= cut else f"{value[:cut]}…"
    if name == "files":
        return [[file.url, tables["media"].number(file.media), file.size, file.preview] for file in row.files]
    if name == "error" and value is not None:
        return [getattr(value, column) for column in _ERROR]
    return round(value, 6) if isinstance(value, float) else value


def _cut_for(contents: Contents) -> int:
    """Return how many characters of each prompt the page can carry: most batches' prompts whole."""
    lengths = [len(row.prompt) for row in contents.rows]
    fits = (cut for cut in _CUTS if sum(min(length, cut) for length in lengths) <= _MOST_TEXT)
    return next(fits, _CUTS[-1])


def _read(name: str) -> str:
    return (_TEMPLATES / name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
