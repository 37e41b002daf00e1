"""429: not run, not billed, sent again when the service says so, bounded by time and never by a count."""

from __future__ import annotations

from email.utils import formatdate

import pytest
from support.expect import JOB, assert_told, failure
from support.fake_clock import FakeClock
from support.leaks import client
from support.replies import DONE, PNG, Reply, shed
from support.servers import answer, serving

from prodia_async import Adaptive, CapacityError, Fixed, ProdiaTimeoutError, Retry

pytestmark = pytest.mark.usefixtures("nothing_left")


@pytest.fixture
def clock():
    return FakeClock()


def jumping(clock, prodia):
    return clock.jumping(lambda: prodia.stats().in_flight == 0)


async def gap(clock, retry_after, limiter=None):
    """Return how long a job waits between a 429 with this Retry-After and its next attempt."""
    script = answer(shed(retry_after)), answer(DONE)
    async with (
        serving(*script, now=clock.monotonic) as server,
        client(server.base_url, clock=clock, limiter=limiter) as prodia,
        jumping(clock, prodia),
    ):
        result = await prodia.run(JOB)
        first, second = server.requests
        assert [attempt.verdict for attempt in result.attempts] == ["shed", "done"]
        assert result.attempts[0].may_have_run is False
        assert result.attempts[1].waited == pytest.approx(second.at - first.at)
        assert (prodia.stats().shed, prodia.stats().requests, prodia.stats().completed) == (1, 2, 1)
        return second.at - first.at


@pytest.mark.parametrize(
    ("limiter", "spread"), [(Fixed(8), 1.1), (Adaptive(), 1.2)], ids=["fixed", "adaptive"]
)
@pytest.mark.parametrize(
    ("retry_after", "told"),
    [
        ("60", 60.0),
        ("0.25", 0.25),
        ("0", 0.0),
        (None, 1.0),
        ("", 1.0),
        ("-5", 1.0),
        ("nan", 1.0),
        ("inf", 1.0),
        ("soon", 1.0),
    ],
)
async def test_never_sent_before_the_service_said_and_soon_after(clock, retry_after, told, limiter, spread):
    """A limiter that learns spreads its only request a little more: nothing else is in flight here."""
    waited = await gap(clock, retry_after, limiter)
    assert told <= waited <= told * spread


async def test_a_date_is_waited_for(clock):
    waited = await gap(clock, formatdate(clock.wall() + 90, usegmt=True))
    assert 90 <= waited <= 108


async def test_a_date_that_has_passed_counts_as_a_missing_header(clock):
    assert 1.0 <= await gap(clock, formatdate(clock.wall() - 90, usegmt=True)) < 1.5


async def test_the_wait_is_kept_on_the_real_clock_too():
    async with serving(answer(shed(0.05)), answer(DONE)) as server, client(server.base_url) as prodia:
        await prodia.run(JOB)
        first, second = server.requests
        assert second.at - first.at >= 0.05


async def test_sheds_are_not_counted_as_errors(clock):
    script = [answer(shed(30))] * 40 + [answer(DONE)]
    async with (
        serving(*script) as server,
        client(server.base_url, clock=clock, retry=Retry(max_errors=0)) as prodia,
        jumping(clock, prodia),
    ):
        result = await prodia.run(JOB)
        assert len(server.requests) == 41
    assert [attempt.verdict for attempt in result.attempts] == ["shed"] * 40 + ["done"]
    assert {attempt.retry_after for attempt in result.attempts[:-1]} == {30.0}
    assert result.outputs[0].data == PNG


async def test_a_retry_after_above_the_cap_ends_the_job():
    async with serving(answer(shed(121))) as server, client(server.base_url) as prodia:
        error = await failure(CapacityError, prodia)
        assert len(server.requests) == 1
    assert_told(error, ["shed"], may_have_run=False, status=429, says="no idle capacity")
    assert (error.retry_after, error.status) == (121.0, 429)


