"""`on_event=`: every job tells what happens to it, in order, and waits for no listener. And PRODIA_LOG."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import json
import logging
import os
import subprocess
import sys
import threading
import time
import weakref
from collections import Counter, defaultdict
from datetime import UTC, datetime
from queue import SimpleQueue

import pytest
from support.expect import JOB, until
from support.fake_clock import START, FakeClock
from support.leaks import TOKEN, client
from support.replies import DONE, in_json, shed
from support.servers import answer, serving, stall

from prodia_async import BadRequestError, Event, InputError, Job, Prodia, Retry, _events
from prodia_async.emulator import background_emulator

pytestmark = pytest.mark.usefixtures("nothing_left")


class Heard(list):
    """A hook that keeps what it hears, and where."""

    def __init__(self):
        super().__init__()
        self.threads = set()

    def __call__(self, event):
        self.threads.add(threading.current_thread())
        self.append(event)

    @property
    def kinds(self):
        return [event.kind for event in self]


async def test_what_happens_to_a_job_is_told_in_order():
    heard, clock = Heard(), FakeClock()
    script = answer(shed(0)), answer(in_json(503, {"message": "later"})), answer(DONE)
    async with (
        serving(*script) as server,
        client(server.base_url, on_event=heard, clock=clock) as prodia,
        clock.jumping(lambda: prodia.stats().in_flight == 0),
    ):
        await prodia.run(JOB)
        assert len(server.requests) == 3
    kinds = ["queued", "sent", "shed", "sent", "retried", "sent", "completed"]
    assert heard.kinds == kinds
    assert [event.attempt and event.attempt.number for event in heard] == [None, None, 1, None, 2, None, 3]
    verdicts = [event.attempt.verdict for event in heard if event.attempt]
    assert verdicts == ["shed", "server_error", "done"]
    assert all(event.job == JOB for event in heard)
    assert len({event.run for event in heard}) == 1
    assert heard[0].run > 0
    assert {event.error for event in heard} == {None}
    assert heard[0].at == datetime.fromtimestamp(START, UTC)
    assert [event.at for event in heard] == sorted(event.at for event in heard)


async def test_a_failure_tells_why():
    heard = Heard()
    async with (
        serving(answer(in_json(400, {"message": f"no {TOKEN}"}))) as server,
        client(server.base_url, on_event=heard) as prodia,
    ):
        with pytest.raises(BadRequestError) as caught:
            await prodia.run(JOB)
        with pytest.raises(InputError) as refused:
            await prodia.run("")
    assert heard.kinds == ["queued", "sent", "failed", "queued", "failed"]
    assert heard[2].error is caught.value
    assert heard[2].attempt.verdict == "refused"
    assert heard[4].error is refused.value
    assert heard[4].attempt is None
    assert TOKEN not in repr(heard) + str(heard[2].error)


@pytest.mark.parametrize("way", ["run", "stream", "as_completed"])
async def test_a_job_that_is_left_is_told_as_cancelled(way):
    heard = Heard()
    async with serving(stall()) as server, client(server.base_url, on_event=heard) as prodia:

        async def work():
            if way == "run":
                await prodia.run(JOB)
            elif way == "stream":
                await prodia.stream(JOB).open()
            else:
                async with prodia.as_completed([JOB]) as outcomes:
                    await anext(outcomes)

        task = asyncio.create_task(work())
        await until(lambda: server.requests and server.requests[0].complete)
        task.cancel()
        await asyncio.wait([task])
        assert prodia.stats().cancelled == prodia.stats().jobs == 1
    assert heard.kinds == ["queued", "sent", "cancelled"]
    assert heard[-1].attempt.verdict == "cancelled"


async def test_a_stream_is_told_as_any_other_job():
    heard = Heard()
    async with (
        serving(answer(shed(0)), answer(DONE)) as server,
        client(server.base_url, on_event=heard) as prodia,
        prodia.stream(JOB) as reply,
    ):
        assert len([each async for each in reply]) == 1
    assert heard.kinds == ["queued", "sent", "shed", "sent", "completed"]


async def test_each_run_has_a_number_and_its_own_order():
    heard = Heard()
    jobs = [JOB] * 100
    with background_emulator(capacity=4, latency=0.002, retry_after=0.01, token=TOKEN) as emulator:
        async with client(emulator.base_url, on_event=heard) as prodia:
            results = await asyncio.gather(*(prodia.run("inference.ping.v1", custom_id="x") for _ in jobs))
            told = {id(result): len(result.attempts) for result in results}
        assert len(told) == 100
    runs = defaultdict(list)
    for event in heard:
        runs[event.run].append(event.kind)
    assert len(runs) == 100
    for kinds in runs.values():
        assert (kinds[0], kinds[-1]) == ("queued", "completed")
        assert kinds[1:-1:2] == ["sent"] * len(kinds[1:-1:2])
        assert kinds[2:-1:2] == ["shed"] * len(kinds[2:-1:2])
    count = Counter(heard.kinds)
    stats = Counter(queued=100, completed=100, sent=sum(told.values()), shed=sum(told.values()) - 100)
    assert count == +stats
    assert heard.threads != {threading.current_thread()}
    assert len(heard.threads) == 1


variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="none")


async def test_it_is_called_in_another_thread_within_the_callers_context():
    seen = defaultdict(set)

    def hook(event):
        seen[event.job.custom_id].add((variable.get(), threading.current_thread().name))
        variable.set("spoiled")

    async with serving(answer(DONE)) as server, client(server.base_url, on_event=hook) as prodia:

        async def handler(name):
            variable.set(name)
            await prodia.run(JOB, custom_id=f"run {name}")
            async with prodia.stream(JOB, custom_id=f"stream {name}") as reply:
                assert reply.output is not None
            async with prodia.as_completed([Job(JOB.type, custom_id=f"many {name}")]) as outcomes:
                await anext(outcomes)
            assert variable.get() == name

        await asyncio.gather(*(handler(name) for name in "abc"))
    assert len(seen) == 9
    for custom_id, places in seen.items():
        assert places == {(custom_id[-1], "prodia-async-events")}


async def test_what_it_raises_is_logged(caplog):
    raised = []

    def hook(event):
        raised.append(event.kind)
        raise SystemExit("odd") if event.kind == "sent" else ZeroDivisionError("a bug")

    async with serving(answer(DONE)) as server, client(server.base_url, on_event=hook) as prodia:
        result = await prodia.run(JOB)
        assert [attempt.verdict for attempt in result.attempts] == ["done"]
        assert prodia.stats().completed == 1
    assert raised == ["queued", "sent", "completed"]
    records = [record for record in caplog.records if record.message == "on_event raised"]
    assert [record.exc_info[0] for record in records] == [ZeroDivisionError, SystemExit, ZeroDivisionError]


async def test_a_slow_hook_holds_up_no_job_and_closing_waits_for_the_last_event():
    heard = Heard()

    def slow(event):
        time.sleep(0.05)
        heard(event)

    async with serving(answer(DONE)) as server:
        async with client(server.base_url, on_event=slow) as prodia:
            for _ in range(20):
                await prodia.run(JOB)
            assert prodia.stats().completed == 20
            assert len(heard) < 40  # of 60: the jobs did not wait for it
        assert len(heard) == 60
    assert heard.kinds == ["queued", "sent", "completed"] * 20


@pytest.mark.newest
async def test_closing_does_not_wait_for_ever():
    release, heard = threading.Event(), Heard()

    def stuck(event):
        release.wait(30)
        heard(event)

    async with serving(answer(DONE)) as server, client(server.base_url, on_event=stuck) as prodia:
        await prodia.run(JOB)
        started = time.monotonic()
        ticks = 0
        closing = asyncio.create_task(prodia.aclose())
        while not closing.done():
            await asyncio.sleep(0.05)
            ticks += 1
        assert 4 < time.monotonic() - started < 20
        assert ticks > 20  # the loop went on meanwhile
        assert not heard
        release.set()
        await until(lambda: heard.kinds == ["queued", "sent", "completed"])


async def test_events_that_nobody_takes_are_dropped_with_one_warning(caplog):
    release, heard = threading.Event(), Heard()

    def stuck(event):
        release.wait(30)
        heard(event)

    hook = _events.Hook(stuck)
    event = Event("queued", JOB, datetime.now(UTC))
    try:
        for _ in range(_events._MOST_WAITING + 500):
            hook.tell(event)
    finally:
        release.set()
    await asyncio.to_thread(hook.wait, 20)
    assert _events._MOST_WAITING <= len(heard) <= _events._MOST_WAITING + 1
    assert [record.message for record in caplog.records if "on_event" in record.message] == [
        "on_event is too slow: above 10000 waiting events, some are dropped"
    ]
    hook.tell(event)
    before = len(heard)
    await asyncio.to_thread(hook.wait, 20)
    assert len(heard) == before + 1 or heard[-1] is event


async def test_the_thread_ends_when_nothing_happens_and_starts_again():
    heard = Heard()
    hook = _events.Hook(heard, idle=0.05)
    event = Event("queued", JOB, datetime.now(UTC))
    for count in range(1, 4):
        hook.tell(event)
        await until(lambda count=count: len(heard) == count)
        await until(lambda: not hook._running)
    assert len(heard.threads) == 3
    hook.wait(0)  # nothing to wait for
    assert not any(thread.is_alive() for thread in heard.threads)


class LateQueue(SimpleQueue):
    """Lets something happen, in another thread, right before or after it is found to be empty."""

    def __init__(self, happens, *, before):
        self.before = before
        self.happens = [threading.Thread(target=happens)]

    def empty(self):
        if self.before:
            self.happen()
        found = super().empty()
        self.happen()
        return found

    def happen(self):
        if self.happens:
            late = self.happens.pop()
            late.start()
            late.join(0.2)  # it may have to wait for whoever asks


@pytest.mark.parametrize("before", [True, False])
async def test_an_event_at_the_moment_at_which_the_thread_gives_up_is_heard(before):
    heard, event = Heard(), Event("queued", JOB, datetime.now(UTC))
    hook = _events.Hook(heard, idle=0.05)
    hook._queue = LateQueue(lambda: hook.tell(event), before=before)
    hook.tell(event)
    await until(lambda: len(heard) == 2)
    await until(lambda: not hook._running)


async def test_a_hook_keeps_nothing_of_what_it_heard():
    async with serving(answer(DONE)) as server:
        seen = []
        async with client(server.base_url, on_event=lambda event: seen.append(event.kind)) as prodia:
            job = Marked("inference.test.v1")
            kept = weakref.ref(job)
            await prodia.run(job)
            await until(lambda: seen == ["queued", "sent", "completed"])
            del job
            gc.collect()
            await until(lambda: kept() is None)


class Marked(Job, frozen=True, weakref=True):
    """A job that can be seen to be freed."""


def test_an_event_is_frozen():
    event = Event("queued", JOB, datetime.now(UTC))
    with pytest.raises(AttributeError):
        event.kind = "sent"


def test_a_coroutine_function_is_refused():
    async def hook(event):
        raise AssertionError

    with pytest.raises(InputError, match="plain function"):
        Prodia(token=TOKEN, on_event=hook)
    with pytest.raises(InputError, match="plain function"):
        Prodia(token=TOKEN).with_options(on_event=hook)


async def test_a_copy_may_have_a_hook_of_its_own():
    first, second = Heard(), Heard()
    async with serving(answer(DONE)) as server, client(server.base_url, on_event=first) as prodia:
        copy = prodia.with_options(on_event=second)
        await copy.run(JOB)
        await prodia.run(JOB)
        await until(lambda: len(second) == 3)
    assert first.kinds == second.kinds == ["queued", "sent", "completed"]
    assert first[0].run != second[0].run


FORK = """
import asyncio, os, sys
from prodia_async import Prodia

