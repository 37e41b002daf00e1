"""httpx by hand: the reply read whole and taken apart by requests_toolbelt, open files sent."""

from __future__ import annotations

import contextlib

import httpx
import loop
import measure
from requests_toolbelt import MultipartDecoder


@contextlib.asynccontextmanager
async def connect(given: measure.Options):
    limits = httpx.Limits(max_connections=given.at_once, max_keepalive_connections=given.at_once)
    async with httpx.AsyncClient(headers=measure.HEADERS, limits=limits, timeout=None) as client:

        async def run(task: measure.Task) -> None:
            if task.input is None:
                _store(await client.post(given.url, json=task.job), task)
                return
            with task.input.open("rb") as file:
                files = {"job": ("job.json", task.json, "application/json"), "input": file}
                _store(await client.post(given.url, files=files), task)

        yield run


def _store(response: httpx.Response, task: measure.Task) -> None:
    response.raise_for_status()
    for part in MultipartDecoder(response.content, response.headers["Content-Type"]).parts:
        if b'name="output"' in part.headers[b"Content-Disposition"]:
            task.output.write_bytes(part.content)


if __name__ == "__main__":
    loop.main(connect)
