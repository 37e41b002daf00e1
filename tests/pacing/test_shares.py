"""What a limit that moves tells of others, and what types do that take their slots from one capacity."""

from __future__ import annotations

import math
import random

import pytest
from pacing.bench import Bench, settle
from pacing.test_capacity import Middle, Type, tracking

from prodia_async._settings import Adaptive


def search(kind, slots):
    """Have a type search, with so many slots to be had in all."""
    kind.now += 1000.0
    while kind.want() == "grow":
        kind.send("grow")
        if kind.capacity.in_flight > slots:
            kind.shed()
            break
        kind.quiet()


def lose(kind, count):
    """Have others take slots of a type: refills are shed, and none of them is forgiven."""
    for _ in range(count):
        kind.end(admitted=False)
        kind.send("refill")
        kind.capacity._forgiveness = 0.0
        kind.shed()


def moved(slots=16, lost=4, **settings):
    """Return a type that had `slots`, lost some of them and began two searches since."""
    kind = tracking(slots, **settings)
    search(kind, slots)
    lose(kind, lost)
    search(kind, slots - lost)
    return kind


class TestMoving:
    def test_alone_it_does_not_move(self):
        kind = tracking(16)
        for _ in range(30):
            search(kind, 16)
            assert not kind.is_moving

    def test_a_limit_that_was_just_found_counts_as_one_that_moves(self):
        """Others may have begun at the same time."""
        kind = Type(initial=4)
        kind.refill(4)
        kind.send(kind.want())
        kind.shed()
        assert kind.is_moving
        kind.now += 20.0  # ten latencies, as they are guessed before there is one
        assert not kind.is_moving

    def test_a_single_slot_that_was_found_does_not(self):
        kind = Type(initial=1)
        kind.refill(1)
        kind.send(kind.want())
        kind.shed()
        assert not kind.is_moving

    @pytest.mark.parametrize("lost", [1, 4, 8])
    def test_a_limit_that_is_another_at_the_next_search_moves(self, lost):
        kind = moved(lost=lost)
        assert kind.is_moving

    def test_one_that_has_grown_moves(self):
        kind = tracking(16)
        search(kind, 20)
        search(kind, 20)
        assert kind.is_moving

    def test_slots_in_transit_are_no_movement(self):
        kind = tracking(128, latency=0.3)  # of 128 slots, 128 x 0.03 s / 0.3 s = 13 are in transit
        search(kind, 128)
        lose(kind, 8)
        search(kind, 120)
        assert not kind.is_moving

    @pytest.mark.parametrize(("latency", "seconds"), [(2.0, 20.0), (0.2, 10.0)])
    def test_it_ends_after_ten_latencies_or_ten_retry_afters(self, latency, seconds):
        kind = moved(latency=latency)
        kind.now += seconds - 0.2  # the search itself took a little of it
        assert kind.is_moving
        kind.now += 0.2
        assert not kind.is_moving

    def test_the_way_out_of_zero_is_a_rise(self):
        kind = tracking(2)
        lose(kind, 2)
        assert kind.state == "ZERO"
        kind.quiet()
        kind.refill(1)
        kind.quiet()
        search(kind, 2)
        assert kind.state == "TRACK"
        assert kind.is_moving

    @pytest.mark.parametrize(("slots", "factor"), [(1, 2.0), (4, 1.0), (16, 1.0), (64, 0.5)])
    def test_it_probes_sooner_then_and_no_later_for_being_small(self, slots, factor):
        kind = tracking(slots)
        kind.capacity._moves_until = math.inf
        kind.capacity._next_probe = 0.0
        kind.capacity.put_off(kind.now)
        assert kind.capacity._next_probe - kind.now == pytest.approx(2.0 * factor)


class Chosen(Middle):
    """Chance that always falls on leaving a slot."""

    def random(self):
        return 0.0


