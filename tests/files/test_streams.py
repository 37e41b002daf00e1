"""Inputs that can be read once only, and spooling."""

import asyncio
import contextlib
import os
import subprocess
import sys
import tempfile
import threading

import pytest
from files.readings import Iterable, items, prepare, read, read_all
from files.steps import cancelled_at, descriptors
from support.processes import complaints

from prodia_async._errors import InputError
from prodia_async._files.threads import hop

MiB = 1024 * 1024


async def test_an_iterator_is_sent_once():
    (source,) = await prepare([("a.png", items(b"one", b"", bytearray(b"two"), memoryview(b"three")))])
    assert (source.content_type, source.size, source.replayable) == ("image/png", None, False)
    assert await read(source) == [b"one", b"two", b"three"]
    with pytest.raises(
        InputError, match=r"'a\.png' was read and cannot be sent again: pass a file, or spool=True"
    ):
        source.open()
    await source.aclose()


async def test_an_iterable_is_not_touched_before_it_is_opened():
    given = Iterable(b"x")
    (source,) = await prepare([given])
    await source.aclose()
    assert given.asked == 0
    assert await read(source) == [b"x"]
    with pytest.raises(InputError, match="cannot be sent again"):
        source.open()
    assert given.asked == 1


async def test_large_items_go_out_in_blocks():
    data = os.urandom(700_000)
    (source,) = await prepare([items(data)])
    blocks = await read(source)
    assert b"".join(blocks) == data
    assert max(map(len, blocks)) <= 512 * 1024


async def failing():
    yield b"x"
    raise KeyError("lost")


@pytest.mark.parametrize("spool", [False, True])
async def test_an_iterator_that_fails(spool):
    with pytest.raises(InputError, match=r"input 'a' could not be read: 'lost'") as caught:
        await read_all([("a", failing())], spool=spool)
    assert isinstance(caught.value.__cause__, KeyError)


@pytest.mark.parametrize("item", ["text", 7, None])
async def test_items_that_are_no_bytes(item):
    (source,) = await prepare([items(b"x", item)])
    with pytest.raises(InputError, match="where bytes are needed"):
        await read(source)


class NotIterable:
    def __aiter__(self):
        return 7


async def test_an_iterable_that_gives_no_iterator():
    (source,) = await prepare([NotIterable()])
    with pytest.raises(InputError, match="could not be read"):
        await read(source)


class Noted:
    """An iterable that notes when its iterator is closed; closing fails."""

    closed = False

    async def __aiter__(self):
        try:
            while True:
                yield b"x"
        finally:
            self.closed = True
            raise KeyError("in the clean-up")


async def test_the_iterator_that_we_made_is_closed_and_a_users_is_not():
    noted = Noted()
    (source,) = await prepare([noted])
    reader = source.open()
    await reader.read()
    await reader.close()
    assert noted.closed

    theirs = items(b"1", b"2")
    (source,) = await prepare([theirs])
    reader = source.open()
    await reader.read()
    await reader.close()
    assert await anext(theirs) == b"2"


@pytest.mark.parametrize("size", [0, 10, MiB, MiB + 1, 3 * MiB])
async def test_spooling_makes_it_repeatable(size):
    data = os.urandom(size)
    before = descriptors()
    given = [("a.png", items(*(data[at : at + 100_000] for at in range(0, size, 100_000)))), b"other"]
    source, other = await prepare(given, spool=True)
    assert (source.filename, source.size, source.replayable) == ("a.png", size, True)
    for _ in range(3):
        assert b"".join(await read(source)) == data
    assert descriptors() == before + (size > MiB)
    await source.aclose()
    await other.aclose()
    assert descriptors() == before


async def test_what_was_spooled_is_sniffed():
    (source,) = await prepare([items(b"\x89PNG\r\n\x1a\n", b"x" * 2 * MiB)], spool=True)
    assert (source.filename, source.content_type) == ("input.png", "image/png")
    await source.aclose()


class SlowToClose:
    """Its iterator takes some turns of the loop to close."""

    def __aiter__(self):
        return SlowIterator()


class SlowIterator:
    def __init__(self):
        self.left = [b"x" * 2 * MiB]

    def __aiter__(self):
        return self

    async def __anext__(self):
        if not self.left:
            raise StopAsyncIteration
        return self.left.pop()

    async def aclose(self):
        for _ in range(20):
            await asyncio.sleep(0)


@pytest.mark.parametrize("way", ["native", "twice", "scope"])
async def test_cancelled_spooling_leaves_no_descriptor(way):
    await hop(int)
    before = descriptors()

    async def action():
        given = [SlowToClose(), ("b", items(b"y" * 300_000, b"y" * 2 * MiB))]
        async with contextlib.AsyncExitStack() as stack:
            for source in await prepare(given, spool=True):
                stack.push_async_callback(source.aclose)

    ends = [await cancelled_at(step, action, way=way) for step in range(0, 120, 4)]
    assert True in ends
    assert descriptors() == before