heard = []

async def one(prodia):
    await prodia.run("inference.ping.v1")

async def main(prodia):
    async with prodia:
        await one(prodia)

prodia = Prodia(on_event=lambda event: heard.append(event.kind))
asyncio.run(main(prodia))
assert heard == ["queued", "sent", "completed"], heard
child = os.fork()
if not child:
    heard.clear()
    asyncio.run(main(prodia))
    os._exit(0 if heard == ["queued", "sent", "completed"] else 7)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
asyncio.run(main(prodia))
assert heard == ["queued", "sent", "completed"] * 2, heard
"""


def in_a_process(script, emulator, *options, **environment):
    given = {**os.environ, "PRODIA_BASE_URL": emulator.base_url, "PRODIA_TOKEN": TOKEN, **environment}
    return subprocess.run(
        [sys.executable, *options, "-c", script],
        env=given,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
def test_a_forked_child_has_a_thread_of_its_own():
    with background_emulator(latency=0.0, token=TOKEN) as emulator:
        # Forking with a thread about is what newer Pythons warn of: here it is meant.
        ended = in_a_process(FORK, emulator, "-W", "ignore::DeprecationWarning")
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")


LOG = """
import asyncio
from prodia_async import Prodia, Job, ProdiaError, Retry

async def main():
    async with Prodia(retry=Retry(backoff=0)) as prodia:
        shed = {"emulator": {"shed": 1, "retry_after": 0.01}}
        await prodia.run(Job("inference.ping.v1", shed, custom_id="a cat"))
        await prodia.run("inference.ping.v1", {"emulator": {"status": 503, "times": 1, "retry_after": 0}})
        try:
            await prodia.run("inference.ping.v1", {"emulator": {"fail": "no cats"}})
        except ProdiaError:
            pass

