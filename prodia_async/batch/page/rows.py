"""What the page shows of each job: short values, whatever the record holds.

Everything in a record may come from outside (a prompt, a service's answer, a folder made by others), so
nothing is taken for granted: what is not of the expected kind is left out, and what is long is cut.
"""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import quote

import msgspec
from msgspec import Struct

from prodia_async._wire import media

MOST_PROMPT = 2000
_MOST_TEXT = 1000
_MOST_NAME = 300
_MOST_FILES = 16
_PICTURES = frozenset({"image/bmp", "image/gif", "image/jpeg", "image/png", "image/webp"})
_TEXTS = frozenset({"application/json", "application/x-ndjson", "application/xml", "application/yaml"})
_VERDICTS = {
    "shed": "shed (429)",
    "not_sent": "not sent",
    "server_error": "server error",
    "timed_out": "timed out",
    "bad_input": "bad input",
    "not_kept": "not kept",
}


class File(Struct):
    """An output: its path in the batch's folder, the same as a relative URL, media type, size in bytes.

    `preview` is True where a thumbnail stands, the first lines of a text, or False.
    """

    path: str
    url: str
    media: str
    size: int | None
    preview: bool | str = False

    @property
    def is_picture(self) -> bool:
        """Whether it says that it is a picture of which thumbnails are made."""
        return self.media in _PICTURES

    @property
    def is_text(self) -> bool:
        """Whether it says that it is text."""
        return self.media.startswith("text/") or self.media in _TEXTS


class Failure(Struct, frozen=True):
    """Why a job failed, as its record tells."""

    kind: str
    message: str
    status: int | None
    request_id: str | None
    may_have_run: bool | None

    @property
    def label(self) -> str:
        """What failures of the same kind are counted under."""
        return self.kind if self.status is None else f"{self.kind} {self.status}"


class Row(Struct, frozen=True):
    """A job on the page. `elapsed` is the service's own time, `total` that of all attempts, in seconds.

    `length` is that of the whole prompt in characters. `config` is the rest of the configuration as JSON;
    `course` tells how the attempts ended. `more_files` outputs are not in `files`.
    """

    id: str
    prompt: str
    length: int
    seed: str | None
    type: str
    config: str
    elapsed: float | None
    total: float | None
    dollars: float | None
    tries: int
    course: str
    files: tuple[File, ...]
    more_files: int
    error: Failure | None


def row_of(record: Mapping[str, object]) -> Row:
    """Return what the page shows of a line of `results.jsonl`. Never raises."""
    job = _mapping(record.get("job"))
    config = _mapping(job.get("config"))
    prompt = text_of(config.get("prompt")) or ""
    attempts = [_mapping(attempt) for attempt in _list(record.get("attempts"))]
    outputs = _list(record.get("outputs"))
    files = [file for output in outputs[:_MOST_FILES] if (file := _file(_mapping(output))) is not None]
    return Row(
        id=_cut(text_of(record.get("custom_id")) or "", _MOST_NAME),
        prompt=_cut(prompt, MOST_PROMPT),
        length=len(prompt),
        seed=_seed(config.get("seed")),
        type=_cut(text_of(job.get("type")) or "", _MOST_NAME),
        config=_json({key: value for key, value in config.items() if key not in ("prompt", "seed")}),
        elapsed=number_of(_mapping(job.get("metrics")).get("elapsed")),
        total=_total(attempts),
        dollars=dollars_of(record),
        tries=len(attempts),
        course=_course(attempts),
        files=tuple(files),
        more_files=len(outputs) - len(files),
        error=failure_of(record),
    )


def dollars_of(record: Mapping[str, object]) -> float | None:
    """Return the price that the service reported for a job."""
    return number_of(_mapping(_mapping(record.get("job")).get("price")).get("dollars"))


def started_of(record: Mapping[str, object]) -> str | None:
    """Return when a job's first attempt began, in ISO 8601 and UTC as records have it."""
    for attempt in _list(record.get("attempts")):
        started = _mapping(attempt).get("started_at")
        return started[:_MOST_NAME] if isinstance(started, str) else None
    return None


def text_of(value: object) -> str | None:
    """Return a text that UTF-8 can carry; None for what is no text."""
    if not isinstance(value, str):
        return None
    try:
        value.encode()
    except UnicodeEncodeError:  # a lone surrogate, from a file name or from JSON
        return value.encode("utf-8", "replace").decode()
    return value


def number_of(value: object) -> float | None:
    """Return a finite number as a float; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return float(value) if math.isfinite(value) else None
    except OverflowError:
        return None


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[:most]}…"


def _seed(value: object) -> str | None:
    """Return a seed as text: JavaScript's numbers would round a large one."""
    if value is None or isinstance(value, bool | dict | list):
        return None
    return _cut(text_of(value) or _json(value), _MOST_NAME)


def _json(value: Any) -> str:
    if value == {}:
        return ""
    try:
        text = msgspec.json.encode(value).decode()
    except (TypeError, ValueError, RecursionError):
        return ""
    return _cut(text, _MOST_TEXT)


def _total(attempts: list[Mapping[str, Any]]) -> float | None:
    spans = [number_of(attempt.get(key)) for attempt in attempts for key in ("waited", "elapsed")]
    return sum(span for span in spans if span is not None) if attempts else None


def _course(attempts: list[Mapping[str, Any]]) -> str:
    """Return how the attempts ended: "3 shed (429), done"; nothing for a job that went well at once."""
    verdicts = Counter(_cut(text_of(attempt.get("verdict")) or "unknown", 40) for attempt in attempts)
    if list(verdicts.items()) == [("done", 1)]:
        return ""
    names = [(_VERDICTS.get(verdict, verdict), count) for verdict, count in verdicts.most_common(8)]
    return ", ".join(name if count == 1 else f"{count} × {name}" for name, count in names)


def _file(output: Mapping[str, object]) -> File | None:
    """Return an output of the batch's folder; None for a path that leads elsewhere or cannot be."""
    path = output.get("path")
    if not isinstance(path, str) or not path or "\\" in path or "\0" in path:
        return None
    pure = PurePosixPath(path)
    if pure.is_absolute() or ".." in pure.parts or not pure.parts:
        return None
    try:
        url = quote(os.fsencode(str(pure)))
    except UnicodeEncodeError:
        return None
    stated = text_of(output.get("content_type"))
    kind = media.split(stated)[0] if stated else media.type_for_name(pure.name) or media.OCTETS
    size = output.get("bytes")
    return File(
        path=str(pure),
        url=url,
        media=_cut(kind, _MOST_NAME),
        size=size if isinstance(size, int) and size >= 0 else None,
    )


def failure_of(record: Mapping[str, object]) -> Failure | None:
    """Return why a job failed; None for one that did not."""
    if record.get("status") != "failed":
        return None
    error = _mapping(record.get("error"))
    status = error.get("status")
    may_have_run = error.get("may_have_run")
    request_id = text_of(error.get("request_id"))
    return Failure(
        kind=_cut(text_of(error.get("type")) or "Failed", _MOST_NAME),
        message=_cut(text_of(error.get("message")) or "No reason was recorded.", _MOST_TEXT),
        status=status if isinstance(status, int) else None,
        request_id=_cut(request_id, _MOST_NAME) if request_id else None,
        may_have_run=may_have_run if isinstance(may_have_run, bool) else None,
    )
