"""The point of no return, held still: a cancellation before, during and after it."""

import asyncio
import threading

import pytest
from files.steps import names

from prodia_async._files.sinks import Budget, FileSink, FolderSink
from prodia_async._files.threads import hop, start
from prodia_async._models import JobResult, OutputInfo

RESULT = JobResult(type="inference.ping.v1", config={}, id="job")


class HeldSink(FolderSink):
    """A sink that stands still when a file is written (`at` is 0) or gets its name (`at` is 1)."""

    def __init__(self, folder, budget, at):
        super().__init__(folder, None, budget)
        self.folder = None  # it is asked for, as a file's is
        self.at = at
        self.begun, self.gate = threading.Event(), threading.Event()

    def find_folder(self):
        self._hold(0)
        return super().find_folder()

    def _settle(self, *args):
        self._hold(1)
        self.at = 2
        return super()._settle(*args)

    def _hold(self, at):
        if at == self.at:
            self.begun.set()
            self.gate.wait(10)


@pytest.mark.parametrize(("at", "left"), [(0, []), (1, ["job-2.png", "job.png"])])
@pytest.mark.parametrize("outputs", [1, 2])
@pytest.mark.parametrize("cancels", [1, 3])
async def test_a_cancellation_before_the_first_name_and_during_it(at, left, outputs, cancels, tmp_path):
    budget = Budget(1000)
    sink = HeldSink(tmp_path, budget, at)
    writers = [await output(sink, number) for number in range(outputs)]
    task = asyncio.ensure_future(sink.commit(RESULT))
    await hop(sink.begun.wait, 10)
    for _ in range(cancels):
        task.cancel()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    assert not task.done()
    sink.gate.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    await sink.discard()
    left = left[-outputs:]
    assert names(tmp_path) == left
    assert sorted(writer.path.name for writer in writers if writer.path) == left
    assert budget.used == 0


async def test_a_commit_that_has_not_begun_never_begins(tmp_path):
    gate, budget = threading.Event(), Budget(1000)
    sink = FolderSink(tmp_path, None, budget)
    await output(sink, 0)
    blocked = [start(gate.wait, 10) for _ in range(4)]
    task = asyncio.ensure_future(sink.commit(RESULT))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    gate.set()
    for trip in blocked:
        await trip.settled()
    assert names(tmp_path) == []
    assert budget.used == 0


async def test_a_discard_waits_for_the_write_under_way(tmp_path):
    sink = HeldSink(tmp_path, Budget(0), 0)
    writer = await sink.open(OutputInfo(0, None, "image/png"))
    await writer.write(b"x" * 600_000)
    await hop(sink.begun.wait, 10)
    task = asyncio.ensure_future(sink.discard())
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.sleep(0)
    assert not task.done()
    sink.gate.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert names(tmp_path) == []


async def test_what_was_dropped_is_not_written(tmp_path):
    sink = FolderSink(tmp_path)
    writer = await output(sink, 0)
    writer.release()
    sink._land([writer], "job")
    assert names(tmp_path) == []
    assert writer.location is None


async def test_a_block_for_a_dropped_output_goes_nowhere(tmp_path):
    sink = FolderSink(tmp_path)
    writer = await output(sink, 0)
    writer.in_blocks = True
    writer.put([b"early"])
    await sink.discard()
    writer.put([b"late"])
    assert names(tmp_path) == []


@pytest.mark.parametrize("kind", [FileSink, FolderSink])
async def test_a_sink_that_was_discarded_begins_anew(kind, tmp_path):
    path = tmp_path / "job.png" if kind is FileSink else tmp_path
    sink = kind(path, budget=Budget(1000))
    for _ in range(2):
        await output(sink, 0)
        await sink.discard()
        assert names(tmp_path) == []
    await output(sink, 0)
    await sink.commit(RESULT)
    assert names(tmp_path) == ["job.png"]


async def output(sink, index):
    writer = await sink.open(OutputInfo(index, None, "image/png"))
    await writer.write(b"x" * 10)
    await writer.close()
    return writer
