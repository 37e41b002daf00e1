from __future__ import annotations

from contextlib import AsyncExitStack

import aiohttp
import pytest
from emulator.helpers import Client

from prodia_async.emulator import Emulator


@pytest.fixture
async def start():
    """Return a function that starts an emulator with the given options, and a client for it."""
    async with AsyncExitStack() as stack:

        async def start(**options):
            emulator = await stack.enter_async_context(Emulator(**({"latency": 0.01} | options)))
            session = await stack.enter_async_context(aiohttp.ClientSession())
            return Client(session, emulator)

        yield start


@pytest.fixture
async def client(start):
    return await start()
