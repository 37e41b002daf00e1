"""prodia-async: limiter, attempts and checks on; no journal."""

from __future__ import annotations

import contextlib
import ssl

import loop
import measure

from prodia_async import Adaptive, Prodia


@contextlib.asynccontextmanager
async def connect(given: measure.Options):
    # It begins at the bound: what is measured is a client that has learned the capacity.
    bound = given.max_concurrency or given.at_once
    limiter = Adaptive(max_concurrency=bound, initial=bound, max_waiting=given.at_once)
    trusted = ssl.create_default_context(cafile=given.ca) if given.ca else None
    async with Prodia(base_url=given.base_url, token="none", limiter=limiter, ssl_context=trusted) as prodia:

        async def run(task: measure.Task) -> None:
            await prodia.run(
                task.job["type"],
                task.job["config"],
                inputs=() if task.input is None else (task.input,),
                custom_id=str(task.number),
                to=given.out,
            )

        yield run


if __name__ == "__main__":
    loop.main(connect)