async def test_a_failure_while_spooling_closes_what_was_spooled():
    before = descriptors()
    with pytest.raises(InputError, match="'b' could not be read"):
        await prepare([items(b"x" * 2 * MiB), ("b", failing())], spool=True)
    assert descriptors() == before


FULL = """
import asyncio, resource, signal, sys
from prodia_async._errors import InputError
from prodia_async._files.inputs import examined, listed

async def items():
    for _ in range(40):
        yield b"x" * 100_000

async def main():
    try:
        await examined(listed([items()]), spool=True)
    except InputError as error:
        print(type(error.__cause__).__name__, "temporary file" in str(error))

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (2_000_000, 2_000_000))
asyncio.run(main())
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no such limit")
def test_spooling_to_a_full_disk():
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error", "-c", FULL],
        capture_output=True, text=True, timeout=60, check=False, env=dict(os.environ),
    )  # fmt: skip
    assert (done.stdout, complaints(done.stderr)) == ("OSError True\n", "")


async def test_spooling_without_a_place_for_temporary_files(tmp_path):
    usual, tempfile.tempdir = tempfile.tempdir, str(tmp_path / "none")
    try:
        with pytest.raises(InputError, match="temporary file") as caught:
            await prepare([items(b"x" * 2 * MiB)], spool=True)
    finally:
        tempfile.tempdir = usual
    assert isinstance(caught.value.__cause__, FileNotFoundError)


@pytest.fixture
def pipe():
    """Return the two ends of a pipe as open files."""
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb") as source, os.fdopen(writing, "wb", buffering=0) as drain:
        yield source, drain


async def test_a_pipe_is_sent_once(pipe):
    (source,) = await prepare([pipe[0]])
    assert (source.filename, source.size, source.replayable) == ("input.bin", None, False)
    pipe[1].write(b"one")
    reader = source.open()
    assert await reader.read() == b"one"
    pipe[1].write(b"two")
    assert await reader.read() == b"two"
    pipe[1].close()
    assert await reader.read() == b""
    await reader.close()
    assert not pipe[0].closed
    with pytest.raises(InputError, match="cannot be sent again"):
        source.open()


async def test_a_pipe_is_spooled(pipe):
    pipe[1].write(b"\xff\xd8\xff and so on")
    pipe[1].close()
    (source,) = await prepare([pipe[0]], spool=True)
    assert (source.filename, source.size) == ("input.jpg", 13)
    assert await read(source) == await read(source) == [b"\xff\xd8\xff and so on"]
    await source.aclose()


async def test_a_cancelled_read_of_a_silent_pipe_does_not_wait(pipe):
    sources = await prepare([("a", pipe[0])])
    reader = sources[0].open()
    task = asyncio.ensure_future(reader.read())
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await reader.close()
    assert await reader.read() == b""
    await gone()
    pipe[1].write(b"late")
    assert pipe[0].read1() == b"late"  # what came after the cancellation is the user's


async def gone():
    """Wait until no thread reads a pipe any more."""
    for _ in range(200):
        if not any(thread.name == "prodia-async-apart" for thread in threading.enumerate()):
            return
        await asyncio.sleep(0.01)
    pytest.fail("a thread still reads")


async def test_a_pipe_that_does_not_block_is_waited_for(pipe):
    os.set_blocking(pipe[0].fileno(), False)
    (source,) = await prepare([("a", pipe[0].raw)])
    task = asyncio.ensure_future(read(source))
    await asyncio.sleep(0.01)
    pipe[1].write(b"now")
    pipe[1].close()
    assert await task == [b"now"]


EXIT = """
import asyncio, sys
from prodia_async._files.inputs import examined, listed

async def main():
    (source,) = await examined(listed([sys.stdin.buffer]))
    reader = source.open()
    try:
        await asyncio.wait_for(reader.read(), 0.01)
    except asyncio.TimeoutError:
        print(source.filename)

asyncio.run(main())
"""


def test_a_silent_standard_input_does_not_disturb_the_exit():
    command = [sys.executable, "-X", "dev", "-W", "error", "-c", EXIT]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as child:
        assert child.wait(60) == 0
        assert (child.stdout.read(), complaints(child.stderr.read())) == ("input.bin\n", "")


async def test_a_pipe_that_was_closed():
    reading, writing = os.pipe()
    os.close(writing)
    with os.fdopen(reading, "rb") as file:
        (source,) = await prepare([file])
    with pytest.raises(InputError, match="closed file"):
        await read(source)


class Positionless:
    """The least that a file can be."""

    def __init__(self, *blocks):
        self.blocks = list(blocks)

    def read(self, size):
        return self.blocks.pop(0) if self.blocks else b""


async def test_a_plain_object_with_read():
    (source,) = await prepare([("a", Positionless(b"1", b"2"))])
    assert not source.replayable
    assert await read(source) == [b"1", b"2"]


async def test_a_plain_object_that_has_nothing_yet():
    with pytest.raises(InputError, match="gave nothing yet"):
        await read_all([("a", Positionless(None))])
