"""The floor: aiohttp alone reads the reply whole, parses nothing, and writes it in one blocking call.

An input is an open file in a form, as aiohttp's documentation shows it.
"""

from __future__ import annotations

import contextlib
import ssl

import aiohttp
import loop
import measure


@contextlib.asynccontextmanager
async def connect(given: measure.Options):
    trusted = ssl.create_default_context(cafile=given.ca) if given.ca else True
    connector = aiohttp.TCPConnector(limit=0, ssl=trusted)
    timeout = aiohttp.ClientTimeout(total=None)
    async with aiohttp.ClientSession(
        connector=connector, headers=measure.HEADERS, timeout=timeout
    ) as session:

        async def run(task: measure.Task) -> None:
            with contextlib.ExitStack() as opened:
                async with session.post(given.url, **_body(task, opened)) as response:
                    response.raise_for_status()
                    content = await response.read()
            with task.output.open("wb") as file:
                file.write(content)

        yield run


def _body(task: measure.Task, opened: contextlib.ExitStack) -> dict:
    if task.input is None:
        return {"data": task.json, "headers": {"Content-Type": "application/json"}}
    form = aiohttp.FormData()
    form.add_field("job", task.json, filename="job.json", content_type="application/json")
    file = opened.enter_context(task.input.open("rb"))
    form.add_field("input", file, filename=task.input.name, content_type="application/octet-stream")
    return {"data": form}


if __name__ == "__main__":
    loop.main(connect)
