"""The limiter's promises, in hundreds of random worlds, and in one that stays as it is."""

from __future__ import annotations

import random

import pytest
from pacing.bench import join
from pacing.world import Clock, World

from prodia_async._pacing.limiter import Limiter
from prodia_async._settings import Adaptive, Fixed

WORLDS = 240
BLOCKS = 12
SETTLED = 60.0  # seconds: until then a limit that was just found counts as one that moves


def settings_of(seed, fixed):
    chance = random.Random(-seed)
    most = chance.choice([1, 2, 3, 8, 24])
    if fixed:
        return Fixed(most)
    return Adaptive(
        max_concurrency=most,
        initial=chance.choice([1, 4, 16]),
        probing=chance.choice(["eager", "normal", "frugal"]),
    )


def run(seed, fixed):
    world = World(seed, settings_of(seed, fixed))
    world.run()
    world.watch_end()
    return world


@pytest.mark.parametrize("block", range(BLOCKS))
def test_the_promises_hold_in_random_worlds(block):
    worlds = [run(seed, fixed=False) for seed in range(block, WORLDS, BLOCKS)]
    assert sum(world.sheds for world in worlds) > 100
    assert sum(sum(world.forgiven.values()) for world in worlds) > 3
    assert any(world.left for world in worlds)
    assert any(world.shared for world in worlds)
    assert all(world.successes for world in worlds)


@pytest.mark.parametrize("block", range(BLOCKS // 3))
def test_they_hold_for_a_fixed_limit(block):
    worlds = [run(seed, fixed=True) for seed in range(block, WORLDS // 3, BLOCKS // 3)]
    assert sum(world.sheds for world in worlds) > 100


@pytest.mark.parametrize("fixed", [False, True])
def test_a_slot_that_is_taken_at_once_is_the_one_that_the_line_would_have_given(fixed):
    """The same worlds twice, once without `take`: every send comes at the same time, for the same job."""
    for seed in range(WORLDS // 8):
        worlds = [World(seed, settings_of(seed, fixed), takes=takes) for takes in (False, True)]
        for world in worlds:
            world.run()
        assert worlds[0].sent == worlds[1].sent, seed


@pytest.mark.parametrize("rooms", [(8, 8), (32, 8), (16, 64)])
def test_types_with_services_of_their_own_share_nothing(rooms):
    first = Steady(rooms[0], jobs=30 * rooms[0], seed=1)
    second = Steady(rooms[1], jobs=30 * rooms[1], seed=2, beside=first)
    shared = False
    while first.left + second.left:
        first.clock.step()
        shared = shared or any(each.shares for each in first.limiter.stats().values())
    assert not shared


@pytest.mark.parametrize("seed", range(3))
def test_clients_that_know_nothing_of_each_other_come_to_share_where_all_jobs_take_the_same_time(seed):
    first = Steady(16, jobs=4000, seed=seed, equal=0.2)
    second = Steady(16, jobs=0, seed=-seed - 1, equal=0.2, rival=first)
    first.clock.call_later(0.5, lambda: second.add(4000))
    counts = []
    for until in (20.0, 60.0):
        while first.clock.now < until:
            first.clock.step()
        counts.append((first.left, second.left))
    done = [before - after for before, after in zip(*counts, strict=True)]
    assert sum(done) > 0.94 * 40.0 / 0.2 * 16
    assert min(done) > max(done) / 2


class Handover:
    """What is told of a slot where a program has a future."""

    def __init__(self, callback):
        self.callback = callback
        self.is_done = False

    def done(self):
        return self.is_done

    def set_result(self, _):
        self.is_done = True
        self.callback()


class Steady:
    """One client beside a service whose room stays as it is: jobs of about 2 s, or of `equal` seconds."""

    def __init__(self, room, jobs, seed, beside=None, *, equal=None, rival=None):
        self.clock, self.chance = Clock(), random.Random(seed)
        self.limiter = Limiter(Adaptive(), self.clock, random.Random(seed))
        if beside is not None:  # another type of the same client, which has a service of its own
            self.clock, self.limiter = beside.clock, beside.limiter
        if rival is not None:  # another client of the same service
            self.clock = rival.clock
            self.limiter = Limiter(Adaptive(), self.clock, random.Random(seed))
        self.service = self if rival is None else rival
        self.key = "a" if beside is None else "b"
        self.equal, self.way = equal, 0.015 if equal is None else 0.001
        self.room, self.busy, self.left = room, 0, jobs
        self.sheds, self.limits = [], []
        self.moved = False
        self.add(jobs)

    def add(self, jobs):
        self.left = jobs
        for _ in range(jobs):
            self.wait(join(self.limiter, self.key))

    def wait(self, turn):
        if turn.take():
            self.send(turn)
        else:
            turn.ask(Handover(lambda: self.send(turn)))

    def send(self, turn):
        turn.body_sent()
        self.clock.call_later(self.way, lambda: self.arrive(turn))

    def arrive(self, turn):
        if self.service.busy >= self.room:
            self.clock.call_later(self.way, lambda: self.shed(turn))
            return
        self.service.busy += 1
        seconds = self.equal or 2.0 * self.chance.lognormvariate(-0.125, 0.5)
        self.clock.call_later(seconds, self.free)
        self.clock.call_later(seconds + self.way, lambda: self.done(turn))

    def shed(self, turn):
        self.sheds.append(self.clock.now)
        turn.shed(1.0)
        self.wait(turn)

    def free(self):
        self.service.busy -= 1

    def done(self, turn):
        self.left -= 1
        turn.headers()
        turn.success()
        turn.leave()

    def run(self, until):
        """Go on while more jobs than `until` are left; note the limit at each step after the slow start."""
        while self.left > until:
            self.clock.step()
            if self.sheds and self.clock.now > self.sheds[0] + 2.0:
                now = self.limiter.stats()["a"]
                self.limits.append(now.limit)
                is_settled = self.clock.now > self.sheds[0] + SETTLED
                self.moved = self.moved or now.shares or (now.moving and is_settled)


@pytest.mark.parametrize("room", [1, 8, 32, 100])
def test_beside_a_service_that_does_not_change_the_limit_stays_at_its_room(room):
    steady = Steady(room, jobs=40 * room, seed=room)
    steady.run(until=2 * room)
    assert room < 4 or not steady.moved
    assert room <= min(steady.limits)
    assert max(steady.limits) <= room + 4
    assert steady.limits.count(room) > len(steady.limits) / 2
    interval = 0.75 * max(0.25, 4 * 1.7 / room**0.5)
    later = [shed for shed in steady.sheds if shed > steady.sheds[0] + 2.0]
    in_transit = room // 25  # slots that are free on the service while the news is on its way
    for shed in later:
        assert sum(shed <= other < shed + interval for other in later) <= 4 + in_transit
    assert len(later) <= (0.09 + 0.4 / room) * 40 * room
