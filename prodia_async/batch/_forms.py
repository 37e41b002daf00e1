"""What a manifest is not: files of another kind, and other services' batches, told by how they begin."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from collections.abc import Sequence

_LINE = '{"custom_id": "a1", "type": "...", "config": {...}}'
_EACH = f"write a line such as {_LINE} for each job"
_UTF8 = "save it as UTF-8"
_EXPORT = "export it as CSV or JSON lines"
_UNPACK = "unpack it, and name the manifest in it"
_INPUT = "name it in `inputs` of a manifest's line, or its folder in place of a manifest"
_SHEET = "a spreadsheet", "save it as CSV (UTF-8)"

_MAGIC: tuple[tuple[bytes, str, str], ...] = (
    (b"\x00\x00\xfe\xff", "UTF-32 text", _UTF8),
    (b"\xff\xfe\x00\x00", "UTF-32 text", _UTF8),
    (b"\xff\xfe", "UTF-16 text", _UTF8),
    (b"\xfe\xff", "UTF-16 text", _UTF8),
    (b"\xd0\xcf\x11\xe0", *_SHEET),
    (b"\x1f\x8b", "a gzip file", _UNPACK),
    (b"BZh", "a bzip2 file", _UNPACK),
    (b"\xfd7zXZ\x00", "an xz file", _UNPACK),
    (b"\x28\xb5\x2f\xfd", "a zstandard file", _UNPACK),
    (b"7z\xbc\xaf", "a 7z archive", _UNPACK),
    (b"Rar!", "a RAR archive", _UNPACK),
    (b"PAR1", "a Parquet file", _EXPORT),
    (b"ARROW1", "an Arrow file", _EXPORT),
    (b"\xff\xff\xff\xff", "an Arrow stream", _EXPORT),
    (b"Obj\x01", "an Avro file", _EXPORT),
    (b"ORC", "an ORC file", _EXPORT),
    (b"\x89HDF", "an HDF5 file", _EXPORT),
    (b"\x93NUMPY", "a NumPy file", _EXPORT),
    (b"\x80\x04\x95", "a pickle", _EXPORT),
    (b"SQLite format 3\x00", "an SQLite database", _EXPORT),
    (b"%PDF-", "a PDF", _EACH),
    (b"\x89PNG", "a picture", _INPUT),
    (b"\xff\xd8\xff", "a picture", _INPUT),
    (b"GIF8", "a picture", _INPUT),
    (b"RIFF", "a picture, a film or a sound", _INPUT),
)
_SHEET_PARTS = b"[Content_Types].xml", b"xl/", b"docProps/", b"mimetypeapplication/vnd.oasis"
_WIDE = (  # ASCII in wider characters, without a mark
    (re.compile(rb"[\t\r\n -~]\0\0\0|\0\0\0[\t\r\n -~]"), "UTF-32 text"),
    (re.compile(rb"(?:[\t\r\n -~]\0){2}|(?:\0[\t\r\n -~]){2}"), "UTF-16 text"),
)
_JOB_LISTS = ("jobs", "requests", "items", "tasks", "data", "records", "rows", "prompts", "batch")
_SERVICES: tuple[tuple[str, tuple[frozenset[str], ...]], ...] = (
    ("OpenAI's batch form", (frozenset({"url", "body"}), frozenset({"method", "body"}))),
    ("Anthropic's batch form", (frozenset({"params"}),)),
    ("Replicate's form", (frozenset({"version", "input"}), frozenset({"model", "input"}))),
    ("Amazon Bedrock's batch form", (frozenset({"modelInput"}),)),
    ("Google's batch form", (frozenset({"request"}), frozenset({"instances"}), frozenset({"contents"}))),
    ("Mistral's batch form", (frozenset({"custom_id", "body"}),)),
    ("fal's form", (frozenset({"endpoint", "input"}), frozenset({"app", "arguments"}))),
    ("a list of chat messages", (frozenset({"messages"}),)),
    ("the results of a batch", (frozenset({"custom_id", "status", "outputs", "attempts"}),)),
)


def refusal(head: bytes, lines: Sequence[bytes], *, csv: bool, prompts: bool = False) -> str | None:
    """Say what a file is, and what to do, that is no manifest as a whole; None where it may be one.

    `head` is how it begins, `lines` its first whole lines that are not blank. Another service's form is told
    only where all of these have it: one such line among others is a bad line. Prompts may be any text.
    """
    first = lines[0] if lines else head.removeprefix(b"\xef\xbb\xbf")
    what = _binary(head) or (None if prompts else _text(first.lstrip(), lines, csv=csv))
    return what and ": ".join(what)


def _binary(head: bytes) -> tuple[str, str] | None:
    for magic, what, advice in _MAGIC:
        if head.startswith(magic):
            return what, advice
    if head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return _SHEET if any(part in head for part in _SHEET_PARTS) else ("a zip archive", _UNPACK)
    if head[4:8] == b"ftyp":
        return "a picture, a film or a sound", _INPUT
    if head[257:262] == b"ustar":
        return "a tar archive", _UNPACK
    for pattern, what in _WIDE:
        if pattern.match(head):
            return what, _UTF8
    return ("a binary file", _EACH) if head.count(b"\0") * 20 > len(head) else None


def _text(first: bytes, lines: Sequence[bytes], *, csv: bool) -> tuple[str, str] | None:
    what: tuple[str, str] | None = None
    second = lines[1].lstrip() if len(lines) > 1 else b""
    if first.startswith(b"["):
        is_one_bad_line = isinstance(_json(first), list) and isinstance(_json(second), dict)
        if not is_one_bad_line:
            what = "a JSON array", f"{_EACH}, without brackets and commas around it: jq -c '.[]' does it"
    elif first.startswith((b"<!", b"<html", b"<?xml")):
        what = "a page of HTML or XML", _EACH
    elif csv:
        pass  # its header is read next
    elif first.strip() == b"{" and second.startswith(b'"'):
        what = "JSON objects over several lines", "put each job on one line: jq -c . does it"
    elif first.startswith((b"---", b"- ", b"%YAML")):
        what = "YAML", _EACH
    elif len(forms := {_form(line) for line in lines}) == 1 and (form := forms.pop()) is not None:
        what = form, _EACH
    return what


def _form(line: bytes) -> str | None:
    """Name another form that a line has."""
    found = _json(line)
    if not isinstance(found, dict) or "type" in found:
        return None
    for key in _JOB_LISTS:
        if isinstance(found.get(key), list):
            return f"a JSON object with its jobs in `{key}`"
    for name, shapes in _SERVICES:
        if any(shape <= found.keys() for shape in shapes):
            return name
    return None


def _json(line: bytes) -> Any:
    """Return what a line says; None where that is not JSON."""
    try:
        return msgspec.json.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
