"""Reading a request for a job: its headers; its body, JSON or a multipart form with `job` in any place."""

from __future__ import annotations

import functools
import hashlib
import json
import re
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from msgspec import Struct

from prodia_async.emulator._form import FormError, FormReader, Part

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, Awaitable, Callable

    OnJob = Callable[["ReceivedJob"], Awaitable[None]]

MULTIPART = "multipart/form-data"
JSON = "application/json"
KEEP = 32 * 1024 * 1024
MAX_JOB = 4 * 1024 * 1024

_PARAMETER = re.compile(r';\s*([^\s;="]+)(?:\s*=\s*(?:"((?:\\.|[^"\\])*)"|([^;,\s"]*)))?')


class BadRequestError(Exception):
    """400 with `{"message": "Bad request", "detail": ...}`: the request could not be read."""


class JobError(Exception):
    """400 with a failed job result: the job itself is wrong. `job` is what could be read of it."""

    def __init__(self, reason: str, job: dict[str, Any] | None = None) -> None:
        super().__init__(reason)
        self.job: dict[str, Any] = job or {}


@functools.lru_cache(maxsize=256)
def split_media_type(header: str) -> tuple[str, dict[str, str]]:
    """Return a header's media type in lower case, and its parameters; one without a value maps to ""."""
    kind = header.partition(";")[0].strip().lower()
    parameters: dict[str, str] = {}
    for name, quoted, plain in _PARAMETER.findall(header):
        parameters.setdefault(name.lower(), re.sub(r"\\(.)", r"\1", quoted) or plain)
    return kind, parameters


class Accept(NamedTuple):
    """What a client asked for: the form of the answer, and the first output's type where it named one."""

    form: Literal["multipart", "json", "direct"]
    media_type: str | None = None


@functools.lru_cache(maxsize=256)
def read_accept(header: str) -> Accept:
    """Read an Accept header (API reference, Response Body); of several types the first one counts.

    `multipart/form-data; image/png` names the output's type after the semicolon. Without a wish the
    answer is multipart, in which nothing is lost.
    """
    kind, parameters = split_media_type(header.partition(",")[0])
    wished = next((name for name in parameters if "/" in name), None)
    if kind in ("", "*/*", MULTIPART):
        return Accept("multipart", wished)
    if kind == JSON:
        return Accept("json", wished)
    return Accept("direct", None if kind.endswith("/*") else kind)


class ReceivedInput(Struct, frozen=True):
    """An input as it came: `content` is None where it was too large to keep (above 32 MiB)."""

    filename: str
    content_type: str
    size: int
    sha256: str
    content: bytes | None

    def described(self) -> dict[str, Any]:
        """Return what a job result tells of it."""
        return {name: getattr(self, name) for name in ("filename", "content_type", "size", "sha256")}


class ReceivedJob:
    """A job and its inputs; `job` is the whole JSON object, so that the result mirrors it."""

    def __init__(self, job: dict[str, Any], inputs: tuple[ReceivedInput, ...] = ()) -> None:
        self.job = job
        self.inputs = inputs
        self.type: str = job["type"]
        self.config: dict[str, Any] = job.get("config") or {}
        self.may_order: bool = "emulator" in self.config or ".fault-" in self.type

    @functools.cached_property
    def key(self) -> str:
        """What tells this job from others: `config.emulator.key`, or a digest of the job and its inputs."""
        orders = self.config.get("emulator")
        if isinstance(orders, dict) and "key" in orders:
            return str(orders["key"])
        parts = [json.dumps(self.job, sort_keys=True)]
        if self.inputs:
            parts += [item.sha256 for item in self.inputs]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()

    @property
    def named(self) -> list[str]:
        """The file names that the configuration refers to."""
        images = self.config.get("images")
        names = [self.config.get("image"), *(images if isinstance(images, list) else [])]
        return [name for name in names if isinstance(name, str)]

    def input(self) -> ReceivedInput:
        """Return the input that `config.image` or `config.images` names first, or else the first input."""
        names = self.named
        if not self.inputs:
            raise BadRequestError("Missing input image")
        return next((item for item in self.inputs if not names or item.filename == names[0]), self.inputs[0])


