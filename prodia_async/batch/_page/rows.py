"""What the page shows of each job: short values, whatever the service's answer or a path holds.

What is not of the expected kind is left out, and what is long is cut.
"""

from __future__ import annotations

import math
import os
import re
from collections import Counter
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import quote, unquote_to_bytes

import msgspec
from msgspec import Struct

from prodia_async._errors import OutputError
from prodia_async._wire import media
from prodia_async.batch._records import failed

if TYPE_CHECKING:
    from prodia_async.batch._records import Record

MOST_PROMPT = 2000
_MOST_TEXT = 1000
_MOST_NAME = 300
_MOST_FILES = 16
_PICTURES = frozenset({"image/bmp", "image/gif", "image/jpeg", "image/png", "image/webp"})
_TEXTS = frozenset({"application/json", "application/x-ndjson", "application/xml", "application/yaml"})
_LARGE_NUMBER = re.compile(r"(?<![\d.])\d{16}")
_NAME_OR_NUMBER = re.compile(r"\b[0-9a-f]{8,}(?:-[0-9a-f]+)*\b|\d+")
_STORE = re.compile(r"(?:s3|gs|az|file|memory|https)://[^/]")
_VERDICTS = {
    "shed": "shed (429)",
    "not_sent": "not sent",
    "server_error": "server error",
    "timed_out": "timed out",
    "bad_input": "bad input",
    "not_kept": "not kept",
}


class File(Struct):
    """An output or an input: its URL, relative to the batch's folder, its media type, its size in bytes.

    One in a store has a whole URL.
    `preview` is True where a thumbnail stands, the first lines of a text, or False.
    """

    url: str
    media: str
    size: int | None = None
    preview: bool | str = False

    @property
    def path(self) -> str:
        """Its path, relative to the batch's folder."""
        return os.fsdecode(unquote_to_bytes(self.url))

    @property
    def is_picture(self) -> bool:
        """Whether it says that it is a picture of which thumbnails are made."""
        return self.media in _PICTURES

    @property
    def is_text(self) -> bool:
        """Whether it says that it is text."""
        return self.media.startswith("text/") or self.media in _TEXTS


class Failure(Struct, frozen=True):
    """Why a job failed. `group` is what failures for the same reason have in common."""

    label: str
    message: str
    request_id: str | None = None
    may_have_run: bool | None = None

    @property
    def group(self) -> tuple[str, str]:
        """The label, and the message without the numbers and ids that differ from job to job."""
        return self.label, _NAME_OR_NUMBER.sub("…", self.message)


class Row(Struct, frozen=True):
    """A job on the page. `elapsed` is the service's own time, `total` that of all attempts, in seconds.

    `length` is that of the whole prompt in characters. `seed`, `config` (the rest of the configuration) and
    `request` (what else a manifest's line has) are JSON, or "" for nothing; `whole` tells that none is cut.
    `course` tells how the attempts ended. `more_files` outputs are not in `files`. `inputs` has None for an
    input that is no file.
    """

    id: str
    prompt: str = ""
    length: int = 0
    seed: str = ""
    type: str = ""
    config: str = ""
    request: str = ""
    whole: bool = False
    elapsed: float | None = None
    total: float | None = None
    dollars: float | None = None
    tries: int = 0
    course: str = ""
    files: tuple[File, ...] = ()
    more_files: int = 0
    inputs: tuple[File | None, ...] = ()
    error: Failure | None = None
    folder: int = 0


def unreadable(record: Mapping[str, Any], reason: Exception) -> Record:
    """Return a record in the place of one that is none of ours: of a job that failed, for this reason."""
    error = OutputError(f"The record of this job cannot be read ({reason!r}).", may_have_run=True)
    return cast("Record", failed(str(record.get("custom_id")), error) | {"job": {}})


