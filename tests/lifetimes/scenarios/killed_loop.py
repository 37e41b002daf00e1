import asyncio
import gc

from common import PING, client, descriptors, slow

prodia = client()
asyncio.run(prodia.run(PING))
before = descriptors()


async def half_done() -> asyncio.Task[object]:
    await prodia.run(PING)
    job = asyncio.ensure_future(prodia.run(PING, slow(30)))
    await asyncio.sleep(0.2)
    assert prodia.stats().in_flight == 1
    return job


for _ in range(3):
    loop = asyncio.new_event_loop()
    job = loop.run_until_complete(half_done())
    loop.close()  # in mid-job, without a word to anybody
    job._log_destroy_pending = False  # asyncio's own complaint about the task, which is this test's
    del job, loop
    gc.collect()
    assert asyncio.run(prodia.run(PING)).id
    assert descriptors() == before, (descriptors(), before)
