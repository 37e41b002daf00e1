"""How outputs, results and outcomes show themselves in a notebook; loaded when one of them does so."""

from __future__ import annotations

import base64
import os
import stat
from html import escape
from pathlib import Path
from typing import Any

from prodia_async._engine import Outcome
from prodia_async._models import JobResult, Output
from prodia_async._settings import MiB

_MOST = 2 * MiB
"""Bytes that one cell shows. In base64 they are a third more, and Jupyter drops what is above 3 MB."""

_MOST_TEXT = 20_000
"""Characters of one text that are shown."""

_MOST_OUTPUTS = 50

_PICTURES = {"image/png", "image/jpeg", "image/gif"}
"""What every front end shows by itself; others are shown by the browser."""


class _LeftOutError(Exception):
    """Why the bytes of an output are not shown."""


def bundle(value: object) -> dict[str, Any] | None:
    """Return what a notebook shows of a value, by media type; None for what shows no more than its repr."""
    if isinstance(value, Outcome):
        if value.error is None:
            return bundle(value.result)
        return _page(value, f"<pre>{escape(f'{type(value.error).__name__}: {value.error}')}</pre>")
    if isinstance(value, JobResult):
        return _page(value, _result(value))
    if isinstance(value, Output):
        return _output(value)
    return None


def _page(value: object, html: str) -> dict[str, Any]:
    return {"text/plain": repr(value), "text/html": html}


def _output(output: Output) -> dict[str, Any]:
    kind = _kind(output)
    if kind in _PICTURES:
        try:
            return {"text/plain": repr(output), kind: _encoded(_bytes(output, _MOST))}
        except _LeftOutError:
            pass  # the page says why
    return _page(output, _figure(output, _MOST)[0])


def _result(result: JobResult) -> str:
    facts = [result.type, result.id, *(f"warning: {warning}" for warning in result.warnings)]
    if result.metrics.elapsed is not None:
        facts.append(f"{result.metrics.elapsed:.2f} s")
    if result.price is not None:
        facts.append(f"${result.price.dollars:.4f}")
    parts = [f"<div>{escape(' · '.join(fact for fact in facts if fact))}</div>"]
    left = _MOST
    for output in result.outputs[:_MOST_OUTPUTS]:
        part, used = _figure(output, left)
        parts.append(part)
        left -= used
    if len(result.outputs) > _MOST_OUTPUTS:
        parts.append(f"<div>... and {len(result.outputs) - _MOST_OUTPUTS} more outputs</div>")
    return "\n".join(parts)


def _figure(output: Output, most: int) -> tuple[str, int]:
    """Return an output as HTML, and how many of its bytes are in it."""
    kind = _kind(output)
    family = kind.partition("/")[0]
    place = output.url or output.path or output.filename or ""
    caption = escape(f"{kind} · {output.size:,} bytes · {place}")
    if family not in {"image", "video", "audio", "text"} and kind != "application/json":
        return f"<div>{caption}</div>", 0
    try:
        data = _bytes(output, most)
    except _LeftOutError as why:
        return f"<div>{caption}: not shown, {escape(str(why))}</div>", 0
    if family in {"text", "application"}:
        return f"<div>{caption}</div><pre>{_text(data)}</pre>", len(data)
    source = f'src="data:{escape(kind)};base64,{_encoded(data)}" style="max-width: 100%"'
    tag = {"image": f"<img {source}>", "audio": f"<audio controls {source}></audio>"}
    return f"<div>{tag.get(family, f'<video controls {source}></video>')}</div><div>{caption}</div>", len(
        data
    )


def _kind(output: Output) -> str:
    return output.content_type.partition(";")[0].strip().lower()


def _text(data: bytes) -> str:
    text = data.decode("utf-8", "replace")
    rest = len(text) - _MOST_TEXT
    return escape(text[:_MOST_TEXT]) + (f"\n... and {rest:,} more characters" if rest > 0 else "")


def _encoded(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _bytes(output: Output, most: int) -> bytes:
    """Return an output's bytes, from memory or a plain file; raise _LeftOutError where they are not shown."""
    too_much = _LeftOutError(f"for a cell shows at most {_MOST // MiB} MiB")
    if output.data is None and output.path is None:
        raise _LeftOutError("for its bytes are not on this computer")
    if output.size > most:
        raise too_much
    if output.data is not None:
        return output.data
    try:
        with open(output.path or "", "rb", opener=_plain_file) as file:
            data = file.read(most + 1)
    except OSError as error:
        raise _LeftOutError(f"for it cannot be read: {error.strerror or error}") from None
    if len(data) > most:
        raise too_much
    return data


def _plain_file(path: str, flags: int) -> int:
    """Open a file, but no pipe, which would wait for its other end, and no device."""
    if not stat.S_ISREG(Path(path).stat().st_mode):
        raise OSError(0, "it is no file any more")
    return os.open(path, flags)
