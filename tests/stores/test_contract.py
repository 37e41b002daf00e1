"""What every sink keeps to, those on disk and in memory as well as those into stores.

Nothing is seen before the commit; all of a job's outputs stand or none; a discard, a cancellation at any
await and a failure leave nothing; what stood stays; another attempt begins anew.
"""

from __future__ import annotations

import pytest
from obstore.store import LocalStore, MemoryStore
from support.cancelling import Trap, by_scope, native

from prodia_async import Job, OutputInfo
from prodia_async._files.outputs import MemorySink
from prodia_async._files.sinks import Budget, FileSink, FolderSink
from prodia_async._models import JobResult
from prodia_async.stores import Store

MiB = 1024 * 1024
RESULT = JobResult(type="inference.ping.v1", config={}, id="job-1")
OUTPUTS = [("image/png", 10), ("video/mp4", 3 * MiB), ("text/plain", 1), ("image/png", MiB + 1)]
SIZES = sorted(size for _, size in OUTPUTS)


class InMemory:
    """Sinks in memory: what stands is what the writers of committed sinks have."""

    def __init__(self, _):
        self.sinks = []
        self.budget = Budget(0)

    def sink(self, custom_id):
        made = MemorySink(100 * MiB)
        self.sinks.append((made, made._writers))
        return made

    def kept(self):
        return sorted(
            len(writer.data)
            for sink, writers in self.sinks
            if sink._writers is not writers
            for writer in writers
            if writer.data is not None
        )

    def left(self):
        return [len(writer.buffer) for _, writers in self.sinks for writer in writers if writer.buffer]


class OnDisk:
    """Sinks into a folder."""

    def __init__(self, request):
        self.folder = request.getfixturevalue("tmp_path")
        self.budget = Budget(64 * MiB)

    def sink(self, custom_id):
        return FolderSink(self.folder, custom_id, self.budget)

    def _files(self):
        return [path for path in self.folder.rglob("*") if path.is_file()]

    def kept(self):
        return sorted(path.stat().st_size for path in self._files() if path.suffix != ".part")

    def left(self):
        return [path for path in self._files() if path.suffix == ".part"]


class InBlocks(OnDisk):
    """The same, where nothing may be collected."""

    def __init__(self, request):
        super().__init__(request)
        self.budget = Budget(0)


class OneFile(OnDisk):
    """Sinks to one path each."""

    def sink(self, custom_id):
        return FileSink(self.folder / f"{custom_id}.png", self.budget)


class InStore:
    """Sinks into a store in memory, all outputs collected."""

    collect = 64 * MiB

    def __init__(self, request):
        self.store = self._made(request)
        self.place = Store(self.store, "a/", collect=self.collect)
        self.place.keeps_types = not isinstance(self.store, LocalStore)  # as `prepare` finds out

    def _made(self, request):
        return MemoryStore()

    def sink(self, custom_id):
        return self.place(Job("inference.ping.v1", custom_id=custom_id))

    def kept(self):
        return sorted(meta["size"] for block in self.store.list() for meta in block)

    def left(self):
        room = self.place.room()
        return [*room.begun, *([room.collected] if room.collected else [])]


class Uploading(InStore):
    """Sinks into a store in memory, all outputs uploaded."""

    collect = 0


class LocalUploading(Uploading):
    """Sinks into files by a store."""

    def _made(self, request):
        self.folder = request.getfixturevalue("tmp_path")
        return LocalStore(str(self.folder))

    def left(self):
        return [*super().left(), *(path for path in self.folder.rglob("*#*") if path.is_file())]


class InBucket(InStore):
    """Sinks into a bucket of S3, some outputs collected, some uploaded."""

    collect = MiB

    def _made(self, request):
        self.bucket = request.getfixturevalue("bucket")
        return self.bucket.store

    def left(self):
        return [*super().left(), *self.bucket.uploads()]


KINDS = [InMemory, OnDisk, InBlocks, OneFile, InStore, Uploading, LocalUploading, InBucket]


@pytest.fixture(params=KINDS, ids=lambda kind: kind.__name__)
async def kind(request):
    return request.param(request)


async def fill(sink):
    for number, (content_type, size) in enumerate(OUTPUTS):
        writer = await sink.open(OutputInfo(number, None, content_type))
        for start in range(0, size, MiB):
            await writer.write(b"%d" % number * min(MiB, size - start))
        await writer.close()


async def run(sink):
    """Do what a run does with a sink."""
    try:
        await fill(sink)
        await sink.commit(RESULT)
    except BaseException:
        await sink.discard()
        raise


async def test_nothing_is_seen_before_the_commit(kind):
    sink = kind.sink("x")
    await fill(sink)
    assert kind.kept() == []
    await sink.commit(RESULT)
    assert (kind.kept(), kind.left()) == (SIZES, [])


async def test_a_discard_leaves_nothing_and_may_come_again(kind):
    sink = kind.sink("x")
    await fill(sink)
    for _ in range(2):
        await sink.discard()
        assert (kind.kept(), kind.left()) == ([], [])


async def test_an_attempt_that_was_cut_is_no_part_of_the_next(kind):
    cut = kind.sink("x")
    writer = await cut.open(OutputInfo(0, None, "video/mp4"))
    await writer.write(bytes(2 * MiB))
    await cut.discard()
    await run(kind.sink("x"))
    assert (kind.kept(), kind.left()) == (SIZES, [])


async def test_what_stands_stays(kind):
    await run(kind.sink("x"))
    cut = kind.sink("y")
    await fill(cut)
    await cut.discard()
    assert (kind.kept(), kind.left()) == (SIZES, [])
    await run(kind.sink("y"))
    assert (kind.kept(), kind.left()) == (sorted(SIZES * 2), [])


@pytest.mark.parametrize("way", [native, by_scope])
async def test_cancelled_at_every_await(kind, way):
    stood = 0
    for at in range(1, 300):
        trap = Trap(at)
        await way(lambda at=at: run(kind.sink(f"job-{at}")), trap)
        stood += len(kind.kept()) > stood * len(SIZES)
        assert kind.kept() == sorted(SIZES * stood)
        assert kind.left() == []
        if trap.suspended < at:
            break
    assert stood
    assert trap.suspended < at