async def read_job(content_type: str, chunks: AsyncIterable[bytes], on_job: OnJob) -> ReceivedJob:
    """Read a body of the given Content-Type. Raises BadRequestError, JobError, and what `on_job` raises.

    `on_job` is awaited with the job, as yet without inputs, as soon as that can be read: before the parts
    that follow it.
    """
    kind, parameters = split_media_type(content_type)
    if kind == JSON:
        received = ReceivedJob(parse_job(await _small_body(chunks)))
        await on_job(received)
    elif kind == MULTIPART:
        boundary = parameters.get("boundary", "")
        if not 0 < len(boundary) <= 70:  # noqa: PLR2004 - RFC 2046 section 5.1.1: at most 70 characters
            raise BadRequestError("multipart/form-data needs a boundary of 1 to 70 characters")
        try:
            received = from_parts(await _read_form(boundary, chunks, on_job))
        except FormError as error:
            raise BadRequestError(str(error)) from None
    else:
        raise BadRequestError("Content-Type must be application/json or multipart/form-data")
    refers = "image" in received.config or "images" in received.config
    if refers and not set(received.named) <= {item.filename for item in received.inputs}:
        raise BadRequestError("Missing input image")
    return received


async def _small_body(chunks: AsyncIterable[bytes]) -> bytes:
    body = bytearray()
    async for chunk in chunks:
        body += chunk
        if len(body) > MAX_JOB:
            raise BadRequestError(f"the job is longer than {MAX_JOB} bytes")
    return bytes(body)


async def _read_form(boundary: str, chunks: AsyncIterable[bytes], on_job: OnJob) -> list[Part]:
    reader = FormReader(boundary.encode("latin-1", "replace"), keep=KEEP)
    told = False
    async for chunk in chunks:
        reader.feed(chunk)
        if not told and (reader.ended or len(reader.parts) > 1):
            job = _whole_job(reader)
            told = job is not None
            if job is not None:
                await on_job(job)
    reader.close()
    return reader.parts


def _whole_job(reader: FormReader) -> ReceivedJob | None:
    """Return the job where its part has been read to the end, and can be understood."""
    parts = reader.parts if reader.ended else reader.parts[:-1]
    content = next((part.content for part in parts if part.name == "job"), None)
    try:
        return None if content is None else ReceivedJob(parse_job(content))
    except JobError:
        return None


def from_parts(parts: list[Part]) -> ReceivedJob:
    """Return the job of a form that was read. Raises BadRequestError and JobError."""
    jobs = [part for part in parts if part.name == "job"]
    if len(jobs) != 1:
        raise BadRequestError(f"there must be one part named job, not {len(jobs)}")
    content = jobs[0].content
    if content is None or len(content) > MAX_JOB:
        raise BadRequestError(f"the job is longer than {MAX_JOB} bytes")
    inputs = tuple(
        ReceivedInput(part.filename, part.content_type, part.size, part.sha256, part.content)
        for part in parts
        if part.name == "input"
    )
    if len({item.filename for item in inputs}) != len(inputs):
        raise BadRequestError("two input parts have the same filename")
    return ReceivedJob(parse_job(content), inputs)


def parse_job(body: bytes) -> dict[str, Any]:
    """Return a job that is written in JSON. Raises JobError."""
    try:
        job = json.loads(body, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        raise JobError("the job is not valid JSON") from None
    if not isinstance(job, dict):
        raise JobError("the job is not a JSON object")
    if not isinstance(job.get("type"), str) or not job["type"]:
        raise JobError("the job has no type", job)
    if not isinstance(job.get("config") or {}, dict):
        raise JobError("config is not a JSON object", job)
    return job


def _no_constant(name: str) -> None:
    """Refuse NaN and Infinity, which are no JSON."""
    raise ValueError(name)
