"""The arithmetic of what the service has room for, rule by rule, without a loop, a queue or a real clock."""

from __future__ import annotations

import dataclasses
import math
import random

import pytest

from prodia_async._errors import InputError
from prodia_async._pacing.capacity import Capacity, Round
from prodia_async._settings import Adaptive

PLENTY = 1_000_000


class Middle(random.Random):
    """Chance that always falls in the middle."""

    def uniform(self, a, b):
        return (a + b) / 2

    def random(self):
        return 0.5


@dataclasses.dataclass(eq=False)
class Sending:
    """A request in flight: when it was sent, and the round whose verdict waits for its body."""

    at: float
    round: Round | None
    body_sent_at: float | None = None


class Type:
    """A job type: its capacity, a clock that a test moves, and the requests in flight."""

    def __init__(self, most=1000, learned=None, chance=None, peers=None, now=0.0, **settings):
        told = Adaptive(**settings)
        limit = told.initial if learned is None else learned
        peers = [] if peers is None else peers
        how = {"initial": told.initial, "probing": told.probing}
        self.capacity = Capacity(limit, most, chance or Middle(), peers, **how)
        self.why = []
        self.capacity.tell = self.why.append
        self.now = now
        self.sendings = []

    @property
    def limit(self):
        return self.capacity.limit

    @property
    def state(self):
        return self.capacity.state

    @property
    def is_moving(self):
        return self.capacity.is_moving(self.now)

    def want(self, backlog=PLENTY):
        return self.capacity.want(self.now, backlog)

    def send(self, want="refill", *, body_sent=True):
        sending = Sending(self.now, self.capacity.send(want, self.now))
        self.sendings.append(sending)
        if body_sent:
            self.body_sent(sending)
        return sending

    def body_sent(self, sending):
        sending.body_sent_at = self.now
        if sending.round is not None:
            sending.round.body_sent(self.now)
            sending.round = None

    def refill(self, count):
        for _ in range(count):
            assert self.want() == "refill"
            self.send()

    def pump(self, backlog=PLENTY, *, body_sent=True):
        """Send all that may be sent now; return how many."""
        sent = 0
        while sent < backlog and (want := self.want(backlog - sent)) is not None:
            self.send(want, body_sent=body_sent)
            sent += 1
        return sent

    def shed(self, sending=None, retry_after=1.0, after=0.03):
        self.now += after
        sending = sending or self.sendings[-1]
        self.sendings.remove(sending)
        told_after = None if sending.body_sent_at is None else self.now - sending.body_sent_at
        self.capacity.shed(sending.round, told_after, retry_after, self.now)

    def succeed(self, after=0.0, latency=None):
        self.now += after
        sending = self.sendings.pop(0)
        self.capacity.answered(self.now - sending.at if latency is None else latency)
        self.capacity.ended(sending.round, self.now, admitted=True, completed=True)

    def end(self, sending=None, *, admitted=True, completed=False):
        sending = self.sendings.pop(0) if sending is None else self.sendings.pop(self.sendings.index(sending))
        self.capacity.ended(sending.round, self.now, admitted=admitted, completed=completed)

    def quiet(self):
        """Move on to when the capacity asked to look again."""
        self.want()
        assert self.now < self.capacity.wake < math.inf
        self.now = self.capacity.wake

    def patience(self):
        """Return how long silence must last: by sending a round and asking when it is judged."""
        self.want()
        self.now = max(self.now, self.capacity._next_probe)
        self.pump()
        assert self.capacity.round is not None
        self.want()
        return self.capacity.wake - self.now


def tracking(count, latency=2.0, most=1000, **settings):
    """Return a type that found `count` slots: it runs as many and was shed once more than that."""
    kind = Type(most, initial=count, **settings)
    kind.refill(count)
    kind.capacity.latency = latency
    kind.send(kind.want())
    kind.shed()
    assert (kind.limit, len(kind.sendings), kind.state) == (count, count, "TRACK")
    kind.capacity._moves_until = -math.inf  # that was long ago
    return kind


class TestSettings:
    def test_defaults(self):
        assert Adaptive() == Adaptive(max_concurrency=256, initial=4, probing="normal", max_waiting=10_000)

    @pytest.mark.parametrize(
        "wrong", [{"max_concurrency": 0}, {"initial": 0}, {"probing": "wild"}, {"max_waiting": -1}]
    )
    def test_it_refuses_what_cannot_work(self, wrong):
        with pytest.raises(InputError, match=f"Adaptive.{next(iter(wrong))} cannot be"):
            Adaptive(**wrong)


