"""A transport that answers each job at once with 1,024 bytes, without a network."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

OUTPUT = bytes(range(256)) * 4
_HEAD = (
    b"--boundary\r\n"
    b'Content-Disposition: form-data; name="job"; filename="job.json"\r\n'
    b"Content-Type: application/json\r\n\r\n"
    b'{"type":"inference.null.v1","config":{"prompt":"nothing"},"id":"2f8d8ab0-0000-4000-8000-000000000000",'
    b'"state":{"current":"completed"},"metrics":{"elapsed":0.001},"price":{"product":"null","dollars":0.0001}}'
    b"\r\n--boundary\r\n"
    b'Content-Disposition: form-data; name="output"; filename="output.bin"\r\n'
    b"Content-Type: application/octet-stream\r\n\r\n"
)
_REPLY = _HEAD + OUTPUT + b"\r\n--boundary--\r\n"


class NullReply:
    status = 200
    headers: Mapping[str, str] = {"Content-Type": "multipart/form-data; boundary=boundary"}

    def __init__(self) -> None:
        self._rest = [b"", _REPLY]

    async def read(self) -> bytes:
        return self._rest.pop()

    async def aclose(self) -> None:
        """Nothing was opened."""


class NullTransport:
    async def send(self, request, progress) -> NullReply:
        progress.connected()
        progress.body_sent()
        await asyncio.sleep(0)  # as a socket would, it lets others run
        return NullReply()

    async def aclose(self) -> None:
        """Nothing was opened."""

    def close_dead(self) -> None:
        """Nothing was opened."""

    def abandon(self) -> None:
        """Nothing was opened."""