async def test_a_huge_retry_after_ends_the_job():
    async with serving(answer(shed("1e300"))) as server, client(server.base_url) as prodia:
        assert (await failure(CapacityError, prodia)).retry_after == 1e300
        assert len(server.requests) == 1


async def test_patience_ends_the_job(clock):
    async with (
        serving(answer(shed(10)), now=clock.monotonic) as server,
        client(server.base_url, clock=clock, retry=Retry(patience=35)) as prodia,
        jumping(clock, prodia),
    ):
        error = await failure(CapacityError, prodia)
        seen = len(server.requests)
        assert server.requests[-1].at - server.requests[0].at <= 35
    # 3 waits of 10 to 11 s fit into 35 s; the fourth does not.
    assert seen == 4
    assert_told(error, ["shed"] * 4, may_have_run=False, status=429)
    assert error.retry_after == 10.0


async def test_patience_runs_from_the_first_shed_not_in_our_own_line(clock):
    """The second job waits in our line for 60 s, far longer than its patience, and is then served."""
    script = answer(shed(60)), answer(DONE), answer(DONE)
    retry = Retry(patience=70)
    async with (
        serving(*script) as server,
        client(server.base_url, clock=clock, retry=retry, limiter=Fixed(1)) as prodia,
        prodia.as_completed([JOB, JOB]) as outcomes,
        jumping(clock, prodia),
    ):
        results = [outcome.result async for outcome in outcomes]
        assert len(server.requests) == 3
    assert sorted(len(result.attempts) for result in results) == [1, 2]
    assert max(result.attempts[0].waited for result in results) >= 60


async def test_no_patience_gives_up_at_the_first_shed():
    retry = Retry(patience=0)
    async with serving(answer(shed(1))) as server, client(server.base_url, retry=retry) as prodia:
        await failure(CapacityError, prodia)
        assert len(server.requests) == 1


async def test_a_timeout_ends_the_wait_for_capacity(clock):
    async with (
        serving(answer(shed(60))) as server,
        client(server.base_url, clock=clock) as prodia,
        jumping(clock, prodia),
    ):
        error = await failure(ProdiaTimeoutError, prodia, timeout=45)
        assert len(server.requests) == 1
        assert clock.monotonic() == 45
    assert [attempt.verdict for attempt in error.attempts] == ["shed"]
    assert error.may_have_run is False
    assert isinstance(error, TimeoutError)
    assert "timeout=45 s" in str(error)


async def test_a_shed_job_rests_in_its_slot(clock):
    """With one slot, another job is not sent while the first waits for its Retry-After."""
    script = answer(shed(60)), answer(DONE)
    async with (
        serving(*script, now=clock.monotonic) as server,
        client(server.base_url, clock=clock, limiter=Fixed(1)) as prodia,
        prodia.as_completed([JOB] * 5) as outcomes,
        jumping(clock, prodia),
    ):
        assert all([outcome.error is None async for outcome in outcomes])
        times = [request.at for request in server.requests]
    assert times[0] == 0
    assert all(time >= 60 for time in times[1:])


@pytest.mark.parametrize(
    ("reply", "then"),
    [
        (Reply(429, b"", {"Retry-After": "0"}), "keep"),
        (Reply(429, b"<title>busy</title>", {"Retry-After": "0", "Content-Type": "text/html"}), "keep"),
        (Reply(429, b"cut", {"Retry-After": "0"}, framing="chunked", whole=False), "close"),
        (Reply(429, b"cut", {"Retry-After": "0"}, length=100), "close"),
    ],
    ids=["empty", "html", "chunked, cut short", "cut short"],
)
async def test_a_429_is_a_shed_whatever_its_body(reply, then):
    script = answer(reply, then=then), answer(DONE)
    async with serving(*script) as server, client(server.base_url) as prodia:
        result = await prodia.run(JOB)
        assert len(server.requests) == 2
    assert [attempt.verdict for attempt in result.attempts] == ["shed", "done"]