asyncio.run(main())
"""


@pytest.mark.parametrize("level", ["debug", " INFO ", "warning", "", None])
def test_prodia_log_says_what_is_shown(level):
    environment = {} if level is None else {"PRODIA_LOG": level}
    with background_emulator(latency=0.0, token=TOKEN) as emulator:
        ended = in_a_process(LOG, emulator, **environment)
    assert (ended.returncode, ended.stdout) == (0, "")
    lines = [line.split(" prodia_async: ", 1) for line in ended.stderr.splitlines()]
    assert all(len(line) == 2 for line in lines), ended.stderr
    said = [line[1] for line in lines]
    ending = [line for line in said if line.startswith(("completed", "retried", "failed"))]
    waiting = [line for line in said if line.startswith(("queued", "sent", "shed"))]
    shown = {"debug": (4, 9), " INFO ": (4, 0)}.get(level, (0, 0))
    assert (len(ending), len(waiting)) == shown, ended.stderr
    assert TOKEN not in ended.stderr
    if ending:
        assert ending[0].startswith("completed: inference.ping.v1 (custom_id 'a cat'): attempt 2, waited 0.")
        assert ending[1].startswith("retried: inference.ping.v1: attempt 1, ")
        assert "status 503" in ending[1]
        assert "no cats" in ending[3]
    if waiting:
        assert "Retry-After 0.01 s" in waiting[2]


def test_prodia_log_with_a_word_that_it_does_not_know():
    with background_emulator(latency=0.0, token=TOKEN) as emulator:
        ended = in_a_process(LOG, emulator, PRODIA_LOG="loud")
    assert ended.returncode == 1
    assert "PRODIA_LOG cannot be 'loud': set it to debug or info" in ended.stderr
    assert TOKEN not in ended.stderr


HANDLED = """
import json, logging, sys
from prodia_async import Prodia

