import asyncio
import gc

from common import PING, client, descriptors


async def main() -> None:
    before = descriptors()
    prodia = client()
    await prodia.run(PING)
    assert descriptors() > before
    del prodia
    gc.collect()
    for _ in range(50):
        await asyncio.sleep(0.01)
        if descriptors() == before:
            return
    raise AssertionError("the dropped client kept its connection")


asyncio.run(main())
