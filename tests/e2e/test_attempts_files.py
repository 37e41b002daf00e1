"""What goes wrong on our side of an attempt: a source that fails, a sink that cannot keep the output."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import errno
import os
import pathlib

import pytest
from support.expect import JOB, assert_told, failure, until
from support.leaks import client
from support.replies import DONE, JOB_ID, PNG, job_part, multipart, output
from support.servers import answer, serving

from prodia_async import InputError, Job, Limits, MemorySink, OutputError, Retry

pytestmark = pytest.mark.usefixtures("nothing_left")

EAGER = Retry(backoff=0.0, resend_unknown=5)
LARGE = multipart(output(bytes(3_000_000)), job_part())


async def refuse_input(inputs, *, announced):
    """Run a job whose input fails; `announced` tells whether the request's head may be at the server."""
    async with serving(answer(DONE)) as server, client(server.base_url, retry=EAGER) as prodia:
        error = await failure(InputError, prodia, job=Job(JOB.type, {}, inputs, custom_id="cat-1"))
        assert len(server.requests) <= announced
    assert isinstance(error, ValueError)
    assert error.may_have_run is False
    assert error.__cause__ is not None
    return error


async def test_a_source_that_fails_is_the_callers_error():
    async def broken():
        yield b"x" * 1000
        raise RuntimeError("the camera is gone")

    error = await refuse_input([("x.png", broken())], announced=1)
    assert_told(error, ["bad_input"], may_have_run=False, says="the camera is gone")
    assert "'x.png'" in str(error)


async def test_a_source_that_gives_no_bytes_is_the_callers_error():
    async def texts():
        yield "text"

    error = await refuse_input([("x.png", texts())], announced=1)
    assert_told(error, ["bad_input"], may_have_run=False, says="str")


async def changed_on_the_way(tmp_path, change):
    """Run a job whose second input is changed while the first is being read."""
    second = tmp_path / "second.bin"
    second.write_bytes(bytes(2_000_000))

    async def first():
        yield b"first"
        await asyncio.to_thread(change, second)

    error = await refuse_input([("first.bin", first()), second], announced=1)
    assert_told(error, ["bad_input"], may_have_run=False, says="second.bin")
    return error


async def test_a_file_that_became_shorter_is_the_callers_error(tmp_path):
    assert "changed" in str(await changed_on_the_way(tmp_path, lambda path: path.write_bytes(b"short")))


async def test_a_file_that_grew_is_the_callers_error(tmp_path):
    assert "changed" in str(
        await changed_on_the_way(tmp_path, lambda path: path.write_bytes(bytes(3_000_000)))
    )


async def test_a_file_that_is_gone_is_the_callers_error(tmp_path):
    error = await changed_on_the_way(tmp_path, lambda path: path.unlink())
    assert "could not be read" in str(error)


async def test_a_file_that_changes_while_its_job_waits_is_never_sent_whole(tmp_path):
    """Its length was looked at before: the server must see a request that breaks off, not one that ends."""
    path = tmp_path / "x.bin"
    path.write_bytes(bytes(2_000_000))

    async def shorten_then_answer(connection, request):
        await until(lambda: prodia.stats().waiting)
        await asyncio.to_thread(path.write_bytes, b"short")
        await answer(DONE)(connection, request)

    async with (
        serving(shorten_then_answer, answer(DONE)) as server,
        client(server.base_url, max_concurrency=1) as prodia,
    ):
        late = Job(JOB.type, {}, [path], custom_id="cat-1")
        _, error = await asyncio.gather(prodia.run(JOB), prodia.run(late), return_exceptions=True)
        assert all(not request.complete for request in server.requests[1:])
    assert type(error) is InputError
    assert_told(error, ["bad_input"], may_have_run=False, says="changed")


class BrokenSink(MemorySink):
    """Raises at one of its steps."""

    def __init__(self, step, error):
        super().__init__()
        self.step = step
        self.error = error
        self.discarded = False

    def fail_at(self, step):
        if step == self.step:
            raise self.error

    async def open(self, output):
        self.fail_at("open")
        return BrokenWriter(self, await super().open(output))

    async def commit(self, result):
        self.fail_at("commit")
        await super().commit(result)

    async def discard(self):
        self.discarded = True
        await super().discard()


class BrokenWriter:
    def __init__(self, sink, writer):
        self.sink = sink
        self.writer = writer

    async def write(self, data):
        self.sink.fail_at("write")
        await self.writer.write(data)

    async def close(self):
        self.sink.fail_at("close")
        await self.writer.close()


async def lose_output(step, **options):
    """Run a job whose output cannot be kept: it ran, and is not run again."""
    settings = options.pop("client", {})
    async with (
        serving(step) as server,
        client(server.base_url, retry=EAGER, **settings) as prodia,
    ):
        error = await failure(OutputError, prodia, **options)
        assert len(server.requests) == 1
    assert isinstance(error, OSError)
    assert "make room or another place" in str(error)
    return error


