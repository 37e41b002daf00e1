"""What one attempt has brought: limits, order, whatever a sink may do, and what a small output costs."""

import asyncio
import logging
import sys
import threading
from pathlib import Path

import pytest
from files.steps import names

from prodia_async._errors import InputError, OutputError
from prodia_async._files.outputs import MemorySink, NotKeptError, Outputs
from prodia_async._files.sinks import Budget, FileSink, FolderSink
from prodia_async._files.threads import hop
from prodia_async._models import JobResult
from prodia_async._settings import Limits
from prodia_async._wire.decoder import JobPart
from prodia_async._wire.heads import Head

RESULT = JobResult(type="inference.ping.v1", config={}, id="job")
MiB = 1024 * 1024


def one(*pieces, kind="image/png"):
    return [Head("output", "a.png", kind), *pieces, b""]


async def take(outputs, *batches):
    for events in batches:
        await outputs.take(events)


async def store(outputs, *events):
    await take(outputs, events)
    await outputs.commit(RESULT)


class UsersSink:
    """Keeps the protocol to the letter, and writes down what it was called with; `fails` names a method."""

    def __init__(self, fails=None, how=None):
        self.calls = []
        self.fails = fails
        self.how = how

    async def _called(self, name, *args):
        await asyncio.sleep(0)
        self.calls.append((name, *args))
        if name == self.fails:
            await self.how()

    async def open(self, output):
        await self._called("open", output.index, output.filename, output.content_type)
        return self

    async def write(self, data):
        await self._called("write", data)

    async def close(self):
        await self._called("close")

    async def commit(self, result):
        await self._called("commit", result)

    async def discard(self):
        await self._called("discard")


@pytest.mark.parametrize("kind", ["memory", "folder", "file", "no budget", "user"])
async def test_events_in_any_pieces_and_what_is_said_of_them(kind, tmp_path):
    sink = {
        "memory": MemorySink,
        "folder": lambda: FolderSink(tmp_path),
        "file": lambda: FileSink(tmp_path / "job.png"),
        "no budget": lambda: FolderSink(tmp_path, None, Budget(0)),
        "user": UsersSink,
    }[kind]()
    heard = []
    if kind == "user":
        sink.job_part = heard.append
    outputs = Outputs(sink, Limits())
    start, first, second, end = one(b"12", b"3")
    await take(outputs, [], [JobPart(b"{}"), start], [first], [second, end, *one(b"4" * 2 * MiB)], one(), [])
    assert (outputs.job_part, heard) == (b"{}", [b"{}"] * (kind == "user"))
    await outputs.commit(RESULT)
    described = outputs.outputs()
    assert [(output.filename, output.content_type, output.size) for output in described] == [
        ("a.png", "image/png", size) for size in (3, 2 * MiB, 0)
    ]
    wanted = [b"123", b"4" * 2 * MiB, b""]
    if kind == "user":
        assert [output.path or output.data for output in described] == [None] * 3
        told = sink.calls.pop()[1].outputs
        assert [(output.content_type, output.size) for output in told] == [
            ("image/png", size) for size in (3, 2 * MiB, 0)
        ]
        assert sink.calls == [
            ("open", 0, "a.png", "image/png"), ("write", b"12"), ("write", b"3"), ("close",),
            ("open", 1, "a.png", "image/png"), ("write", wanted[1]), ("close",),
            ("open", 2, "a.png", "image/png"), ("close",),
        ]  # fmt: skip
    elif kind == "memory":
        assert [output.data for output in described] == wanted
    else:
        assert [output.path.read_bytes() for output in described] == wanted
        assert outputs.written() == tuple(output.path for output in described)
        assert names(tmp_path) == ["job-2.png", "job-3.png", "job.png"]


@pytest.mark.parametrize("sink", [MemorySink, UsersSink])
async def test_more_bytes_than_allowed_are_not_kept(sink):
    outputs = Outputs(sink(), Limits(max_output_bytes=5))
    await take(outputs, one(b"123"), one(b"45"))
    with pytest.raises(NotKeptError, match="max_output_bytes=5") as caught:
        await take(outputs, one(b"6"))
    assert caught.value.cause is None
    await outputs.discard()


async def test_a_sink_whose_job_part_fails_is_told_like_any_other():
    def fail(_):
        raise ValueError("no")

    sink = UsersSink()
    sink.job_part = fail
    with pytest.raises(NotKeptError, match=r"the sink failed: ValueError\('no'\)"):
        await take(Outputs(sink, Limits()), [JobPart(b"{}")])


async def test_an_error_of_ours_says_itself_what_is_wrong(tmp_path):
    outputs = Outputs(MemorySink(2), Limits())
    with pytest.raises(NotKeptError, match="larger than 2 bytes") as caught:
        await outputs.take(one(b"123"))
    assert isinstance(caught.value.cause, OutputError)
    (tmp_path / "file").write_bytes(b"")
    for budget in (Budget(0), Budget(MiB)):
        outputs = Outputs(FolderSink(tmp_path / "file" / "out", None, budget), Limits())
        with pytest.raises(NotKeptError, match="the output could not be written: Not a directory"):
            await store(outputs, *one(b"1" * MiB, b"2"))
        assert outputs.written() == ()


