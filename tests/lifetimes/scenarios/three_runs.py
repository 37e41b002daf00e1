import asyncio

from common import PING, client, descriptors

prodia = client()
before = descriptors()
ids = {asyncio.run(prodia.run(PING)).id for _ in range(3)}
assert len(ids) == 3, ids
assert descriptors() == before
