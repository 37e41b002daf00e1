"""Forks in a coroutine, with an idle or a busy connection; the child uses the client, the parent goes on."""

import asyncio
import os
import sys

from common import PING, client, slow

prodia = client()
busy, ending = sys.argv[1] == "busy", sys.argv[2]


def child() -> None:
    asyncio._set_running_loop(None)
    assert asyncio.run(prodia.run(PING)).id
    if ending == "exit":
        sys.exit(7)
    os._exit(7)


async def parent() -> None:
    await prodia.run(PING)
    job = asyncio.ensure_future(prodia.run(PING, slow(0.5))) if busy else None
    await asyncio.sleep(0.2)
    pid = os.fork()
    if pid == 0:
        child()
    # No thread waits for the child: a child that leaves by SystemExit closes the loop that it inherited, and
    # takes the parent's wake-up pipe out of the epoll object that both share. That is asyncio's, not ours.
    ended = status = 0
    while not ended:
        await asyncio.sleep(0.02)
        ended, status = os.waitpid(pid, os.WNOHANG)
    assert os.waitstatus_to_exitcode(status) == 7
    if job is not None:
        assert (await asyncio.wait_for(job, 10)).id
    assert (await asyncio.wait_for(prodia.run(PING), 10)).id
    assert prodia.stats().completed == (3 if busy else 2)


asyncio.run(parent())
