"""The lines of `results.jsonl`: one JSON object for each job that is done or failed."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any, Literal, NotRequired, TypedDict

import msgspec

from prodia_async._errors import OutputError, ProdiaError
from prodia_async._models import Input, Job, JobResult
from prodia_async.batch._manifest import Entry


class OutputRecord(TypedDict):
    """An output: its path, relative to the batch's folder, or its URL in a store; its type and size."""

    path: str | None
    url: NotRequired[str]
    content_type: str | None
    bytes: int | None


class ErrorRecord(TypedDict):
    """Why a job failed; `type` is the error's class in this package."""

    type: str
    message: str
    status: int | None
    request_id: str | None
    may_have_run: bool


class RequestRecord(TypedDict, total=False):
    """What a job was besides its type and config: what is not there was not given.

    `inputs` are paths relative to the batch's folder; None for an input that is no file.
    """

    inputs: list[str | None]
    accept: str
    mode: str
    extra: Mapping[str, Any]


class Record(TypedDict):
    """A line of `results.jsonl`, decoded.

    `job` is the job result as the service sent it, or `type` and `config` of the job where there is none.
    `request` is there where the job had more than these. `attempts` are those of the run that ended the job,
    each with the fields of `Attempt`. `service` is the address of the one that ran it, or says that it was
    one of this computer, such as an emulator; a batch that was begun by an older version does not know.
    """

    custom_id: str
    status: Literal["done", "failed"]
    job: Mapping[str, Any]
    outputs: list[OutputRecord]
    error: ErrorRecord | None
    attempts: list[dict[str, Any]]
    request: NotRequired[RequestRecord]
    service: NotRequired[str]


def done_record(entry: Entry, result: JobResult, names: Sequence[str | None], folder: Path) -> bytes:
    """Return the line, without its newline, of a job that is done; `names` are its outputs' paths."""
    record = _done(entry.job.custom_id, result, names) | _request(entry.job, folder)
    return _encode(record, entry.job)


def failed_record(entry: Entry, error: ProdiaError, folder: Path) -> bytes:
    """Return the line, without its newline, of a job that failed; outputs that were kept are named."""
    record = failed(entry.job.custom_id, error, folder) | _request(entry.job, folder)
    return _encode(record, entry.job)


def done(custom_id: str | None, result: JobResult) -> dict[str, Any]:
    """Return the record of a job that is done, with its outputs' paths as they are."""
    names = [output.url if output.path is None else str(output.path) for output in result.outputs]
    return _done(custom_id, result, names)


def _done(custom_id: str | None, result: JobResult, names: Sequence[str | None]) -> dict[str, Any]:
    return {
        "custom_id": custom_id,
        "status": "done",
        "job": result.raw,
        "outputs": [
            {**_place(name), "content_type": output.content_type, "bytes": output.size}
            for name, output in zip(names, result.outputs, strict=True)
        ],
        "error": None,
        "attempts": result.attempts,
    }


def _place(name: str | None) -> dict[str, str | None]:
    """Return what a record has of an output's place: a path, or a URL in a store."""
    return {"path": None, "url": name} if name is not None and is_url(name) else {"path": name}


def is_url(path: str) -> bool:
    """Tell whether an output is in a store: no path of a file has what its URL has."""
    return "://" in path


def failed(custom_id: str | None, error: ProdiaError, folder: Path | None = None) -> dict[str, Any]:
    """Return the record of a job that failed; paths are relative to `folder`, where it is given."""
    result: JobResult | None = getattr(error, "result", None)
    written = error.written if isinstance(error, OutputError) else ()
    return {
        "custom_id": custom_id,
        "status": "failed",
        "job": None if result is None else result.raw,
        "outputs": [{"path": _name(path, folder), "content_type": None, "bytes": None} for path in written],
        "error": {
            "type": type(error).__name__,
            "message": error.message,
            "status": getattr(error, "status", None),
            "request_id": getattr(error, "request_id", None),
            "may_have_run": error.may_have_run,
        },
        "attempts": error.attempts,
    }


def _request(job: Job, folder: Path) -> dict[str, RequestRecord]:
    """Return the record's part that tells what running the job again needs, beside its type and config."""
    request: RequestRecord = {}
    if job.inputs:
        request["inputs"] = [_input(value, folder) for value in job.inputs]
    if job.accept is not None:
        request["accept"] = job.accept
    if job.mode != "sync":
        request["mode"] = job.mode
    if job.extra:
        request["extra"] = job.extra
    return {"request": request} if request else {}


def _input(value: Input, folder: Path) -> str | None:
    """Return the path of an input, relative to the folder where it can be."""
    if not isinstance(value, str | PurePath) or "://" in str(value):
        return None
    path, folder = Path(value), Path(os.path.normpath(folder))
    try:
        shared = Path(os.path.commonpath([path, folder]))
        above = [".."] * len(folder.relative_to(shared).parts)
        return PurePath(*above, path.relative_to(shared)).as_posix()
    except ValueError:  # on another drive, or one of them begins with two slashes
        return path.as_posix()


def _encode(record: dict[str, Any], job: Job) -> bytes:
    if not record["job"]:
        record["job"] = {"type": job.type, "config": job.config}
    try:
        return msgspec.json.encode(record)
    except (UnicodeEncodeError, ValueError, TypeError, RecursionError):
        pass
    try:  # a header of the service may hold any byte
        return msgspec.json.encode(_legible(msgspec.to_builtins(record)))
    except (ValueError, TypeError, RecursionError):  # what a job has brought must not undo that it is done
        record.pop("request", None)
        return _encode({**record, "job": {"type": job.type}}, job)


def _legible(value: Any) -> Any:
    """Return JSON whose text can be written as UTF-8: what could not is written out as an escape."""
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, dict):
        return {_legible(key): _legible(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_legible(item) for item in value]
    return value


def _name(path: Path, folder: Path | None) -> str:
    return str(path) if folder is None else relative(str(path), folder)


def relative(path: str, folder: Path) -> str:
    """Return the path of an output as journal and results have it: relative to the folder that it lies in."""
    head = f"{folder}{os.sep}"
    if not path.startswith(head):
        return PurePath(path).relative_to(folder).as_posix()
    return path[len(head) :].replace(os.sep, "/")  # 50 times as quick, and a batch asks for each output
