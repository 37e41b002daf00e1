"""A service with asynchronous jobs, by script, and what asks it: on a clock that jumps over the waits."""

from __future__ import annotations

import contextlib
import itertools
import random
from functools import partial

import pytest
from support.fake_clock import FakeClock
from support.leaks import TOKEN
from support.replies import JOB_ID, PNG, Reply, in_json, job
from support.servers import answer, serving

from prodia_async import Job, Limits, Retry, Timeouts
from prodia_async._collecting import Collector, Places, UnansweredError
from prodia_async._files.outputs import MemorySink, Outputs
from prodia_async._http.bearer import Bearer
from prodia_async._http.exchange import Exchange
from prodia_async._http.session import AiohttpTransport
from prodia_async._http.watch import Watch
from prodia_async._pacing.clock import Deadlines
from prodia_async._pacing.retry import Waits
from prodia_async._settings import Options, Polling, Token

JOB = Job("inference.test.v1", {"prompt": "a cat"})
PROCESSED = Reply(body=b"processed")
PROCESSING = Reply(body=b"processing")
RESULT = in_json(200, job("processed"))
OUTPUTS = {"a.png": PNG, "b.bin": bytes(300_000), "message.txt": b"meow"}


def picture(content):
    return Reply(body=content, headers={"Content-Type": "image/png"})


