"""Hundreds of jobs with every fate at once, for hours of a clock that jumps: the promises hold throughout."""

from __future__ import annotations

import asyncio
import random
from collections import Counter

import pytest
from pacing.bench import Bench, settle
from run.scripted import ScriptedRun

from prodia_async._models import Verdict
from prodia_async._pacing.line import Phase
from prodia_async._pacing.turn import LINGER
from prodia_async._settings import Retry

LIMIT, JOBS, TYPES = 6, 300, 5
FATES = {"done": 50, "shed": 35, "not_sent": 4, "server_error": 4, "unknown": 2, "failed": 1, "bug": 1}


class Soak:
    """The service: it watches what it is sent and when, and gives each attempt a fate by chance."""

    def __init__(self, seed):
        self.chance = random.Random(seed)
        self.bench = Bench(limit=LIMIT, seed=seed)
        self.occupied = set()
        self.not_before = {}
        self.turns = []
        self.attempts = []
        self.fates = Counter()
        self.most = 0

    @property
    def now(self):
        return self.bench.clock.monotonic()

    async def send(self, name, turn):
        self.turns.append(turn)
        self.occupied.add(name)
        self.most = max(self.most, len(self.occupied))
        assert self.now >= self.not_before.pop(name, 0.0), "sent before the service said"
        try:
            return await self.fate(name, turn)
        finally:
            self.occupied.discard(name)

    async def fate(self, name, turn):
        chance, clock = self.chance, self.bench.clock
        await clock.sleep(chance.uniform(0.0, 2.0))
        turn.body_sent()
        kind = chance.choices(list(FATES), list(FATES.values()))[0]
        self.fates[kind] += 1
        if kind == "bug":
            raise RuntimeError("a bug")
        if kind == "done":
            turn.headers()
            timer = clock.call_at(self.now + LINGER, lambda: self.occupied.discard(name))
            await clock.sleep(chance.choice([0.0, 0.5, 1.0, 20.0]))
            timer.cancel()
        if kind == "shed":
            told = chance.choice([None, 0.0, 0.5, 5.0, 60.0])
            self.not_before[name] = self.now + (1.0 if told is None else told)
            return Verdict("shed", may_have_run=False, status=429, retry_after=told)
        return Verdict(kind, may_have_run=kind != "not_sent")

    async def job(self, number):
        await self.bench.clock.sleep(self.chance.uniform(0.0, 120.0))
        retry = Retry(max_errors=2, resend_unknown=1, backoff=2.0)
        name = f"type{number % TYPES}", number
        run = ScriptedRun(
            self.bench,
            lambda turn: self.send(name, turn),
            line=name[0],
            priority=number % 3,
            retry=retry,
            chance=self.chance,
        )
        self.attempts.append(run.record.attempts)
        return (await run.verdict()).kind

    async def run(self):
        clock = self.bench.clock
        jobs = [asyncio.ensure_future(self.job(number)) for number in range(JOBS)]
        for task in self.chance.sample(jobs, JOBS // 5):
            clock.call_at(self.chance.uniform(0.0, 400.0), task.cancel)
        while not all(task.done() for task in jobs):
            await settle()
            in_flight, resting, _, lingering = self.bench.counts
            assert in_flight + resting <= LIMIT
            assert lingering <= LIMIT
            if clock.next_due is None:
                break
            clock.advance(max(0.0, clock.next_due - self.now))
        assert all(task.done() for task in jobs), "somebody waits for ever"
        return jobs


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_the_promises_hold(seed):
    soak = Soak(seed)
    jobs = await soak.run()

    assert soak.most == LIMIT
    assert soak.bench.counts == (0, 0, 0, 0)
    assert all(turn.phase is Phase.IDLE for turn in soak.turns)
    assert all(line.turns == 0 for line in soak.bench.limiter.lines.values())
    assert soak.bench.clock.next_due is None

    ends = Counter("cancelled" if task.cancelled() else "bug" if task.exception() else "" for task in jobs)
    assert ends["cancelled"] >= JOBS // 20
    assert ends[""] > JOBS // 2
    assert set(soak.fates) == set(FATES)
    assert soak.fates["shed"] > JOBS // 4
    assert len(soak.turns) == sum(len(each) for each in soak.attempts)
