"""One contract for every sink: ours in all their ways, and one as a user writes it."""

import asyncio
import hashlib

import pytest
from files.steps import cancelled_at, descriptors, names

from prodia_async._errors import OutputError
from prodia_async._files.outputs import MemorySink
from prodia_async._files.sinks import Budget, FileSink, FolderSink
from prodia_async._files.threads import hop
from prodia_async._models import JobResult, OutputInfo

RESULT = JobResult(type="inference.ping.v1", config={}, id="job-1")
PNG, TEXT = OutputInfo(0, "a.png", "image/png"), OutputInfo(1, "../m.txt", "text/plain; charset=utf-8")
MiB = 1024 * 1024


class UsersSink:
    """What a user may write: a plain object with the three methods."""

    def __init__(self, store):
        self.store = store
        self.open_now = []

    async def open(self, output):
        writer = UsersWriter(output.index)
        self.open_now.append(writer)
        return writer

    async def commit(self, result):
        await asyncio.sleep(0)
        for writer in self.open_now:
            self.store[f"{result.id}-{writer.index}"] = b"".join(writer.blocks)
        self.open_now = []

    async def discard(self):
        self.open_now = []


class UsersWriter:
    def __init__(self, index):
        self.index = index
        self.blocks = []

    async def write(self, data):
        await asyncio.sleep(0)
        self.blocks.append(data)

    async def close(self):
        await asyncio.sleep(0)


class Case:
    """A kind of sink, and how to look at what it has kept."""

    def __init__(self, kind, folder):
        self.kind = kind
        self.folder = folder
        self.store = {}
        self.writers = []
        self.budget = Budget(0 if kind.endswith("without budget") else 32 * MiB)

    def sink(self):
        self.writers = []
        if self.kind == "user":
            return UsersSink(self.store)
        if self.kind == "memory":
            return MemorySink(64 * MiB)
        if self.kind.startswith("folder"):
            return FolderSink(self.folder / "new" / "out", None, self.budget)
        return FileSink(self.folder / "x.png", self.budget)

    async def output(self, sink, info, *blocks):
        writer = await sink.open(info)
        self.writers.append(writer)
        for block in blocks:
            await writer.write(block)
        await writer.close()

    def kept(self):
        if self.kind == "user":
            return list(self.store.values())
        if self.kind == "memory":
            return [writer.data for writer in self.writers if writer.data is not None]
        return [path.read_bytes() for path in sorted(self.folder.rglob("*")) if path.is_file()]

    def is_clean(self):
        return self.budget.used == 0 and not list(self.folder.rglob(".prodia-*"))


@pytest.fixture(params=["memory", "file", "file without budget", "folder", "folder without budget", "user"])
def case(request, tmp_path):
    return Case(request.param, tmp_path)


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
    before = descriptors()
    await sink.discard()
    await sink.discard()
    assert case.kept() == []
    assert case.is_clean()
    assert descriptors() <= before


async def test_a_sink_is_discarded_before_anything_came(case):
    await case.sink().discard()
    assert case.kept() == []


@pytest.mark.parametrize("way", ["native", "twice", "scope"])
async def test_cancelled_at_any_step(case, way):
    """Nothing, or all outputs whole: never a part, a temporary file, an open file, or bytes of the budget."""
    await hop(int)
    before, outcomes = descriptors(), set()

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
        assert descriptors() == before
        outcomes.add(bool(kept))
        clear(case)
    assert False in outcomes


async def test_cancelled_while_it_commits(case):
    before, outcomes = descriptors(), set()
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
        assert descriptors() == before
        outcomes.add(len(kept))
        clear(case)
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


def clear(case):
    case.store.clear()
    case.writers.clear()
    for path in [path for path in case.folder.rglob("*") if path.is_file()]:
        path.unlink()
    assert not [name for name in names(case.folder) if name.endswith(".part")]
