"""Reading sources as attempts do, and what they are made from."""

from prodia_async._files.inputs import examined, listed

PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 3000  # three blocks


async def prepare(inputs, **options):
    """Check inputs as a call does, and return their sources as a run does."""
    return await examined(listed(inputs), **options)


async def read(source):
    """Read a source as one attempt does; return its blocks."""
    reader = source.open()
    blocks = []
    try:
        while block := await reader.read():
            blocks.append(block)
        assert await reader.read() == b""
    finally:
        await reader.close()
        await reader.close()
    return blocks


async def read_all(inputs, **options):
    """Prepare inputs and read each once; return what was read."""
    return [b"".join(await read(source)) for source in await prepare(inputs, **options)]


async def drain(reader, taken):
    while block := await reader.read():
        taken += block


async def items(*blocks):
    for block in blocks:
        yield block


class Iterable:
    """Gives a fresh iterator each time, and counts what it was asked."""

    def __init__(self, *blocks):
        self.blocks = blocks
        self.asked = 0

    async def __aiter__(self):
        self.asked += 1
        for block in self.blocks:
            yield block