class TestFixed:
    def test_it_counts_and_wants_always(self):
        capacity = Capacity(5, 5, Middle(), [], fixed=True)
        assert [capacity.send("refill", 0.0) for _ in range(4)] == [None] * 4
        assert capacity.want(0.0, 1) == "refill"
        assert (capacity.in_flight, capacity.limit, capacity.state) == (4, 5, "FIXED")
        capacity.ended(None, 1.0, admitted=True, completed=True)
        capacity.ended(None, 1.0, admitted=True, completed=False)
        capacity.ended(None, 1.0, admitted=False, completed=False)
        capacity.shed(None, 0.03, 1.0, 1.0)
        assert (capacity.in_flight, capacity.limit, capacity.wake) == (0, 5, math.inf)
        assert (capacity.state, capacity.hold_until) == ("FIXED", -math.inf)


class TestSlowStart:
    def test_rounds_double_after_each_silence(self):
        kind = Type()
        assert kind.state == "SLOW_START"
        limits = []
        for _ in range(4):
            kind.pump()
            limits.append(kind.limit)
            before = kind.now
            kind.quiet()
            assert kind.now - before == pytest.approx(0.2)
        assert limits == [8, 16, 32, 64]  # rounds of 4, 8, 16, 32
        assert kind.capacity.in_flight == 64

    def test_a_first_guess_that_was_learned_is_where_it_starts(self):
        kind = Type(learned=50)
        kind.refill(50)
        assert kind.want() == "grow"
        assert Type(most=20, learned=50).limit == 20

    def test_the_first_429_ends_it(self):
        kind = Type()
        kind.pump()
        kind.shed()
        assert (kind.state, kind.limit) == ("TRACK", 7)

    def test_the_next_round_doubles_what_was_really_sent(self):
        kind = Type()
        assert kind.pump(backlog=6) == 6
        assert kind.limit == 6
        kind.quiet()
        kind.pump()
        assert kind.limit == 6 + 4

    def test_a_round_that_is_not_full_takes_more_while_it_is_open(self):
        kind = Type()
        kind.refill(4)
        kind.send(kind.want())
        kind.now += 0.1
        assert kind.want() == "grow"
        kind.send("grow")
        assert kind.want() == "grow"
        assert kind.capacity.wake == pytest.approx(0.1 + 0.2)  # judged after its last send


class TestSilence:
    def test_a_body_on_its_way_is_not_silence(self):
        kind = Type()
        kind.pump(body_sent=False)
        kind.now = 100.0
        assert kind.want() is None
        for sending in kind.sendings:
            kind.body_sent(sending)
        assert kind.want() is None
        assert kind.capacity.wake == pytest.approx(100.2)
        kind.now = 100.2
        assert kind.want() == "grow"

    def test_one_that_ended_before_its_body_was_sent_is_not_waited_for(self):
        kind = Type()
        kind.pump(body_sent=False)
        for sending in kind.sendings[:-1]:
            kind.body_sent(sending)
        assert kind.want() is None
        kind.end(kind.sendings[-1], admitted=False)
        kind.now = 0.2
        assert kind.want() == "refill"
        assert kind.capacity.round is None

    def test_who_waits_for_a_verdict_of_silence_is_told(self):
        kind = Type()
        kind.refill(3)
        assert kind.send(body_sent=False).round is None
        assert kind.send("grow", body_sent=False).round is kind.capacity.round

    def test_patience_is_learned_from_how_long_a_429_takes(self):
        kind = tracking(16)
        assert kind.patience() == pytest.approx(0.03 + 4 * 0.015 + 0.01)
        for _ in range(40):
            kind.now += 10.0
            kind.pump()
            kind.shed()
        assert kind.patience() == pytest.approx(0.05)  # the least

    def test_patience_has_a_most(self):
        kind = tracking(16)
        kind.now += 10.0
        kind.pump()
        kind.shed(after=30.0)
        assert kind.patience() == pytest.approx(2.0)

    def test_a_429_before_the_body_was_sent_tells_nothing_of_the_round_trip(self):
        kind = Type(initial=8)
        kind.refill(8)
        kind.send("grow", body_sent=False)
        kind.shed(after=5.0)
        assert kind.limit == 8
        assert kind.patience() == pytest.approx(0.2)

    def test_a_429_that_comes_after_the_verdict_heals_it(self):
        kind = tracking(16)
        patience = kind.patience()
        kind.quiet()
        assert kind.pump() == 1
        assert kind.limit == 18
        late = kind.sendings[-2]
        kind.shed(late, after=0.09)
        assert kind.limit == kind.capacity.in_flight == 17
        assert kind.patience() > 1.5 * patience