class TestLeaving:
    def test_while_it_moves_a_freed_slot_is_left_at_times(self):
        kind = moved(chance=Chosen())
        kind.succeed(latency=2.0)
        assert kind.want() is None
        assert kind.capacity.wake == pytest.approx(kind.now + 0.5 * 2.0)
        kind.now = kind.capacity.wake
        kind.refill(1)

    def test_one_at_a_time(self):
        kind = moved(chance=Chosen())
        kind.succeed(latency=2.0)
        kind.succeed(latency=2.0)
        kind.refill(1)
        assert kind.want() is None

    @pytest.mark.parametrize("slots", [4, 32])
    def test_the_more_often_the_more_slots_there_are(self, slots):
        kind = moved(2 * slots, slots, chance=random.Random(1))
        left = 0
        for _ in range(2000):
            kind.capacity._moves_until = math.inf
            kind.succeed(latency=2.0)
            left += len(kind.capacity.left)
            kind.capacity.left.clear()
            kind.refill(1)
        assert left == pytest.approx(2000 * slots / 64, rel=0.2)

    def test_who_has_just_lost_a_slot_leaves_an_eighth_for_twice_the_silence(self):
        kind = moved(32, 8)
        kind.end(admitted=False)
        kind.refill(1)
        kind.capacity._forgiveness = 0.0
        kind.shed()
        for _ in range(4):
            kind.succeed(latency=2.0)
        kind.refill(2)  # of 23, two are left
        assert kind.want() is None
        assert kind.capacity.wake == pytest.approx(kind.now + 2 * kind.capacity._silence.seconds)
        kind.now = kind.capacity.wake
        kind.refill(2)
        kind.succeed(latency=2.0)
        kind.refill(1)

    def test_who_has_gained_slots_leaves_none_unless_one_is_lost(self):
        kind = tracking(16, chance=Chosen())
        search(kind, 24)
        search(kind, 24)
        assert kind.is_moving
        kind.succeed(latency=2.0)
        kind.refill(1)
        lose(kind, 1)
        kind.succeed(latency=2.0)
        assert kind.want() is None

    def test_a_search_takes_back_what_is_left(self):
        kind = moved(chance=Chosen())
        kind.now = kind.capacity._next_probe - 0.1
        kind.succeed(latency=2.0)
        assert kind.want() is None
        assert kind.capacity.wake == kind.capacity._next_probe
        kind.now = kind.capacity.wake
        assert kind.want() == "refill"
        kind.send()
        assert kind.want() == "grow"

    def test_who_does_not_move_refills_at_once(self):
        kind = tracking(16, chance=Chosen())
        assert not kind.is_moving
        kind.succeed(latency=2.0)
        assert kind.want() == "refill"

    def test_a_cancelled_request_leaves_no_slot(self):
        kind = moved(chance=Chosen())
        kind.end(admitted=False)
        assert kind.want() == "refill"

    def test_a_slot_that_was_left_is_not_lost_by_a_cut(self):
        kind = moved(chance=Chosen())
        late = kind.send("refill")
        kind.succeed(latency=2.0)
        kind.capacity._forgiveness = 0.0
        kind.shed(late, after=0.01)
        assert (kind.capacity.in_flight, kind.limit) == (11, 12)

    def test_after_its_time_it_is(self):
        kind = moved(chance=Chosen())
        late = kind.send("refill")
        kind.succeed(latency=2.0)
        kind.capacity._forgiveness = 0.0
        kind.shed(late, after=1.1)
        assert (kind.capacity.in_flight, kind.limit) == (11, 11)


def pair(latency=2.0, **settings):
    """Return two types of one client that track what they found."""
    peers = []
    types = [Type(initial=8, peers=peers, **settings) for _ in range(2)]
    for kind in types:
        kind.refill(8)
        kind.capacity.latency = latency
        kind.send(kind.want())
        kind.shed()
        kind.now = 1000.0
    return types


def take(taker, loser):
    """Have one type's search take a slot of the other."""
    taker.now = loser.now = max(taker.now, loser.now) + 1000.0
    assert taker.want() == "grow"
    taker.send("grow")
    lose(loser, 1)
    taker.now = loser.now


class TestSharing:
    def test_a_slot_lost_to_a_type_that_grows_tells_that_they_share(self):
        a, b = pair()
        take(a, b)
        assert a.capacity in b.capacity.shares
        assert b.capacity in a.capacity.shares

    def test_also_when_its_round_was_just_admitted(self):
        a, b = pair()
        a.now = b.now = 3000.0
        a.send(a.want())
        a.quiet()
        a.want()
        b.now = a.now
        lose(b, 1)
        assert a.capacity in b.capacity.shares

    def test_a_slot_lost_to_nobody_here_counts_against_it(self):
        a, b = pair()
        take(a, b)
        take(a, b)
        a.quiet()
        a.want()
        for shares in (True, False):
            b.now += 1000.0
            lose(b, 1)
            assert (a.capacity in b.capacity.shares) == (b.capacity in a.capacity.shares) == shares

    def test_three_are_as_sure_as_ten(self):
        a, b = pair()
        for _ in range(5):
            take(a, b)
            a.quiet()
            a.want()
        assert b.capacity.shares[a.capacity] == 3

    @pytest.mark.parametrize("why", ["probe", "own gain", "forgiven", "zero", "first 429"])
    def test_other_sheds_tell_nothing_of_it(self, why):
        a, b = pair()
        a.now = b.now = 5000.0
        if why == "first 429":
            b = Type(initial=8, peers=a.capacity._peers, now=5000.0)
            b.refill(8)
        if why == "zero":
            while b.sendings:
                lose(b, 1)
            b.capacity.shares.clear(), a.capacity.shares.clear()
            b.now = a.now = 6000.0
            b.refill(1)
            b.want()
        if why in {"probe", "own gain"}:
            b.send(b.want())
        if why == "own gain":
            b.quiet()
            b.want()
            a.now = b.now
        a.send(a.want())
        if why != "forgiven":
            b.capacity._forgiveness = 0.0
        b.shed(b.sendings[0] if why == "own gain" else None)
        assert not a.capacity.shares
        assert not b.capacity.shares

    def test_one_search_is_for_all(self):
        a, b = pair()
        take(a, b)
        a.shed()
        b.now = a.now
        assert b.want() is None
        assert b.capacity._next_probe - b.now == pytest.approx(4 * 2.0 / math.sqrt(7))

    def test_a_type_that_shares_does_not_count_as_moving(self):
        a, b = pair()
        b.capacity._moves_until = math.inf
        assert b.is_moving
        take(a, b)
        assert not b.is_moving

    def test_who_comes_to_zero_or_is_forgotten_shares_no_more(self):
        for end in ("zero", "forgotten"):
            a, b = pair()
            take(a, b)
            if end == "forgotten":
                b.capacity.share_no_more()
            else:
                while b.state != "ZERO":
                    lose(b, 1)
            assert not a.capacity.shares
            assert not b.capacity.shares


