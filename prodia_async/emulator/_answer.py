"""Answers: the job result, the multipart body as Go writes it, and error bodies."""

from __future__ import annotations

import json
import secrets
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from http.client import responses
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from msgspec import Struct

from prodia_async.emulator._plans import OutputFile
from prodia_async.emulator._request import JSON, MULTIPART, Accept

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import TypeAlias

RetryAfter: TypeAlias = "float | str | None"
LIFETIME = timedelta(minutes=5)


class Answer(Struct, frozen=True):
    """A whole answer; the bytes of `pieces` are made as they are sent, chunked unless `sized`."""

    status: int
    content_type: str
    pieces: tuple[OutputFile | bytes, ...]
    headers: tuple[tuple[str, str], ...] = ()
    sized: bool = True

    @property
    def size(self) -> int:
        """The number of bytes in the body."""
        if self.is_there:
            return sum(map(len, self.pieces))  # type: ignore[arg-type]
        return sum(len(piece) if isinstance(piece, bytes) else piece.size for piece in self.pieces)

    @property
    def is_there(self) -> bool:
        """Whether there is nothing to be made: all pieces are bytes."""
        return set(map(type, self.pieces)) <= {bytes}

    def blocks(self) -> Iterator[bytes]:
        """Yield the body; no block is empty."""
        for piece in self.pieces:
            for block in [piece] if isinstance(piece, bytes) else piece.blocks():
                if block:
                    yield block

    def first_half(self) -> Iterator[bytes]:
        """Yield the body until its middle."""
        left, blocks = self.size // 2, self.blocks()
        while left > 0:
            block = next(blocks)[:left]
            left -= len(block)
            yield block


class RefusedError(Exception):
    """The request is answered with an error, and nothing runs."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(answer.status)
        self.answer = answer


class Form(Struct, frozen=True):
    """What a multipart answer is made of; `job` is the job result as JSON."""

    status: int
    job: bytes
    outputs: tuple[OutputFile, ...] = ()
    job_last: bool = False
    sized: bool = True

    @property
    def parts(self) -> list[tuple[str, OutputFile]]:
        """The parts in their order, each with its form name."""
        job = [("job", OutputFile("job.json", JSON, len(self.job), lambda: [self.job], self.job))]
        outputs = [("output", output) for output in self.outputs]
        return outputs + job if self.job_last else job + outputs

    def answer(self) -> Answer:
        """Return the multipart answer."""
        return form_answer(self.status, self.parts, sized=self.sized)


def json_answer(status: int, value: Any, headers: tuple[tuple[str, str], ...] = ()) -> Answer:
    """Return a JSON answer."""
    return Answer(status, JSON, (to_json(value),), headers)


def error_answer(status: int, detail: str | None = None, retry_after: RetryAfter = None) -> Answer:
    """Return an error as the service words it; 502 comes from a proxy, and so is HTML."""
    phrase = responses.get(status, f"Status {status}")
    headers: tuple[tuple[str, str], ...] = ()
    if retry_after is not None:
        headers = (("Retry-After", retry_after if isinstance(retry_after, str) else f"{retry_after:g}"),)
    if status < HTTPStatus.BAD_REQUEST:
        headers = (("Location", "/elsewhere"),)
    if status == HTTPStatus.BAD_GATEWAY:
        page = f"<html><head><title>502 {phrase}</title></head><body><h1>502 {phrase}</h1></body></html>\n"
        return Answer(status, "text/html; charset=utf-8", (page.encode(),), headers)
    body = {"message": phrase.capitalize()} | ({} if detail is None else {"detail": detail})
    return json_answer(status, body, headers)


def refusal(status: int, detail: str, retry_after: RetryAfter) -> Answer:
    """Return a refusal of which 429 and 503 tell when to come again."""
    return error_answer(status, detail, retry_after if status in (429, 503) else None)


def multipart_answer(
    status: int,
    result: dict[str, Any],
    outputs: Sequence[OutputFile] = (),
    *,
    job_last: bool = False,
    sized: bool = True,
) -> Answer:
    """Return a multipart answer with the `job` part before or after the `output` parts."""
    return Form(status, to_json(result), tuple(outputs), job_last, sized).answer()


def form_answer(status: int, parts: Sequence[tuple[str, OutputFile]], *, sized: bool = True) -> Answer:
    """Return a multipart answer with these parts, each with its form name."""
    boundary = secrets.token_hex(30)
    pieces: list[OutputFile | bytes] = []
    line = f"--{boundary}\r\n"
    for name, part in parts:
        filename = ""
        if part.filename is not None:
            escaped = part.filename.replace("\\", "\\\\").replace('"', '\\"')
            filename = f'; filename="{escaped}"'
        # The headers of a part in the order of their names, as Go's mime/multipart writes them.
        head = f'{line}Content-Disposition: form-data; name="{name}"{filename}\r\n'
        head += f"Content-Type: {part.content_type}\r\n\r\n"
        pieces += [head.encode("utf-8", "replace"), part if part.json is None else part.json]
        line = f"\r\n--{boundary}\r\n"
    pieces.append(f"\r\n--{boundary}--\r\n".encode())
    return Answer(status, f"{MULTIPART}; boundary={boundary}", tuple(pieces), sized=sized)


def refused_result(job: dict[str, Any], reason: str) -> dict[str, Any]:
    """Return the result of a job that fails before it runs; `job` is what is known of it."""
    created = now()
    failed = {"id": str(uuid4()), "state": {"current": "failed", "history": None}, "error": reason}
    return job | times(created, created + LIFETIME) | failed


def failed_answer(result: dict[str, Any], accept: Accept, status: int = 400) -> Answer:
    """Return a failed job's result, in a multipart body where the client asked for one."""
    if accept.form == "multipart":
        return multipart_answer(status, result)
    return json_answer(status, result)


def to_json(value: Any) -> bytes:
    """Return compact JSON in UTF-8."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")


def now() -> datetime:
    """Return the present time in UTC."""
    return datetime.now(UTC)


def times(created: datetime, expires: datetime) -> dict[str, str]:
    """Return the times that every job result tells."""
    return {
        "created_at": timestamp(created),
        "updated_at": timestamp(now()),
        "expires_at": timestamp(expires),
    }


def timestamp(moment: datetime) -> str:
    """Return a UTC time as Go writes it: milliseconds, without trailing zeros."""
    text = moment.astimezone(UTC).isoformat(timespec="milliseconds").removesuffix("+00:00")
    return text.rstrip("0").rstrip(".") + "Z" if "." in text else f"{text}Z"
