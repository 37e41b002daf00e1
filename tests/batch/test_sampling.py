from __future__ import annotations

from itertools import pairwise

from support.fake_clock import START, FakeClock

from prodia_async.batch._journal import Sample
from prodia_async.batch._report import Progress
from prodia_async.batch._sampling import Sampler


def sample(at: float, requests: int) -> Sample:
    return Sample(START + at, done=0, failed=0, in_flight=0, limit=0, shed=0, requests=requests, dollars=None)


async def test_samples_begin_just_before_the_first_request():
    clock, kept, requests = FakeClock(), [], 0
    async with Sampler(clock, lambda: Progress(requests=requests), kept.append):
        clock.advance(2.5)
        requests = 3
        clock.advance(1.5)
    assert kept == [sample(2, 0), sample(3, 3), sample(4, 3), sample(4, 3)]


async def test_a_run_that_sends_nothing_leaves_no_samples():
    clock, kept = FakeClock(), []
    async with Sampler(clock, Progress, kept.append):
        clock.advance(10)
    assert kept == []


async def test_samples_grow_apart_with_the_length_of_the_run():
    clock, kept = FakeClock(), []
    async with Sampler(clock, lambda: Progress(requests=1), kept.append):
        clock.advance(10_000)
    gaps = [after.at - before.at for before, after in pairwise(kept)]
    assert gaps[0] == 1
    assert 8 < gaps[-2] < 11
    assert clock.next_due is None
