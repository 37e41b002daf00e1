"""Replies as the service sends them, and as it should not: built by hand, byte by byte."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

BOUNDARY = "b3d4fb976dce6e5d036fa7fb3da645bcfcc56384abb2cb618f8c8bdfd360"
REQUEST_ID = "835b0174-5a7c-45e0-8256-050d0f2c47a1"
JOB_ID = "c83d7027-240a-484a-aeba-96014e568711"
PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 4


@dataclass(frozen=True)
class Reply:
    """One HTTP answer. `framing`: how the end of the body is told: `length`, `chunked` or `close`.

    `length` announces another Content-Length than the body has. `whole=False` leaves a chunked body
    without its last chunk. `cuts`: where the body is cut into pieces that are sent apart.
    """

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    framing: str = "length"
    length: int | None = None
    whole: bool = True
    cuts: Sequence[int] = ()

    def wire(self) -> Iterator[bytes]:
        """Yield the answer's bytes, piece by piece."""
        headers = {"x-request-id": REQUEST_ID, **self.headers}
        if self.framing == "length":
            headers["Content-Length"] = str(len(self.body) if self.length is None else self.length)
        elif self.framing == "chunked":
            headers["Transfer-Encoding"] = "chunked"
        else:
            headers["Connection"] = "close"
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        yield f"HTTP/1.1 {self.status} Status\r\n{lines}\r\n".encode("latin-1")
        edges = [0, *self.cuts, len(self.body)]
        for begin, end in itertools.pairwise(edges):
            piece = self.body[begin:end]
            if piece:
                yield f"{len(piece):x}\r\n".encode() + piece + b"\r\n" if self.framing == "chunked" else piece
        if self.framing == "chunked" and self.whole:
            yield b"0\r\n\r\n"


def job(state: str | None = "completed", **fields: Any) -> dict[str, Any]:
    """Return a job result as the API reference shows it."""
    found: dict[str, Any] = {
        "type": "inference.test.v1",
        "created_at": "2025-01-01T00:00:14.885Z",
        "updated_at": "2025-01-01T00:00:20.11Z",
        "expires_at": "2025-01-01T00:01:14.885Z",
        "id": JOB_ID,
        "config": {"prompt": "a cat"},
        "metrics": {"elapsed": 5.138920783996582, "ips": 4.864834670706344},
    }
    if state is not None:
        found["state"] = {"current": state}
    return found | fields


def part(name: str, filename: str | None, content_type: str, content: bytes) -> bytes:
    """Return one part without its delimiter."""
    named = "" if filename is None else f'; filename="{filename}"'
    head = f'Content-Disposition: form-data; name="{name}"{named}\r\nContent-Type: {content_type}\r\n\r\n'
    return head.encode() + content


def output(content: bytes = PNG, filename: str | None = "image.png", kind: str = "image/png") -> bytes:
    return part("output", filename, kind, content)


def job_part(result: Mapping[str, Any] | bytes | None = None) -> bytes:
    content = result if isinstance(result, bytes) else json.dumps(result or job()).encode()
    return part("job", "job.json", "application/json", content)


def multipart(
    *parts: bytes,
    status: int = 200,
    preamble: bytes = b"",
    epilogue: bytes = b"",
    quoted: bool = False,
    boundary: str = BOUNDARY,
    **how: Any,
) -> Reply:
    """Return a multipart answer with these parts; by default the job part and one picture."""
    line = b"--" + boundary.encode()
    body = preamble + (b"\r\n" if preamble else b"")
    for each in parts or (job_part(), output()):
        body += line + b"\r\n" + each + b"\r\n"
    body += line + b"--\r\n" + epilogue
    shown = f'"{boundary}"' if quoted else boundary
    headers = {"Content-Type": f"multipart/form-data; boundary={shown}", **how.pop("headers", {})}
    return Reply(status, body, headers, **how)


def in_json(status: int, value: Any, **headers: str) -> Reply:
    return Reply(status, json.dumps(value).encode(), {"Content-Type": "application/json", **headers})


def shed(retry_after: str | float | None = 0.01) -> Reply:
    """Return a 429 as the service sends it."""
    headers = {} if retry_after is None else {"Retry-After": str(retry_after)}
    return in_json(429, {"message": "no idle capacity"}, **headers)


DONE = multipart()
