"""A client of bare sockets: what came is kept byte by byte, and how the connection ended."""

from __future__ import annotations

import asyncio
import json
import re
import socket
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Self

import anyio

BYTES = "emulator.bytes.v1"


@dataclass(frozen=True)
class Got:
    """What came over a connection until it ended: `end` is "eof" or "reset"."""

    data: bytes
    end: str

    @property
    def head(self) -> bytes:
        return self.data.partition(b"\r\n\r\n")[0]

    @property
    def status(self) -> int:
        return int(self.data[9:12])

    def header(self, name: str) -> str | None:
        found = re.search(rb"\r\n" + name.encode() + rb": ([^\r]*)", self.head, re.IGNORECASE)
        return None if found is None else found[1].decode()

    @cached_property
    def body(self) -> bytes:
        """The body as it came, without its chunks."""
        body = self.data[len(self.head) + 4 :]
        return b"".join(self.chunks) if self.header("Transfer-Encoding") else body

    @cached_property
    def chunks(self) -> list[bytes]:
        """The chunks until one that is not whole; the last chunk is an empty one."""
        rest, chunks = self.data[len(self.head) + 4 :], []
        while found := re.match(rb"([0-9a-f]+)\r\n", rest):
            start, size = found.end(), int(found[1], 16)
            if rest[start + size : start + size + 2] != b"\r\n":
                break
            chunks.append(rest[start : start + size])
            rest = rest[start + size + 2 :]
        return chunks

    @property
    def missing(self) -> int:
        """How many bytes Content-Length promises beyond those that came."""
        return int(self.header("Content-Length") or "0") - len(self.body)

    @property
    def boundary(self) -> bytes:
        return (self.header("Content-Type") or "").partition("boundary=")[2].encode()

    def parts(self, line: bytes = b"\r\n", body: bytes | None = None) -> list[tuple[bytes, bytes]]:
        """The headers and the content of each part of a whole form."""
        delimiter = line + b"--" + self.boundary
        before, *pieces, end = (line + (self.body if body is None else body)).split(delimiter)
        assert (before, end) == (b"", b"--" + line)
        return [split(piece, line) for piece in pieces]

    def part_names(self) -> list[str]:
        return [re.search(rb' name="(\w+)"', head)[1].decode() for head, _ in self.parts()]  # type: ignore[index]

    def file_names(self) -> list[str | None]:
        """The file names of the outputs, unescaped."""
        heads = [head for head, _ in self.parts() if b' name="output"' in head]
        found = [re.search(rb'; filename="(.*)"\r\n', head, re.DOTALL) for head in heads]
        return [None if one is None else re.sub(r'\\(["\\])', r"\1", one[1].decode()) for one in found]

    def result(self) -> Any:
        [job] = [content for head, content in self.parts() if b' name="job"' in head]
        return json.loads(job)


def split(piece: bytes, line: bytes) -> tuple[bytes, bytes]:
    head, _, content = piece.partition(line + line)
    return head, content


@dataclass
class Wire:
    """A connection to an emulator."""

    emulator: Any
    connection: socket.socket = field(default_factory=socket.socket)

    async def __aenter__(self) -> Self:
        self.connection.setblocking(False)
        port = int(self.emulator.base_url.rpartition(":")[2])
        await asyncio.get_running_loop().sock_connect(self.connection, ("127.0.0.1", port))
        return self

    async def __aexit__(self, *_: object) -> None:
        self.connection.close()

    async def send(self, data: bytes) -> None:
        await asyncio.get_running_loop().sock_sendall(self.connection, data)

    async def ask(
        self, method: str, path: str, headers: dict[str, Any] | None = None, token: str | None = None
    ) -> None:
        lines = [
            f"{method} {path} HTTP/1.1",
            "Host: x",
            f"Authorization: Bearer {token or self.emulator.token}",
            *(f"{name}: {value}" for name, value in (headers or {}).items()),
        ]
        await self.send("\r\n".join([*lines, "", ""]).encode())

    async def post(self, job: Any, path: str = "/v2/job", token: str | None = None, **headers: Any) -> None:
        body = json.dumps(job).encode()
        sized = {"Content-Type": "application/json", "Content-Length": len(body)}
        await self.ask("POST", path, sized | {"Connection": "close"} | headers, token)
        await self.send(body)

    async def read(self) -> Got:
        """Read until the connection ends, at most for 10 s."""
        data, loop = bytearray(), asyncio.get_running_loop()
        with anyio.fail_after(10):
            try:
                while piece := await loop.sock_recv(self.connection, 1024 * 1024):
                    data += piece
            except ConnectionResetError:
                return Got(bytes(data), "reset")
        return Got(bytes(data), "eof")


def a_job(name: str | None, *, job_type: str = BYTES, config: Any = None, **orders: Any) -> Any:
    """Return a job whose type orders a fault."""
    suffix = "" if name is None else f".fault-{name}"
    config = {"size": 3000, "seed": 7} | (config or {})
    return {"type": job_type + suffix, "config": config | {"emulator": orders}}


async def run(emulator: Any, job: Any, path: str = "/v2/job", **headers: Any) -> Got:
    async with Wire(emulator) as wire:
        await wire.post(job, path, **headers)
        return await wire.read()


async def get(emulator: Any, path: str) -> Got:
    async with Wire(emulator) as wire:
        await wire.ask("GET", path, {"Connection": "close"})
        return await wire.read()