class TestCut:
    def test_the_429s_of_a_round_cut_to_what_was_admitted(self):
        kind = Type()
        for _ in range(3):
            kind.pump()
            kind.quiet()
        kind.pump()
        assert kind.limit == 64
        limits = []
        for _ in range(24):
            kind.shed()
            limits.append(kind.limit)
        assert limits == [63, 63, *range(61, 39, -1)]  # the second is forgiven: the first ended the round
        assert kind.capacity.in_flight == 40

    def test_it_never_falls_below_one(self):
        kind = Type(initial=1)
        kind.refill(1)
        kind.shed()
        assert (kind.limit, kind.capacity.in_flight) == (1, 0)


class TestForgiveness:
    def shed_refill(self, kind):
        kind.shed()
        forgiven = kind.limit > kind.capacity.in_flight
        if forgiven:
            kind.refill(1)
        return forgiven

    def test_one_shed_refill_is_forgiven_then_one_for_two_successes(self):
        kind = Type(initial=10, most=10)
        kind.refill(10)
        assert [self.shed_refill(kind) for _ in range(3)] == [True, False, False]
        assert kind.limit == 8
        for earned in (1, 2):
            kind.succeed()
            kind.refill(1)
            assert self.shed_refill(kind) is (earned == 2)
        assert kind.limit == 7

    def test_it_does_not_pile_up(self):
        kind = Type(initial=10, most=10)
        kind.refill(10)
        for _ in range(20):
            kind.succeed()
            kind.refill(1)
        assert [self.shed_refill(kind) for _ in range(2)] == [True, False]

    def test_other_answers_earn_nothing_and_are_no_sample(self):
        kind = Type(initial=10, most=10)
        kind.refill(10)
        assert self.shed_refill(kind)
        for _ in range(4):
            kind.end()
            kind.refill(1)
        assert kind.capacity.latency is None
        assert not self.shed_refill(kind)

    def test_a_shed_probe_is_not_forgiven(self):
        kind = Type(initial=10)
        kind.refill(10)
        kind.send(kind.want())
        kind.succeed()
        kind.shed()
        assert kind.limit == kind.capacity.in_flight == 9

    def test_the_last_one_in_flight_is_not_forgiven(self):
        kind = Type(initial=10)
        kind.refill(1)
        kind.shed()
        assert (kind.limit, kind.state) == (1, "ZERO")


class TestProbes:
    @pytest.mark.parametrize(("probing", "factor"), [("eager", 2.0), ("normal", 4.0), ("frugal", 8.0)])
    @pytest.mark.parametrize("count", [1, 4, 16, 64])
    def test_the_interval_shrinks_with_the_root_of_what_is_in_flight(self, probing, factor, count):
        kind = tracking(count, probing=probing)
        assert kind.want() is None
        assert kind.capacity.wake - kind.now == pytest.approx(factor * 2.0 / math.sqrt(count))

    @pytest.mark.parametrize(("latency", "expected"), [(0.001, 0.25), (None, 4.0), (1000.0, 60.0)])
    def test_it_has_bounds_and_a_first_guess(self, latency, expected):
        kind = tracking(4, latency)
        kind.want()
        assert kind.capacity.wake - kind.now == pytest.approx(expected)

    def test_chance_moves_it_by_a_quarter(self):
        intervals = []
        for seed in range(200):
            kind = Type(initial=4, chance=random.Random(seed))
            kind.refill(4)
            kind.send(kind.want())
            kind.shed()
            kind.want()
            intervals.append(kind.capacity.wake - kind.now)
        assert 3.0 <= min(intervals) < 3.05
        assert 4.95 < max(intervals) <= 5.0

    def test_rounds_of_1_1_2_4_8(self):
        kind = tracking(16)
        kind.quiet()
        rounds = []
        for _ in range(6):
            assert kind.state != "SLOW_START"
            rounds.append(kind.pump())
            assert kind.state == "PROBE"
            kind.quiet()
        assert rounds == [1, 1, 2, 4, 8, 16]

    def test_a_shed_probe_starts_them_anew(self):
        kind = tracking(16)
        kind.quiet()
        for _ in range(4):
            kind.pump()
            kind.quiet()
        kind.pump()
        kind.shed()
        limit = kind.limit
        kind.quiet()
        assert [kind.pump(), kind.quiet(), kind.pump()] == [1, None, 1]
        assert kind.limit == limit + 2

    def test_a_shed_refill_leaves_the_probe_where_it_is(self):
        kind = tracking(16)
        kind.want()
        due = kind.capacity.wake
        kind.shed()  # forgiven
        assert kind.limit == 16
        kind.refill(1)
        kind.shed()
        assert kind.limit == 15
        kind.want()
        assert kind.capacity.wake == due

    def test_none_while_a_slot_frees_sooner_than_a_probe_could_return(self):
        kind = tracking(8)
        kind.quiet()
        assert kind.want(backlog=3) is None  # 3 x 2 s < 1 s x 8
        assert kind.capacity.wake == math.inf
        assert kind.want(backlog=4) == "grow"

    def test_that_rule_needs_a_429_and_a_latency(self):
        fresh = Type(initial=8)
        fresh.refill(8)
        fresh.capacity.latency = 0.01
        assert fresh.want(backlog=1) == "grow"
        unknown = tracking(8, latency=None)
        unknown.quiet()
        assert unknown.want(backlog=1) == "grow"

    def test_the_limit_never_passes_the_most(self):
        kind = Type(most=10)
        assert kind.pump() == 8
        kind.quiet()
        assert kind.pump() == 2
        assert kind.limit == 10
        kind.now += 1000.0
        assert kind.want() is None
        kind.succeed()
        assert kind.want() == "refill"

    def test_latency_is_smoothed(self):
        kind = Type()
        kind.refill(2)
        kind.succeed(after=1.0)
        assert kind.capacity.latency == 1.0
        kind.succeed(after=1.0)
        assert kind.capacity.latency == pytest.approx(1.1)


