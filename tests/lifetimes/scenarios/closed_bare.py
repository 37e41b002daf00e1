import asyncio
import gc
import tracemalloc

from common import PING, client, descriptors

prodia = client()


def call() -> None:
    loop = asyncio.new_event_loop()
    try:
        loop.run_until_complete(prodia.run(PING))
    finally:
        loop.close()  # without a word to anybody


def kept() -> int:
    gc.collect()
    return tracemalloc.get_traced_memory()[0]


for _ in range(20):
    call()
before = descriptors()
tracemalloc.start()
call()
start = kept()
for _ in range(40):
    call()
grown = (kept() - start) / 40
assert grown < 4096, f"{grown:.0f} bytes more for each loop"
assert descriptors() == before
