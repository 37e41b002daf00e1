"""A disk that is full for a while: not a byte is lost or doubled, and nothing is left behind.

Two kinds of full disks: a small file system of the system's own, and files that refuse at a chosen point.
"""

import asyncio
import errno
import os
import shutil
import stat
import subprocess

import pytest
from files.steps import descriptors, names

from prodia_async._errors import OutputError
from prodia_async._files.sinks import Budget, FileSink, FolderSink
from prodia_async._files.threads import hop
from prodia_async._models import JobResult, OutputInfo

KiB = 1024
MiB = 1024 * KiB
RESULT = JobResult(type="inference.ping.v1", config={}, id="job")


@pytest.fixture
def disk(tmp_path):
    """A disk of 4 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=4m,nr_inodes=40", "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("a small file system can be mounted by root only")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


class Filler:
    """Fills a disk but for `free` bytes; as a hook it makes room at the `tries`-th call."""

    def __init__(self, folder, free=0, tries=1):
        self.path = folder / "filler"
        self.tries = tries
        self.errors = []
        self.seen = []
        status = os.statvfs(folder)
        self.path.write_bytes(b"f" * (status.f_bavail * status.f_frsize - free))

    async def __call__(self, error):
        self.errors.append(error.errno)
        await hop(self._look)

    def _look(self):
        self.seen.append(sorted(path.stat().st_size for path in self.path.parent.glob(".prodia-*")))
        if len(self.seen) == self.tries:
            self.path.unlink()


async def send(sink, *outputs):
    """Write outputs as they come from the network; return their writers."""
    writers = []
    for index, data in enumerate(outputs):
        writer = await sink.open(OutputInfo(index, None, "image/png"))
        writers.append(writer)
        for begin in range(0, len(data), 64 * KiB):
            await writer.write(data[begin : begin + 64 * KiB])
        await writer.close()
    return writers


async def store(sink, *outputs):
    """Send outputs and commit them; return their writers."""
    writers = await send(sink, *outputs)
    await sink.commit(RESULT)
    return writers


def noise(*sizes):
    return [os.urandom(size) for size in sizes]


@pytest.mark.parametrize("free", [0, 4 * KiB, 700 * KiB])
@pytest.mark.parametrize(
    "sizes", [(900 * KiB,), (2 * MiB,), (800 * KiB, 30 * KiB), (30, 2 * MiB), (2 * MiB, 900 * KiB)]
)
@pytest.mark.parametrize("collect", [0, 32 * MiB])
@pytest.mark.parametrize("kind", ["folder", "file"])
async def test_outputs_stand_whole_once_there_is_room(disk, free, sizes, collect, kind):
    outputs, budget = noise(*sizes), Budget(collect)
    filler = Filler(disk, free, tries=3)
    if kind == "folder":
        sink = FolderSink(disk / "out", None, budget, wait_for_room=filler)
    else:
        sink = FileSink(disk / "out" / "job.png", budget, wait_for_room=filler)
    before = descriptors()
    writers = await store(sink, *outputs)
    await sink.discard()
    assert [writer.path.read_bytes() for writer in writers] == outputs
    assert names(disk / "out") == sorted(["job.png", "job-2.png"][: len(outputs)])
    assert filler.errors == [errno.ENOSPC] * 3
    assert budget.used == 0
    assert descriptors() <= before + 4  # the threads' own


async def test_a_block_that_was_written_in_part_frees_its_room(disk):
    filler = Filler(disk, free=1200 * KiB)
    (data,) = noise(2 * MiB)
    writers = await store(FolderSink(disk, None, Budget(0), wait_for_room=filler), data)
    assert [size % (512 * KiB) for size in filler.seen[0]] == [0]
    assert filler.seen[0] > [0]
    assert writers[0].path.read_bytes() == data


async def test_collected_outputs_free_their_room_and_flushed_ones_stay(disk):
    filler = Filler(disk, free=2500 * KiB)
    outputs = noise(600 * KiB, 2 * MiB, 600 * KiB)
    sink = FolderSink(disk, None, Budget(32 * MiB), wait_for_room=filler)
    writers = await send(sink, *outputs)
    assert filler.errors == []
    await sink.commit(RESULT)
    assert filler.seen == [[2 * MiB]]
    assert [writer.path.read_bytes() for writer in writers] == outputs


async def test_many_jobs_wait_for_the_same_room(disk):
    filler, budget, tries = Filler(disk), Budget(256 * KiB), 0
    jobs = {f"job-{number}": noise(1000 * number + 1, 20 * KiB) for number in range(12)}

    async def wait(error):
        nonlocal tries
        tries += 1
        if tries == 20:
            await hop(filler.path.unlink)
        await asyncio.sleep(0)

    async def run(custom_id, outputs):
        await store(FolderSink(disk, custom_id, budget, wait_for_room=wait), *outputs)

    await asyncio.gather(*[run(*job) for job in jobs.items()])
    assert {path.name: path.read_bytes() for path in disk.iterdir()} == {
        f"{custom_id}{number}.png": data
        for custom_id, outputs in jobs.items()
        for number, data in zip(("", "-2"), outputs, strict=True)
    }
    assert tries >= 20
    assert budget.used == 0


async def test_no_inode_is_a_full_disk_too(disk):
    """On this file system the file takes one, and its name another for a moment."""
    (disk / "out").mkdir()
    fillers = [disk / f"empty-{number}" for number in range(os.statvfs(disk).f_favail)]
    for filler in fillers:
        filler.touch()

    async def wait(error):
        assert error.errno == errno.ENOSPC
        await hop(fillers.pop().unlink)

    sink = FolderSink(disk / "out", None, Budget(0), wait_for_room=wait)
    writers = await store(sink, b"x")
    assert writers[0].path.read_bytes() == b"x"


@pytest.mark.parametrize("sizes", [(100 * KiB,), (2 * MiB,), (2 * MiB, 100 * KiB)])
async def test_without_a_hook_and_with_one_that_gives_up_it_is_an_error(disk, sizes):
    async def give_up(error):
        raise TimeoutError

    Filler(disk, free=sum(sizes) - 64 * KiB)
    before = names(disk)
    for hook in (None, give_up):
        budget = Budget(32 * MiB)
        sink = FolderSink(disk, None, budget, wait_for_room=hook)
        with pytest.raises(OutputError, match="No space left") as caught:
            await store(sink, *noise(*sizes))
        await sink.discard()
        assert caught.value.errno == errno.ENOSPC
        assert isinstance(caught.value.__cause__, OSError)
        assert names(disk) == before
        assert budget.used == 0


@pytest.mark.parametrize("sizes", [(100 * KiB,), (2 * MiB,), (2 * MiB, 100 * KiB)])
@pytest.mark.parametrize("ways", [1, 3])
async def test_cancelled_while_it_waits(disk, sizes, ways):
    waits, budget = asyncio.Event(), Budget(32 * MiB)

    async def wait(error):
        waits.set()
        await asyncio.Event().wait()

    async def job():
        sink = FolderSink(disk, None, budget, wait_for_room=wait)
        try:
            await store(sink, *noise(*sizes))
        finally:
            await sink.discard()

    Filler(disk, free=sum(sizes) - 64 * KiB)
    await hop(int)
    before, open_before = names(disk), descriptors()
    task = asyncio.ensure_future(job())
    await asyncio.wait_for(waits.wait(), 10)
    for _ in range(ways):
        task.cancel()
        await asyncio.sleep(0)
    with pytest.raises(asyncio.CancelledError):
        await task
    assert names(disk) == before
    assert budget.used == 0
    assert descriptors() == open_before


async def test_a_commit_that_is_cancelled_alone_leaves_nothing(disk):
    """A sink of which only `commit` is called must not keep the blocks that it kept for another try."""
    waits = asyncio.Event()

    async def wait(error):
        waits.set()
        await asyncio.Event().wait()

    Filler(disk, free=2 * MiB + 64 * KiB)
    before = names(disk)
    sink = FolderSink(disk, None, Budget(32 * MiB), wait_for_room=wait)
    await send(sink, *noise(2 * MiB, 100 * KiB))
    task = asyncio.ensure_future(sink.commit(RESULT))
    await asyncio.wait_for(waits.wait(), 10)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert names(disk) == before


class FullSink(FolderSink):
    """One for a folder in which giving a name fails from the `good`-th on, until there is room."""

    def __init__(self, folder, good, code, wait):
        super().__init__(folder, None, Budget(32 * MiB), wait_for_room=wait)
        self.good = good
        self.code = code
        self.full = True

    def _settle(self, *args):
        if self.full and not self.good:
            raise OSError(self.code, os.strerror(self.code), "x")
        self.good -= 1
        return super()._settle(*args)


@pytest.mark.parametrize("good", [0, 1, 2])
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
async def test_a_full_disk_between_two_names(tmp_path, good, code):
    seen = []

    async def make_room(error):
        seen.append((error.errno, await hop(names, tmp_path)))
        sink.full = False

    (tmp_path / "job-2.png").write_bytes(b"old")
    outputs = noise(100, 2 * MiB, 100)
    sink = FullSink(tmp_path, good, code, make_room)
    writers = await store(sink, *outputs)
    assert [writer.path.name for writer in writers] == ["job.png", "job-3.png", "job-4.png"]
    assert [writer.path.read_bytes() for writer in writers] == outputs
    ((reason, standing),) = seen
    assert reason == code
    parts = [name for name in standing if name.startswith(".prodia")]
    assert sorted({*standing} - {*parts}) == sorted(["job-2.png", "job.png", "job-3.png"][: good + 1])
    assert len(parts) == (good < 2)  # the one that is not in memory, until it has its name
    assert (tmp_path / "job-2.png").read_bytes() == b"old"


async def test_another_error_is_not_waited_for(tmp_path):
    async def wait(error):
        pytest.fail("nothing to wait for")

    sink = FullSink(tmp_path, 1, errno.EIO, wait)
    await send(sink, b"1", b"2")
    with pytest.raises(OutputError) as caught:
        await sink.commit(RESULT)
    assert caught.value.errno == errno.EIO
    assert names(tmp_path) == ["job.png"]
    assert [path.name for path in caught.value.written] == ["job.png"]


@pytest.fixture
def late(monkeypatch):
    """Closing the first so many regular files tells that there was no room, as on a network file system."""
    real, left = os.close, [0]

    def close(descriptor):
        tells = left[0] > 0 and stat.S_ISREG(os.fstat(descriptor).st_mode)
        real(descriptor)
        if tells:
            left[0] -= 1
            raise OSError(errno.ENOSPC, "no room")

    monkeypatch.setattr(os, "close", close)
    return left


def test_a_file_of_one_block_is_written_anew_when_its_close_fails(tmp_path, late):
    sink = FolderSink(tmp_path)
    writer, late[0] = asyncio.run(sink.open(OutputInfo(0, None, "image/png"))), 2
    for _ in range(2):
        with pytest.raises(OSError, match="no room"):
            writer.put([b"whole"], last=True)
        assert names(tmp_path) == []
        assert not writer._is_lost
    writer.put([b"whole"], last=True)
    writer.in_blocks = True
    asyncio.run(sink.commit(RESULT))
    assert (tmp_path / "job.png").read_bytes() == b"whole"


async def test_a_file_of_several_blocks_is_given_up_when_its_close_fails(tmp_path, late):
    async def wait(error):
        pytest.fail("the blocks before it cannot be written again")

    sink = FolderSink(tmp_path, None, Budget(0), wait_for_room=wait)
    writer = await sink.open(OutputInfo(0, None, "image/png"))
    await writer.write(b"x" * MiB)
    late[0] = 1
    with pytest.raises(OutputError, match="no room"):
        await writer.close()
    await sink.discard()
    assert names(tmp_path) == []