class TestZero:
    def at_zero(self, **shed):
        kind = Type(initial=1)
        kind.refill(1)
        kind.shed(**shed)
        assert kind.state == "ZERO"
        return kind

    def test_the_next_request_waits_for_retry_after(self):
        kind = self.at_zero()
        assert kind.want() is None
        assert kind.capacity.wake == pytest.approx(kind.now + 1.0 * 1.1)

    def test_a_retry_after_far_above_the_usual_does_not_count_whole(self):
        kind = self.at_zero(retry_after=100.0)
        kind.want()
        usual = 1.0 + 0.1 * 99.0
        assert kind.capacity.wake - kind.now == pytest.approx(1.5 * usual * 1.1)

    def test_one_request_at_a_time(self):
        kind = self.at_zero()
        kind.quiet()
        assert kind.pump(body_sent=False) == 1
        kind.now += 1000.0
        assert kind.want() is None  # its body is still on its way

    def test_the_wait_grows_with_the_time_at_zero(self):
        kind = self.at_zero()
        since = kind.now
        waits = []
        while kind.now < 1000.0:
            before = kind.now
            kind.quiet()
            waits.append((before - since, kind.now - before))
            kind.refill(1)
            kind.shed()
        for spent, wait in waits:
            assert wait == pytest.approx(1.1 * max(1.0, min(5.0, spent / 16)))
        assert max(spent for spent, _ in waits) > 16 * 5

    def test_without_retry_after_it_slows_down_all_the_same(self):
        kind = self.at_zero(retry_after=0.0)
        sends = 0
        while kind.now < 600.0:
            kind.want()
            kind.now = max(kind.now, kind.capacity.hold_until)
            kind.refill(1)
            kind.shed(retry_after=0.0)
            sends += 1
        assert sends < 180

    @pytest.mark.parametrize("end", ["silence", "success", "answered"])
    def test_an_admission_ends_it_and_growth_starts_at_one(self, end):
        kind = self.at_zero()
        kind.quiet()
        kind.refill(1)
        if end == "silence":
            kind.quiet()
        else:
            kind.end(completed=end == "success")
            kind.refill(1)
        rounds = []
        for _ in range(4):
            rounds.append(kind.pump())
            assert kind.state == "PROBE"
            kind.quiet()
        assert rounds == [1, 1, 2, 4]

    def test_one_that_is_cancelled_says_nothing_and_the_next_is_watched(self):
        kind = self.at_zero()
        kind.quiet()
        kind.refill(1)
        kind.end(admitted=False)
        assert kind.state == "ZERO"
        kind.refill(1)
        assert kind.want() is None
        kind.quiet()
        assert kind.want() == "grow"
        assert kind.state == "TRACK"

    def test_the_time_at_zero_is_counted_anew_after_an_admission(self):
        kind = self.at_zero()
        for _ in range(100):
            kind.quiet()
            kind.refill(1)
            kind.shed()
        kind.quiet()
        kind.refill(1)
        kind.quiet()
        kind.want()
        assert kind.state == "TRACK"
        kind.shed()
        assert kind.state == "ZERO"
        kind.want()
        assert kind.capacity.wake - kind.now == pytest.approx(1.1)