log = logging.getLogger("prodia_async")
log.addHandler(logging.NullHandler())
for _ in range(3):
    Prodia()
print(json.dumps([log.level, len(log.handlers)]))
"""


def test_prodia_log_adds_no_second_handler():
    with background_emulator(token=TOKEN) as emulator:
        ended = in_a_process(HANDLED, emulator, PRODIA_LOG="debug")
        assert json.loads(ended.stdout) == [logging.DEBUG, 1]
        without = in_a_process(HANDLED.replace("log.addHandler", "lambda *_: "), emulator, PRODIA_LOG="info")
        assert json.loads(without.stdout) == [logging.INFO, 1]


async def test_events_are_told_without_a_hook_too(caplog):
    caplog.set_level(logging.DEBUG, "prodia_async")
    async with (
        serving(answer(in_json(500, {})), answer(DONE)) as server,
        client(server.base_url, retry=Retry(backoff=0.0)) as prodia,
    ):
        await prodia.run(JOB)
    said = [record.message.split(":")[0] for record in caplog.records if "inference.test" in record.message]
    assert [each for each in said if each in ("queued", "sent", "retried", "completed")] == [
        "queued",
        "sent",
        "retried",
        "sent",
        "completed",
    ]
    assert TOKEN not in caplog.text


async def test_closing_waits_until_the_hooks_of_copies_have_heard():
    own, copied = Heard(), Heard()

    def slow(event):
        time.sleep(0.05)  # in its own thread
        copied.append(event)

    async with serving(answer(DONE)) as server, client(server.base_url, on_event=own) as prodia:
        await prodia.with_options(on_event=slow).run(JOB)
        await prodia.run(JOB)
    assert copied.kinds == own.kinds == ["queued", "sent", "completed"]