def cut(content):
    """Answer with half of an output."""
    half = content[: len(content) // 2]
    return answer(Reply(body=half, length=len(content)), then="close")


class Unshortened(random.Random):
    """Chance that takes nothing away from a wait."""

    def uniform(self, a, b):
        return b


class Service:
    """Answers by what is asked for: with the next of its answers, and for ever with the last of them."""

    def __init__(self, now=lambda: 0.0, **answers):
        ready = {"state": [PROCESSED], "job": [RESULT], "output": [in_json(200, list(OUTPUTS))]}
        ready |= {name: [picture(content)] for name, content in OUTPUTS.items()}
        self.answers = {what: iter_last(given) for what, given in (ready | answers).items()}
        self.now = now
        self.asked = []
        self.now_open = {"state": 0, "output": 0}
        self.most_open = dict(self.now_open)

    async def __call__(self, connection, request):
        what = request.target.rpartition("/")[2].partition("?")[0]
        what = {"job.state.current": "state", "job.json": "job"}.get(what, what)
        self.asked.append((self.now(), what))
        step = next(self.answers[what])
        kind = "output" if what in OUTPUTS else "state"
        self.now_open[kind] += 1
        self.most_open[kind] = max(self.most_open[kind], self.now_open[kind])
        try:
            await (answer(step) if isinstance(step, Reply) else step)(connection, request)
        finally:
            self.now_open[kind] -= 1

    def times(self, what="state"):
        return [at for at, asked in self.asked if asked == what]

    def order(self):
        return [what for _, what in self.asked]


def iter_last(given):
    return itertools.chain(given, itertools.repeat(given[-1]))


class Counting(AiohttpTransport):
    """Knows how many answers are under way, so that a clock jumps only while nothing is."""

    busy = 0
    waits_for = ()

    @property
    def is_idle(self):
        return self.busy == len(self.waits_for)

    async def send(self, request, progress):
        if request.body is not None:
            return await super().send(request, progress)
        self.busy += 1
        try:
            reply = await super().send(request, progress)
        except BaseException:
            self.busy -= 1
            raise
        close = reply.aclose

        async def aclose():
            self.busy -= 1
            await close()

        reply.aclose = aclose
        return reply


class Sink(MemorySink):
    """Counts what becomes of it."""

    def __init__(self):
        super().__init__()
        self.discarded = 0

    async def discard(self):
        self.discarded += 1
        await super().discard()


class Failing(Sink):
    """Raises `at` one of its methods; it is its own writer."""

    def __init__(self, at):
        super().__init__()
        self._at = at

    async def open(self, info):
        self._fail("open")
        return self

    async def write(self, data):
        self._fail("write")

    async def close(self):
        self._fail("close")

    def _fail(self, where):
        if where == self._at:
            raise OSError(where)


class Sinks:
    """Makes `Outputs` each time it is called, and keeps the sinks."""

    def __init__(self, make=Sink, limits=None):
        self.made = []
        self._make = make
        self._limits = limits or Limits()

    def __call__(self):
        self.made.append(self._make())
        return Outputs(self.made[-1], self._limits)

    @property
    def discarded(self):
        return [sink.discarded for sink in self.made]


def options_of(base_url, token=TOKEN, **options):
    settings = {
        "headers": {},
        "retry": Retry(max_errors=2),
        "timeouts": Timeouts(idle=30),
        "polling": Polling(),
        "limits": Limits(),
    }
    redact = Token(token).redact
    return Options(url=f"{base_url}/v2/job", redact=redact, price=False, tell=None, **(settings | options))


class InTime:
    """Gives each call of a method a watch of its own, as each run has."""

    def __init__(self, exchange, make):
        self.transport = exchange.transport
        self._exchange = exchange
        self._deadlines = Deadlines(exchange.clock)
        self._make = make

    def __getattr__(self, name):
        async def call(job_id, *given, **facts):
            job, *given = given if given and isinstance(given[0], Job) else (JOB, *given)
            with Watch(self._deadlines, self._exchange.options.timeouts) as watch:
                collector = self._make(self._exchange, watch, job_id=job_id, job=job, **facts)
                return await getattr(collector, name)(*given)

        return call


class Once(Collector):
    """Takes every verdict for final."""

    def _waits(self, *, is_poll=False):
        return Impatient(
            self.exchange.options.polling, self.exchange.options.retry, self.chance, is_poll=is_poll
        )


class Impatient(Waits):
    def after_failure(self, verdict):
        return None


class ManyCollectors(InTime):
    """Collectors that share their places, as those of a client do."""

    def __init__(self, exchange, chance):
        self.places = Places()
        super().__init__(exchange, partial(Collector, places=self.places, chance=chance))


def bearer_of(token=TOKEN):
    return Bearer(Token(token), lambda _: None)


def collector_at(base_url, transport, clock, token=TOKEN, chance=None, **options):
    exchange = Exchange(transport, clock, options_of(base_url, token, **options), bearer_of(token))
    return ManyCollectors(exchange, chance or Unshortened())


@contextlib.asynccontextmanager
async def connected(token=TOKEN):
    transport = Counting(bearer_of(token), {"Accept-Encoding": "identity"}, keepalive=10.0)
    try:
        yield transport
    finally:
        await transport.aclose()


@contextlib.asynccontextmanager
async def collecting(service, clock=None, *, jumps=None, **options):
    """Run the service, and a collector on a clock that jumps to the next wait's end."""
    clock = clock or FakeClock()
    service.now = clock.monotonic
    async with serving(service) as server, connected() as transport, contextlib.AsyncExitStack() as stack:
        if isinstance(clock, FakeClock):
            await stack.enter_async_context(clock.jumping(jumps or (lambda: transport.is_idle)))
        yield collector_at(server.base_url, transport, clock, **options)


async def ended(service, sinks=None, **options):
    """Collect a job whose result is not to be had, and return the verdict."""
    sinks = Sinks() if sinks is None else sinks
    async with collecting(service, **options) as collector:
        verdict, received = await collector.collect("id-1", JOB, sinks, priced=False)
    assert received is None
    assert all(sinks.discarded)
    assert verdict.may_have_run
    return verdict


def stored(received):
    return {output.filename: output.data for output in received.outputs()}


LIMITS = Limits(max_job_part=2000, max_parts=3)
TIMEOUTS = Timeouts(connect=10, first_byte=600, idle=30)


def received(limits=LIMITS):
    return Outputs(MemorySink(), limits)


@contextlib.asynccontextmanager
async def asking(*script, clock=None, timeouts=TIMEOUTS, token=TOKEN):
    """Run a server that follows the script, and what asks it each question once."""
    async with serving(*script) as server, connected(token) as transport:
        options = options_of(server.base_url, token, headers={"x-own": "1"}, timeouts=timeouts, limits=LIMITS)
        exchange = Exchange(transport, clock or FakeClock(), options, bearer_of())
        yield InTime(exchange, partial(Once, places=Places(), chance=Unshortened())), server


async def unanswered(*script, what="state", **options):
    """Ask a server that follows the script, and return the verdict and whether an output had begun."""
    async with asking(*script, **options) as (remote, _):
        with pytest.raises(UnansweredError) as caught:
            await ask(remote, what)
    verdict = caught.value.verdict
    assert verdict.may_have_run
    assert TOKEN not in repr(verdict)
    return verdict, caught.value.begun


def ask(remote, what):
    return {
        "state": lambda: remote.state(JOB_ID),
        "names": lambda: remote.names(JOB_ID),
        "job": lambda: remote.verdict(JOB_ID, JOB, priced=False),
        "output": lambda: remote.output(JOB_ID, "a.png", received()),
    }[what]()