@pytest.mark.parametrize("step", ["open", "write", "close", "commit"])
async def test_a_sink_that_raises_is_never_retried(step):
    cause = RuntimeError("the bucket is closed")
    sinks = []

    def make(job):
        sinks.append(BrokenSink(step, cause))
        return sinks[-1]

    error = await lose_output(answer(DONE), to=make)
    verdict = "done" if step == "commit" else "not_kept"
    assert_told(error, [verdict], may_have_run=True, status=200, says="the bucket is closed")
    assert error.__cause__ is cause
    assert [sink.discarded for sink in sinks] == [True]


async def test_a_sink_that_fails_at_commit_leaves_the_result():
    error = await lose_output(
        answer(DONE), to=lambda job: BrokenSink("commit", OSError(errno.EDQUOT, "quota"))
    )
    assert (error.result.id, error.errno, error.written) == (JOB_ID, errno.EDQUOT, ())


async def test_a_sink_that_cannot_be_made_sends_nothing():
    def make(job):
        raise RuntimeError("no such bucket")

    async with serving(answer(DONE)) as server, client(server.base_url) as prodia:
        error = await failure(InputError, prodia, to=make)
        assert server.requests == []
        assert (prodia.stats().requests, prodia.stats().in_flight) == (0, 0)
    assert (error.may_have_run, error.attempts) == (False, ())
    assert "no such bucket" in str(error)


@pytest.mark.parametrize("limits", [{"max_output_bytes": 999_999}, {"max_memory_output": 999_999}])
async def test_outputs_above_a_limit_are_not_kept(limits):
    error = await lose_output(answer(LARGE), client={"limits": Limits(**limits)})
    assert_told(error, ["not_kept"], may_have_run=True, status=200, says=f"Limits.{next(iter(limits))}")


async def test_small_outputs_above_the_limit_on_what_is_collected_go_to_disk_at_once(tmp_path):
    """The first of two is on disk while the second is still to come."""
    whole, go_on = multipart(output(), output(), job_part()), asyncio.Event()
    half = len(whole.body) // 2 + 200

    async def in_two(connection, request):
        await connection.read_body(request)
        first, *_ = whole.wire()
        connection.writer.write(first + whole.body[:half])
        await go_on.wait()
        connection.writer.write(whole.body[half:])

    limits = Limits(collect=len(PNG) - 1)
    async with serving(in_two) as server, client(server.base_url, limits=limits) as prodia:
        running = asyncio.create_task(prodia.run(JOB, to=tmp_path))
        try:
            await until(lambda: sizes(tmp_path) == [len(PNG)])
        finally:
            go_on.set()
        assert [output.size for output in (await running).outputs] == [len(PNG)] * 2


def sizes(folder: pathlib.Path) -> list[int]:
    """Return the sizes of the temporary files: one that is gone again was the trial of the folder."""
    found = []
    for path in folder.glob(".prodia-*"):
        with contextlib.suppress(FileNotFoundError):
            found.append(path.stat().st_size)
    return found


def meanwhile(change, reply):
    """Answer after the folder was changed, while the client waits for its answer."""

    async def step(connection, request):
        await asyncio.to_thread(change)
        await answer(reply)(connection, request)

    return step


@pytest.mark.parametrize("reply", [DONE, LARGE], ids=["small", "large"])
async def test_a_folder_that_became_a_file_loses_the_output(tmp_path, reply):
    folder = tmp_path / "out"

    def replace():
        folder.rmdir()
        folder.write_bytes(b"in the way")

    error = await lose_output(meanwhile(replace, reply), to=folder)
    assert error.may_have_run is True
    assert error.errno in (errno.ENOTDIR, errno.EEXIST)
    assert folder.read_bytes() == b"in the way"


@pytest.mark.parametrize("reply", [DONE, LARGE], ids=["small", "large"])
async def test_a_folder_that_was_removed_meanwhile_is_made_again(tmp_path, reply):
    folder = tmp_path / "out"
    step = meanwhile(folder.rmdir, reply)
    async with serving(step) as server, client(server.base_url) as prodia:
        result = await prodia.run(JOB, to=folder)
    assert result.outputs[0].path.parent == folder
    assert result.outputs[0].path.stat().st_size == result.outputs[0].size


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 1 MiB, where we may mount one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(b"tmpfs", os.fsencode(folder), b"tmpfs", 0, b"size=1m") != 0:
        pytest.skip(f"no small tmpfs: {os.strerror(ctypes.get_errno())}")
    yield folder
    with contextlib.suppress(FileNotFoundError):
        assert libc.umount(os.fsencode(folder)) == 0


@pytest.mark.parametrize("size", [900_000, 3_000_000], ids=["at commit", "on the way"])
@pytest.mark.parametrize("name", ["", "x.png"])
async def test_a_full_disk_is_told_and_never_retried(small_disk, size, name):
    (small_disk / "other").write_bytes(bytes(500_000))
    error = await lose_output(answer(multipart(output(bytes(size)), job_part())), to=small_disk / name)
    assert error.errno == errno.ENOSPC
    assert error.may_have_run is True
    assert "No space left on device" in str(error)
    assert [path.name for path in small_disk.iterdir()] == ["other"]
