"""A batch that kills itself: `python scenarios_kill.py MANIFEST OUT URL TOKEN MOMENT NUMBER`."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable
from typing import Any

from prodia_async import Prodia
from prodia_async.batch import _database as database
from prodia_async.batch import run_batch


def dying(function: Callable[..., Any], moment: str, number: int) -> Callable[..., Any]:
    """Return a function that kills the process before or after it was called so often."""
    calls = 0

    def called(*values: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == number and moment.startswith("before"):
            os.kill(os.getpid(), signal.SIGKILL)
        result = function(*values)
        if calls == number and moment.startswith("after"):
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    return called


async def main(manifest: str, out: str, url: str, token: str) -> None:
    async with Prodia(base_url=url, token=token, max_concurrency=4) as prodia:
        await run_batch(manifest, out, prodia=prodia)


if __name__ == "__main__":
    *given, moment, number = sys.argv[1:]
    if moment.endswith("name"):
        os.replace = dying(os.replace, moment, int(number))
    else:
        database.Database.write = dying(database.Database.write, moment, int(number))
    asyncio.run(main(*given))
