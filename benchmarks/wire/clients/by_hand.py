"""aiohttp by hand, as its documentation shows: MultipartReader, output chunk by chunk, open files sent."""

from __future__ import annotations

import contextlib

import aiohttp
import loop
import measure

CHUNK = 64 * 1024  # with the default of 8 KiB a large output costs twice as much


@contextlib.asynccontextmanager
async def connect(given: measure.Options):
    connector = aiohttp.TCPConnector(limit=0)
    timeout = aiohttp.ClientTimeout(total=None)
    async with aiohttp.ClientSession(
        connector=connector, headers=measure.HEADERS, timeout=timeout
    ) as session:

        async def run(task: measure.Task) -> None:
            if task.input is None:
                async with session.post(given.url, json=task.job) as response:
                    await _store(response, task)
                return
            with task.input.open("rb") as file:
                form = aiohttp.FormData()
                form.add_field("job", task.json, filename="job.json", content_type="application/json")
                form.add_field("input", file, filename=task.input.name)
                async with session.post(given.url, data=form) as response:
                    await _store(response, task)

        yield run


async def _store(response: aiohttp.ClientResponse, task: measure.Task) -> dict:
    """Write the output to its file, and return the job result."""
    response.raise_for_status()
    result: dict = {}
    reader = aiohttp.MultipartReader.from_response(response)
    while (part := await reader.next()) is not None:
        if part.name == "job":
            result = await part.json()
        elif part.name == "output":
            with task.output.open("wb") as file:
                while chunk := await part.read_chunk(CHUNK):
                    file.write(chunk)
    return result


if __name__ == "__main__":
    loop.main(connect)
