"""The point of no return, held still: a cancellation before, during and after it."""

import asyncio
import threading

import pytest
from files.steps import names

from prodia_async._files.hops import hop, start
from prodia_async._files.landing import Landing, Part, Place
from prodia_async._files.pieces import Pieces
from prodia_async._files.sinks import Budget, FolderSink
from prodia_async._models import JobResult, OutputInfo

RESULT = JobResult(type="inference.ping.v1", config={}, id="job")


class HeldPlace(Place):
    """A folder that stands still when a file is written into it (`at` is 0) or gets its name (`at` is 1)."""

    def __init__(self, folder, at):
        super().__init__(folder, exact=False)
        self.at = at
        self.begun, self.gate = threading.Event(), threading.Event()

    def folder(self):
        self._hold(0)
        return super().folder()

    def settle(self, *args):
        self._hold(1)
        self.at = 2
        return super().settle(*args)

    def _hold(self, at):
        if at == self.at:
            self.begun.set()
            self.gate.wait(10)


@pytest.mark.parametrize(("at", "left"), [(0, []), (1, ["job-2.png", "job.png"])])
@pytest.mark.parametrize("outputs", [1, 2])
@pytest.mark.parametrize("cancels", [1, 3])
async def test_a_cancellation_before_the_first_name_and_during_it(at, left, outputs, cancels, tmp_path):
    budget = Budget(1000)
    place = HeldPlace(tmp_path, at)
    sink = FolderSink(tmp_path, None, budget)
    sink._landing = Landing(place)
    writers = [await output(sink, number) for number in range(outputs)]
    task = asyncio.ensure_future(sink.commit(RESULT))
    await hop(place.begun.wait, 10)
    for _ in range(cancels):
        task.cancel()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    assert not task.done()
    place.gate.set()
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
    place = HeldPlace(tmp_path, 0)
    sink = FolderSink(tmp_path, None, Budget(0))
    sink._landing = Landing(place)
    writer = await sink.open(OutputInfo(0, None, "image/png"))
    await writer.write(b"x" * 600_000)
    await hop(place.begun.wait, 10)
    task = asyncio.ensure_future(sink.discard())
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.sleep(0)
    assert not task.done()
    place.gate.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert names(tmp_path) == []


def test_a_dead_landing_writes_nothing(tmp_path):
    place = Place(tmp_path, exact=False)
    landing = Landing(place)
    landing.dead = True
    part = Part(place, ".png")
    landing.land([(part, Pieces(b"x"))], "job")
    assert names(tmp_path) == []
    assert part.path is None


def test_a_block_for_a_dropped_part_goes_nowhere(tmp_path):
    part = Part(Place(tmp_path, exact=False), ".png")
    part.drop()
    part.write(Pieces(b"late"))
    assert names(tmp_path) == []


async def output(sink, index):
    writer = await sink.open(OutputInfo(index, None, "image/png"))
    await writer.write(b"x" * 10)
    await writer.close()
    return writer
