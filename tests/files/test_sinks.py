"""One contract for every sink: ours in all their ways, one as a user writes it, and object stores."""

import asyncio
import hashlib

import pytest
from files.steps import cancelled_at

from prodia_async._errors import OutputError
from prodia_async._files.outputs import MemorySink
from prodia_async._files.threads import hop
from prodia_async._models import JobResult, OutputInfo

RESULT = JobResult(type="inference.ping.v1", config={}, id="job-1")
PNG, TEXT = OutputInfo(0, "a.png", "image/png"), OutputInfo(1, "../m.txt", "text/plain; charset=utf-8")
MiB = 1024 * 1024


@pytest.mark.parametrize(
    "sizes", [(), (0,), (1,), (3, 5), (65536,) * 40, (MiB, 1), (3 * MiB,), (700_000, 700_000)]
)
async def test_what_is_committed_stands_whole(case, sizes):
    blocks = [bytes([number % 251]) * size for number, size in enumerate(sizes, 1)]
    sink = case.sink()
    await case.output(sink, PNG, *blocks)
    await sink.commit(RESULT)
    await sink.discard()
    assert digests(case.kept()) == digests([b"".join(blocks)])
    assert case.is_clean()


async def test_several_outputs_stand_in_order(case):
    sink = case.sink()
    await case.output(sink, PNG, b"1" * 10)
    await case.output(sink, TEXT, b"2" * 2 * MiB)
    await case.output(sink, OutputInfo(2, None, "image/png"), b"3")
    await sink.commit(RESULT)
    assert sorted(block[:1] for block in case.kept()) == [b"1", b"2", b"3"]
    assert case.is_clean()


async def test_a_job_without_outputs_leaves_nothing(case):
    await case.sink().commit(RESULT)
    assert case.kept() == []


@pytest.mark.parametrize("size", [10, 3 * MiB])
@pytest.mark.parametrize("closed", [True, False])
async def test_what_is_discarded_leaves_nothing(case, size, closed):
    sink = case.sink()
    await case.output(sink, PNG, b"x")
    writer = await sink.open(TEXT)
    case.writers.append(writer)
    await writer.write(b"x" * size)
    if closed:
        await writer.close()
    before = case.descriptors()
    await sink.discard()
    await sink.discard()
    assert case.kept() == []
    assert case.is_clean()
    assert case.descriptors() <= before


async def test_a_sink_is_discarded_before_anything_came(case):
    await case.sink().discard()
    assert case.kept() == []


@pytest.mark.parametrize("way", ["native", "twice", "scope"])
async def test_cancelled_at_any_step(case, way):
    """Nothing, or all outputs whole: never a part, a temporary file, an open file, or bytes of the budget."""
    await hop(int)
    before, outcomes = case.descriptors(), set()

    async def job():
        sink = case.sink()
        try:
            await case.output(sink, PNG, b"1" * 10)
            for _ in range(5):
                await asyncio.sleep(0)
            await case.output(sink, TEXT, b"2" * MiB, b"2" * MiB)
            await sink.commit(RESULT)
        finally:
            await sink.discard()

    for step in range(0, 90, 2 if way == "native" else 5):
        done = not await cancelled_at(step, job, way=way)
        kept = sorted(case.kept())
        assert kept in ([], [b"1" * 10, b"2" * 2 * MiB])
        assert kept or not done
        assert case.is_clean()
        assert case.descriptors() == before
        outcomes.add(bool(kept))
        case.clear()
    assert False in outcomes


async def test_cancelled_while_it_commits(case):
    before, outcomes = case.descriptors(), set()
    for step in range(0, 60, 2):
        sink = case.sink()
        await case.output(sink, PNG, b"1" * 10)
        await case.output(sink, TEXT, b"2" * 2 * MiB)
        done = not await cancelled_at(step, lambda sink=sink: sink.commit(RESULT))
        await sink.discard()
        kept = case.kept()
        assert len(kept) in (0, 2)
        assert len(kept) == 2 or not done
        assert case.is_clean()
        assert case.descriptors() == before
        outcomes.add(len(kept))
        case.clear()
    assert 0 in outcomes or case.kind == "memory"


async def test_memory_is_bounded():
    sink = MemorySink(limit=10)
    first, second = await sink.open(PNG), await sink.open(TEXT)
    await first.write(b"12345")
    await second.write(b"12345")
    with pytest.raises(OutputError, match="larger than 10 bytes") as caught:
        await second.write(b"6")
    assert caught.value.may_have_run
    await sink.discard()
    assert first.data is None


async def test_memory_shows_the_data_of_closed_outputs():
    sink = MemorySink()
    writer = await sink.open(PNG)
    await writer.write(bytearray(b"ab"))
    assert writer.data is None
    await writer.close()
    await sink.commit(RESULT)
    await sink.discard()
    assert writer.data == b"ab"


def digests(blocks):
    return sorted(hashlib.sha256(block).hexdigest() for block in blocks)
