"""Hand-built bodies and a plain aiohttp client: the emulator is tested without the SDK."""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import aiohttp
import anyio
from PIL import Image
from yarl import URL

if TYPE_CHECKING:
    from collections.abc import Callable

BOUNDARY = "----------------------------fYf8kg9C7fC50PWcYjMuWt"


@dataclass(frozen=True)
class Part:
    name: str
    filename: str | None
    content_type: str
    content: bytes

    def picture(self) -> Image.Image:
        image = Image.open(io.BytesIO(self.content))
        image.load()
        return image


@dataclass(frozen=True)
class Reply:
    status: int
    headers: Any
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)

    def parts(self) -> list[Part]:
        found = re.fullmatch("multipart/form-data; boundary=([0-9a-f]{60})", self.headers["Content-Type"])
        assert found is not None
        delimiter = b"\r\n--" + found[1].encode()
        before, *pieces, end = (b"\r\n" + self.body).split(delimiter)
        assert (before, end) == (b"", b"--\r\n")
        return [_part(piece) for piece in pieces]

    def result(self) -> Any:
        [job] = [part for part in self.parts() if part.name == "job"]
        assert (job.filename, job.content_type) == ("job.json", "application/json")
        return json.loads(job.content)

    def outputs(self) -> list[Part]:
        return [part for part in self.parts() if part.name == "output"]


def _part(piece: bytes) -> Part:
    head, _, content = piece.partition(b"\r\n\r\n")
    found = re.fullmatch(
        r'\r\nContent-Disposition: form-data; name="(\w+)"(?:; filename="(.*)")?\r\nContent-Type: (.*)',
        head.decode(),
        re.DOTALL,
    )
    assert found is not None, head
    filename = None if found[2] is None else re.sub(r'\\(["\\])', r"\1", found[2])
    return Part(found[1], filename, found[3], content)


def form(job: Any, inputs: dict[bytes, bytes], *, job_last: bool = False, extra: bytes = b"") -> bytes:
    """Build a body as curl would; `inputs` maps what stands between the quotes to the content."""
    parts = [(b'form-data; name="job"; filename="job.json"', b"application/json", as_json(job))]
    for name, content in inputs.items():
        disposition = b'form-data; name="input"; filename="' + name + b'"'
        parts.insert(len(parts) - int(job_last), (disposition, b"image/png", content))
    line = b"--" + BOUNDARY.encode()
    body = b""
    for disposition, content_type, content in parts:
        body += line + b"\r\nContent-Disposition: " + disposition + b"\r\nContent-Type: " + content_type
        body += b"\r\n\r\n" + content + b"\r\n"
    return body + extra + line + b"--\r\n"


def as_json(job: Any) -> bytes:
    return job if isinstance(job, bytes) else json.dumps(job).encode()


class Client:
    """Posts jobs to one emulator."""

    def __init__(self, session: aiohttp.ClientSession, emulator: Any) -> None:
        self.session = session
        self.emulator = emulator
        self.url = emulator.base_url + "/v2/job"

    def headers(self, accept: str | None = "multipart/form-data", token: str | None = None) -> dict[str, str]:
        headers = {"Authorization": f"Bearer {token or self.emulator.token}"}
        return headers if accept is None else headers | {"Accept": accept}

    async def send(self, body: Any, content_type: str, query: str = "", **headers: Any) -> Reply:
        sent = self.headers(**headers) | {"Content-Type": content_type}
        async with self.session.post(self.url + query, data=body, headers=sent) as response:
            return Reply(response.status, response.headers, await response.read())

    async def run(self, job_type: str, config: Any = None, query: str = "", **headers: Any) -> Reply:
        job = {"type": job_type, "config": config or {}}
        return await self.send(as_json(job), "application/json", query, **headers)

    async def submit(self, job_type: str, config: Any = None, query: str = "", **headers: Any) -> Reply:
        return await self.run(job_type, config, "/async" + query, **headers)

    async def ask(self, job_id: str, path: str, token: str | None = None) -> Reply:
        """GET something of an asynchronous job; the path goes out as it stands."""
        url = URL(f"{self.url}/async/{job_id}/{path}", encoded=True)
        async with self.session.get(url, headers=self.headers(None, token)) as response:
            return Reply(response.status, response.headers, await response.read())

    async def ended(self, reply: Reply) -> str:
        """Wait, at most 5 s, until a submitted job has ended; return its id."""
        assert reply.status == 201, reply.body
        job_id = reply.json()["id"]
        with anyio.fail_after(5):
            while (await self.ask(job_id, "job.state.current")).body not in (b"processed", b"failed"):
                await asyncio.sleep(0.005)
        return str(job_id)

    async def run_form(
        self,
        job: Any,
        inputs: dict[bytes, bytes],
        *,
        job_last: bool = False,
        extra: bytes = b"",
        query: str = "",
        **headers: Any,
    ) -> Reply:
        body = io.BytesIO(form(job, inputs, job_last=job_last, extra=extra))
        return await self.send(body, f"multipart/form-data; boundary={BOUNDARY}", query, **headers)


async def until(condition: Callable[[], bool]) -> None:
    """Wait, at most 5 s, for something that happens on the emulator's side."""
    with anyio.fail_after(5):
        while not condition():
            await asyncio.sleep(0.002)


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def landscape(size: tuple[int, int] = (160, 96), file_format: str = "PNG", **options: Any) -> bytes:
    """Return a small picture with sky, hill and sun: enough shape to be recognised after a change."""
    picture = Image.new("RGB", size, (120, 180, 240))
    width, height = size
    picture.paste((40, 120, 40), (0, height // 2, width // 2, height))
    picture.paste((240, 220, 80), (width * 2 // 3, height // 8, width * 5 // 6, height // 3))
    stream = io.BytesIO()
    picture.save(stream, file_format, **options)
    return stream.getvalue()
