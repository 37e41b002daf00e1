"""Exchanges as files: what was asked and answered, without tokens; and the same answers, given again.

Each request has a folder: `request.json` with method, path, headers and time, `request.body`; `reply.json`
with status, headers and seconds, `reply.body`.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from msgspec import Struct
from msgspec.structs import replace

from prodia_async.emulator._form import FormError, FormReader, Part
from prodia_async.emulator._plans import OutputFile, Plan, Recorded
from prodia_async.emulator._request import (
    JSON,
    MULTIPART,
    BadRequestError,
    JobError,
    ReceivedJob,
    from_parts,
    parse_job,
    split_media_type,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aiohttp import web

    from prodia_async.emulator._answer import Answer

_SECRET = {"authorization", "proxy-authorization", "cookie", "set-cookie"}
_OWN = {"id", "type", "state", "created_at", "updated_at", "expires_at", "emulator"}
"""What an answer that is given again has of its own."""
_ALL = 1 << 62
_ASYNC = re.compile(r"/v2/job/async/([^/?]+)/(?:(job\.json)|output/([^?]+))(?:\?.*)?")


class Recorder:
    """Writes each request and its reply below `folder`. Blocks the event loop for as long as a disk takes."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._open: dict[int, _Exchange] = {}
        self._count = 0

    def sent(self, request: web.BaseRequest, chunk: bytes) -> None:
        """Take the next bytes of a request's body."""
        self._of(request).request.write(chunk)

    def answered(self, request: web.BaseRequest, answer: Answer) -> Answer:
        """Return an answer that is written down while it is sent."""
        exchange = self._of(request)
        headers = {"Content-Type": answer.content_type, **dict(answer.headers)}
        told = {"status": answer.status, "headers": _safe(headers), "seconds": exchange.seconds}
        _write_json(exchange.folder / "reply.json", told)
        body = OutputFile(None, "", answer.size, lambda: _copied(answer, exchange.reply))
        return replace(answer, pieces=(body,))

    def end(self, request: web.BaseRequest) -> None:
        """Close the files of a request, whether it was answered or not."""
        exchange = self._open.pop(id(request), None)
        if exchange is not None:
            exchange.request.close()
            exchange.reply.close()

    def _of(self, request: web.BaseRequest) -> _Exchange:
        exchange = self._open.get(id(request))
        if exchange is None:
            self._count += 1
            stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%f")
            exchange = _Exchange(self._folder / f"{stamp}-{os.getpid()}-{self._count:06}")
            self._open[id(request)] = exchange
            told = {"method": request.method, "path": request.raw_path, "at": datetime.now(UTC).isoformat()}
            _write_json(exchange.folder / "request.json", told | {"headers": _safe(dict(request.headers))})
        return exchange


class _Exchange:
    """The open files of a request under way."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        self.folder = folder
        self.request: BinaryIO = (folder / "request.body").open("wb")
        self.reply: BinaryIO = (folder / "reply.body").open("wb")
        self._began = time.monotonic()

    @property
    def seconds(self) -> float:
        """Seconds since the request was noted."""
        return round(time.monotonic() - self._began, 3)


def _copied(answer: Answer, file: BinaryIO) -> Iterator[bytes]:
    for block in answer.blocks():
        if not file.closed:
            file.write(block)
        yield block


def _safe(headers: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in headers.items() if name.lower() not in _SECRET}


def _write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")


class _Kept(Struct):
    """A reply that can be given again: a whole one, or an asynchronous job's result and outputs."""

    seconds: float = 0.0
    reply: Path | None = None
    result: Path | None = None
    outputs: dict[str, Path] = {}