def row_of(record: Record, folder: int = 0) -> Row:
    """Return what the page shows of a job of the folder with this number.

    Raises whatever comes of it for a record that is none of ours.
    """
    job, request = _mapping(record["job"]), dict(_mapping(record.get("request")))
    attempts, outputs = record["attempts"], record["outputs"]
    config = dict(_mapping(job.get("config")))
    prompt = config.pop("prompt") if isinstance(config.get("prompt"), str) else ""
    seed = config.pop("seed") if type(config.get("seed")) in (str, int, float) else None
    inputs = _list(request.pop("inputs", None))[:_MOST_FILES]
    shown = {"seed": _json(seed), "config": _json(config), "request": _json(request)}
    files = [file for output in outputs[:_MOST_FILES] if (file := _file(output)) is not None]
    return Row(
        id=_cut(record["custom_id"], _MOST_NAME),
        prompt=_cut(prompt, MOST_PROMPT),
        length=len(prompt),
        type=_cut(_text(job.get("type")), _MOST_NAME),
        whole=_is_whole(job, shown),
        elapsed=_number(_mapping(job.get("metrics")).get("elapsed")),
        total=sum(each["waited"] + each["elapsed"] for each in attempts) if attempts else None,
        dollars=dollars_of(record),
        tries=len(attempts),
        course=_course(attempts),
        files=tuple(files),
        more_files=len(outputs) - len(files),
        inputs=tuple(_file({"path": path}, may_leave=True) for path in inputs),
        error=failure_of(record),
        folder=folder,
        **{name: _cut(text, _MOST_TEXT) for name, text in shown.items()},
    )


def _is_whole(job: Mapping[str, Any], shown: Mapping[str, str]) -> bool:
    """Whether a line of a manifest can be made of what is shown: JavaScript rounds large numbers."""
    is_known = isinstance(job.get("type"), str) and isinstance(job.get("config"), Mapping)
    is_cut = any(len(text) > _MOST_TEXT for text in shown.values())
    return is_known and not is_cut and not _LARGE_NUMBER.search(shown["config"] + shown["request"])


def failure_of(record: Record) -> Failure | None:
    """Return why a job failed, without what names the job and its request; None for one that did not."""
    error = record["error"]
    if record["status"] == "done" or error is None:
        return None
    message = error["message"].replace(f", request id {error['request_id']}", "")
    message = message.partition(f"(custom_id {record['custom_id']!r}): ")[2] or message
    label = error["type"] if error["status"] is None else f"{error['type']} {error['status']}"
    request_id = error["request_id"] and _cut(error["request_id"], _MOST_NAME)
    return Failure(_cut(label, _MOST_NAME), _cut(message, _MOST_TEXT), request_id, error["may_have_run"])


def dollars_of(record: Record) -> float | None:
    """Return the price that the service reported."""
    return _number(_mapping(_mapping(record["job"]).get("price")).get("dollars"))


def _number(value: object) -> float | None:
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


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[:most]}…"


def _json(value: Any) -> str:
    return "" if value is None or value == {} else msgspec.json.encode(value).decode()


def _course(attempts: list[dict[str, Any]]) -> str:
    """Return how the attempts ended: "3 shed (429), done"; nothing for a job that went well at once."""
    verdicts = Counter(attempt["verdict"] for attempt in attempts)
    if list(verdicts.items()) == [("done", 1)]:
        return ""
    names = [(_VERDICTS.get(verdict, _cut(verdict, 40)), count) for verdict, count in verdicts.most_common(8)]
    return ", ".join(name if count == 1 else f"{count} × {name}" for name, count in names)


def _file(output: Mapping[str, Any], *, may_leave: bool = False) -> File | None:
    """Return a file of the batch; None for a path that cannot be, or leads out of its folder and may not."""
    stated, size = _text(output.get("content_type")), output.get("bytes")
    url = _url(_text(output.get("url")), _text(output.get("path")), may_leave=may_leave)
    if url is None:
        return None
    kind = media.split(stated)[0] if stated else media.type_for_name(url) or media.OCTETS
    return File(url=url, media=_cut(kind, _MOST_NAME), size=size)


def _url(url: str | None, path: str | None, *, may_leave: bool) -> str | None:
    """Return what the page links to: the URL of what is in a store, or that of a path."""
    if url is not None and _STORE.match(url):
        return quote(url, safe=":/")
    if not path or "\\" in path or "\0" in path:
        return None
    pure = PurePosixPath(path)
    if pure.is_absolute() or not pure.parts or (".." in pure.parts and not may_leave):
        return None
    try:
        return quote(os.fsencode(str(pure)))
    except UnicodeEncodeError:
        return None
