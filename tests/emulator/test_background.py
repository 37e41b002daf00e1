import asyncio
import threading

import aiohttp
import pytest

from prodia_async.emulator import background_emulator


async def test_it_serves_while_the_block_lasts():
    def read_stats():
        with background_emulator(latency=0.0) as emulator:
            assert any(thread.name.startswith("emulator") for thread in threading.enumerate())
            return asyncio.run(ping(emulator)), emulator.stats()

    async def ping(emulator):
        async with aiohttp.ClientSession() as session:
            headers = {"Authorization": f"Bearer {emulator.token}", "Accept": "application/json"}
            job = {"type": "inference.ping.v1"}
            async with session.post(f"{emulator.base_url}/v2/job", json=job, headers=headers) as response:
                return response.status

    status, stats = await asyncio.to_thread(read_stats)
    assert (status, stats.completed) == (200, 1)
    assert not any(thread.name.startswith("emulator") for thread in threading.enumerate())


def test_a_failing_start_is_told():
    with background_emulator() as first:
        second = background_emulator(port=int(first.base_url.rpartition(":")[2]))
        with pytest.raises(OSError, match="address"):
            second.__enter__()


def test_the_blocks_own_error_comes_through():
    with pytest.raises(KeyError), background_emulator():
        raise KeyError