class TestHandingOver:
    async def sharing(self, a, b, waiting_a=0, waiting_b=3):
        """Return a bench with so many jobs of two types in flight, which share, and others in line."""
        bench = Bench(settings=Adaptive(initial=1))
        jobs = {"a": [], "b": []}
        for key, count, waiting in (("a", a, waiting_a), ("b", b, waiting_b)):
            line = bench.limiter.join(key)
            line.capacity.limit, line.capacity._never_shed = count, False
            line.capacity._next_probe = math.inf
            for _ in range(count):
                jobs[key].append(bench.join(key))
                assert jobs[key][-1].take()
            bench.waiting = [bench.wait(f"{key}{n}", key) for n in range(waiting)]
        first, second = (line.capacity for line in bench.limiter.lines.values())
        first.shares[second] = second.shares[first] = 1
        await settle()
        assert bench.served == []
        return bench, jobs["a"]

    def limits(self, bench):
        return tuple(each.limit for each in bench.limiter.stats().values())

    async def test_a_type_with_nothing_to_send_leaves_its_slots(self):
        bench, jobs = await self.sharing(4, 2)
        for job in jobs:
            job.success()
        await settle()
        assert bench.served == ["b0", "b1", "b2"]
        assert self.limits(bench) == (1, 5)

    async def test_a_larger_one_leaves_them_until_both_are_alike(self):
        bench, jobs = await self.sharing(5, 2, waiting_a=9, waiting_b=9)
        for job in jobs:
            job.success()
            await settle()
        assert self.limits(bench) == (4, 3)
        assert bench.limiter.in_use == 7

    async def test_a_slot_that_was_lost_by_a_cancellation_is_not_handed_over(self):
        bench, jobs = await self.sharing(4, 2)
        jobs[0].ignore()
        await settle()
        assert self.limits(bench) == (4, 2)

    async def test_any_other_type_may_search_at_once(self):
        bench, jobs = await self.sharing(4, 2)
        for line in bench.limiter.lines.values():
            line.capacity.shares.clear()
        jobs[0].success()
        await settle()
        assert bench.served == ["b0"]
        assert self.limits(bench) == (4, 3)
        assert bench.limiter.stats()["b"].state == "PROBE"

    async def test_not_while_jobs_of_its_own_wait(self):
        bench, jobs = await self.sharing(4, 2, waiting_a=1)
        for line in bench.limiter.lines.values():
            line.capacity.shares.clear()
        jobs[0].success()
        await settle()
        assert bench.served == ["a0"]
        assert self.limits(bench) == (4, 2)


class TestOffers:
    def test_after_one_that_was_in_vain_it_takes_none_for_longer_and_longer(self):
        kind = tracking(8)
        waits = []
        for _ in range(9):
            kind.now += 1000.0
            kind.capacity._next_probe = math.inf
            kind.capacity.offer(kind.now)
            kind.send(kind.want())
            kind.shed()
            waits.append(kind.capacity._muted_until - kind.now)
            kind.capacity._next_probe = math.inf
            kind.now = kind.capacity._muted_until - 0.1
            kind.capacity.offer(kind.now)
            assert kind.want() is None
        assert waits == pytest.approx([2, 4, 8, 16, 32, 64, 128, 128, 128])

    def test_one_that_was_admitted_ends_that(self):
        kind = tracking(8)
        for _ in range(2):
            kind.capacity._next_probe = math.inf
            kind.now += 1000.0
            kind.capacity.offer(kind.now)
            kind.send(kind.want())
            if kind.capacity._vain:
                kind.quiet()
                kind.want()
            else:
                kind.shed()
        assert (kind.capacity._vain, kind.limit) == (0, 9)

    def test_a_search_that_was_due_is_none(self):
        kind = tracking(8)
        kind.now += 1000.0
        kind.capacity.offer(kind.now)
        kind.send(kind.want())
        kind.shed()
        assert kind.capacity._vain == 0


class TestTold:
    async def test_who_is_told_of_it(self):
        bench, _ = await TestHandingOver().sharing(4, 2)
        stats = bench.limiter.stats()
        assert (stats["a"].shares, stats["b"].shares) == (("b",), ("a",))
        assert not stats["a"].moving