class Replay:
    """Answers jobs with what was recorded in `folder` for the same type, config and inputs.

    Of several replies to the same job, each is given once, in their order, and the last one from then on.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._kept: dict[str, list[_Kept]] = {}
        self._jobs: dict[str, _Kept] = {}
        for exchange in sorted(path.parent for path in folder.glob("*/reply.json")):
            with contextlib.suppress(OSError, ValueError, KeyError, BadRequestError, JobError, FormError):
                self._read(exchange)

    def plan(self, received: ReceivedJob) -> Plan:
        """Return the recorded reply to a job as its plan. Raises JobError where there is none."""
        kept = [one for one in self._kept.get(_key(received), []) if one.reply or one.result]
        if not kept:
            raise JobError(f"{received.type}: the recording has no reply to this job")
        if len(kept) > 1:
            self._kept[_key(received)].remove(kept[0])
        result, outputs = _loaded(kept[0])
        told = {name: value for name, value in result.items() if name not in _OWN}
        types = tuple(output.content_type for output in outputs)
        config = told.get("config") or received.config
        dollars = (told.pop("price", None) or {}).get("dollars")
        recorded = Recorded(kept[0].seconds, told, dollars)
        return Plan(config, types, ready=tuple(outputs), recorded=recorded)

    def _read(self, exchange: Path) -> None:
        """Enter an exchange, where it is a job's final reply or something of an asynchronous job."""
        request, reply = (
            json.loads((exchange / f"{name}.json").read_bytes()) for name in ("request", "reply")
        )
        path, status = request["path"].partition("?")[0], reply["status"]
        found = _ASYNC.fullmatch(request["path"])
        if request["method"] == "POST" and status in (200, 201, 400):
            key = _key(_asked(_type_of(request), (exchange / "request.body").read_bytes()))
            kept = _Kept(float(reply["seconds"]), exchange if path == "/v2/job" else None)
            if status == 201:  # noqa: PLR2004 - the job was taken
                self._jobs[json.loads((exchange / "reply.body").read_bytes())["id"]] = kept
            self._kept.setdefault(key, []).append(kept)
        elif found is not None and found[1] in self._jobs and status == 200:  # noqa: PLR2004 - as above
            job = self._jobs[found[1]]
            if found[3] is not None:
                job.outputs[found[3]] = exchange
            elif json.loads((exchange / "reply.body").read_bytes())["state"]["current"] != "processing":
                job.result = exchange


def _key(received: ReceivedJob) -> str:
    """Return what tells a job from others: all of it but the orders of a test, and its inputs."""
    config = {name: value for name, value in received.config.items() if name != "emulator"}
    inputs = [[item.filename, item.sha256] for item in received.inputs]
    told = json.dumps([received.job | {"config": config}, inputs], sort_keys=True)
    return hashlib.sha256(told.encode()).hexdigest()


def _type_of(message: dict[str, Any]) -> str:
    headers = {name.lower(): value for name, value in message["headers"].items()}
    return str(headers.get("content-type", ""))


def _parts(content_type: str, body: bytes) -> list[Part]:
    reader = FormReader(split_media_type(content_type)[1].get("boundary", "").encode(), keep=_ALL)
    reader.feed(body)
    reader.close()
    return reader.parts


def _asked(content_type: str, body: bytes) -> ReceivedJob:
    if split_media_type(content_type)[0] == JSON:
        return ReceivedJob(parse_job(body))
    return from_parts(_parts(content_type, body))


def _loaded(kept: _Kept) -> tuple[dict[str, Any], list[OutputFile]]:
    """Return the job result and the outputs of a recorded reply."""
    if kept.reply is None:
        result = json.loads(_body(kept.result)) if kept.result is not None else {}
        return result, [_file(name, _type(path), _body(path)) for name, path in kept.outputs.items()]
    content_type, body = _type(kept.reply), _body(kept.reply)
    kind = split_media_type(content_type)[0]
    if kind == JSON:
        return json.loads(body), []
    if kind != MULTIPART:
        return {}, [_file(None, content_type, body)]
    parts = _parts(content_type, body)
    result = next((json.loads(part.content or b"{}") for part in parts if part.name == "job"), {})
    return result, [
        _file(part.filename or None, part.content_type, part.content or b"")
        for part in parts
        if part.name == "output"
    ]


def _body(exchange: Path | None) -> bytes:
    return b"" if exchange is None else (exchange / "reply.body").read_bytes()


def _type(exchange: Path) -> str:
    return _type_of(json.loads((exchange / "reply.json").read_bytes()))


def _file(filename: str | None, content_type: str, content: bytes) -> OutputFile:
    return OutputFile(filename, content_type, len(content), lambda: [content])
