"""The pieces that an output comes in, on their way to its file."""

import os

import pytest

from prodia_async._files.sinks import Budget, FolderSink
from prodia_async._models import JobResult, OutputInfo

RESULT = JobResult(type="inference.ping.v1", config={}, id="job")
MiB = 1024 * 1024


async def pieces_of(folder, *parts, budget=32 * MiB):
    sink = FolderSink(folder, None, Budget(budget))
    writer = await sink.open(OutputInfo(0, None, "image/png"))
    for part in parts:
        await writer.write(part)
    return sink, writer


async def written(sink, writer):
    await writer.close()
    await sink.commit(RESULT)
    return writer.path.read_bytes()


@pytest.mark.parametrize("budget", [0, 32 * MiB])
@pytest.mark.parametrize("sizes", [(1,), (4095,), (4096,), (5000,), (1, 4096), (2049,), (4095, 2)])
async def test_never_more_pieces_than_the_system_takes_at_once(sizes, budget, tmp_path):
    parts = [os.urandom(size) for _ in range(MiB // sum(sizes)) for size in sizes]
    sink, writer = await pieces_of(tmp_path, *parts, budget=budget)
    assert len(writer.rest) <= 520
    assert await written(sink, writer) == b"".join(parts)


async def test_small_pieces_go_together_and_order_is_kept(tmp_path):
    parts = [b"", b"a" * 10, b"b" * 5000, b"", b"c" * 4090, b"d" * 10, b"e", b"f" * 4096]
    sink, writer = await pieces_of(tmp_path, *parts)
    assert len(writer.rest) < len(parts)
    assert await written(sink, writer) == b"".join(parts)
    assert await written(*await pieces_of(tmp_path)) == b""


@pytest.mark.parametrize("size", [10, 10_000])
async def test_what_may_still_change_is_copied(size, tmp_path):
    buffer = bytearray(b"x" * size)
    sink, writer = await pieces_of(tmp_path, buffer)
    buffer[:] = b"y" * size
    assert await written(sink, writer) == b"x" * size


@pytest.mark.parametrize("vectors", [True, False])
@pytest.mark.parametrize("most", [1, 1000, 7001])
async def test_the_system_may_take_less_than_it_is_given(vectors, most, tmp_path, monkeypatch):
    def write(descriptor, data, real=os.write):
        return real(descriptor, data[:most])

    def writev(descriptor, pieces):
        return write(descriptor, b"".join(pieces))

    monkeypatch.setattr(os, "write", write)
    if vectors:
        monkeypatch.setattr(os, "writev", writev)
    else:
        monkeypatch.delattr(os, "writev")
    parts = [os.urandom(size) for size in (5000, 10, 4096, 1)]
    assert await written(*await pieces_of(tmp_path, *parts)) == b"".join(parts)