async def fail():
    raise ValueError("no")


async def meet_a_cancelled_future():
    future = asyncio.get_running_loop().create_future()
    future.cancel()
    await future


@pytest.mark.parametrize("fails", ["open", "write", "close", "commit"])
@pytest.mark.parametrize(("how", "told"), [(fail, "ValueError"), (meet_a_cancelled_future, "was cancelled")])
async def test_whatever_a_sink_raises_means_that_nothing_is_kept(fails, how, told):
    outputs = Outputs(UsersSink(fails, how), Limits())
    with pytest.raises(NotKeptError, match=told) as caught:
        await store(outputs, *one(b"1"))
    assert isinstance(caught.value.cause, ValueError) is (how is fail)
    await outputs.discard()


async def test_what_a_sink_raises_is_told_short():
    async def fail():
        raise ValueError("x" * 10**6)

    with pytest.raises(NotKeptError, match="the sink failed: ValueError") as caught:
        await store(Outputs(UsersSink("write", fail), Limits()), *one(b"1"))
    assert len(str(caught.value)) < 250


@pytest.mark.parametrize("how", [fail, meet_a_cancelled_future])
async def test_a_discard_that_fails_is_told_in_the_log_only(how, caplog):
    await Outputs(UsersSink("discard", how), Limits()).discard()
    ((_, level, message),) = caplog.record_tuples
    assert (level, message) == (logging.ERROR, "a sink's discard() raised")


@pytest.mark.parametrize("fails", ["open", "write", "close", "commit", "discard"])
async def test_a_cancellation_of_the_job_stays_one(fails):
    begun = asyncio.Event()

    async def hang():
        begun.set()
        await asyncio.Event().wait()

    async def job():
        outputs = Outputs(UsersSink(fails, hang), Limits())
        await take(outputs, one(b"1"))
        await outputs.commit(RESULT)
        await outputs.discard()

    task = asyncio.ensure_future(job())
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


def test_what_is_no_sink_is_told():
    for what in (object(), None, open, lambda job: None):
        with pytest.raises(InputError, match="no sink: it needs"):
            Outputs(what, Limits())


async def test_a_sink_of_ours_that_was_changed_is_called_as_it_is(tmp_path):
    calls = []

    class Opened(FolderSink):
        async def open(self, output):
            calls.append(output.index)
            return await super().open(output)

    class Committed(MemorySink):
        async def commit(self, result):
            calls.append([output.data for output in result.outputs])
            await super().commit(result)

    for sink in (Opened(tmp_path), Committed()):
        outputs = Outputs(sink, Limits())
        await take(outputs, one(b"1"))
        await outputs.commit(RESULT)
        (output,) = outputs.outputs()
        assert output.size == 1
        assert output.data == b"1" or output.path == tmp_path / "job.png"
    assert calls == [0, [b"1"]]


async def test_small_outputs_take_no_turn_of_the_loop_until_they_are_committed(tmp_path):
    budget = Budget(MiB)
    outputs = Outputs(FolderSink(tmp_path, None, budget), Limits())
    turns = []
    asyncio.get_running_loop().call_soon(turns.append, 1)
    for events in ([JobPart(b"{}")], one(b"x" * 20_000), one(b"y", b"z")):
        await outputs.take(events)
    assert turns == []
    assert (names(tmp_path), budget.used) == ([], 20_002)
    await outputs.commit(RESULT)
    assert (names(tmp_path), budget.used) == (["job-2.png", "job.png"], 0)
    assert outputs.is_kept


async def frames_of(action):
    """Return the functions of ours that an action enters, those of worker threads too."""
    seen = []

    def look(frame, event, _):
        if event == "call" and "prodia_async" in Path(frame.f_code.co_filename).parts:
            seen.append(frame.f_code.co_name)

    threading.setprofile_all_threads(look)
    try:
        await action()
    finally:
        threading.setprofile_all_threads(None)
    return seen


@pytest.mark.skipif(sys.version_info < (3, 12), reason="it cannot look into threads that run already")
async def test_a_small_output_costs_few_calls(tmp_path):
    data, budget, limits = b"x" * 20_000, Budget(MiB), Limits()
    for _ in range(8):  # all threads run
        await asyncio.gather(*[hop(int) for _ in range(4)])

    async def action():
        outputs = Outputs(sink, limits)
        await outputs.take(events)
        await outputs.commit(RESULT)
        assert outputs.outputs()[0].size == 20_000

    events = [JobPart(b"{}"), Head("output", None, "image/png"), data, b""]
    sink = FolderSink(tmp_path, "first", budget)
    await action()
    sink = FolderSink(tmp_path, "second", budget)
    seen = await frames_of(action)
    assert names(tmp_path) == ["first.png", "second.png"]
    assert len(seen) <= 30, seen
