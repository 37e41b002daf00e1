import asyncio
import threading

from common import PING, client, descriptors

prodia = client()
before = descriptors()
results = []


async def several() -> None:
    results.extend(await asyncio.gather(*(prodia.run(PING) for _ in range(5))))
    assert prodia.stats().completed == 5


threads = [threading.Thread(target=lambda: asyncio.run(several())) for _ in range(2)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
assert len({result.id for result in results}) == 10
assert descriptors() == before
