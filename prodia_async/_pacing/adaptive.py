"""How many jobs of one type the service has room for: arithmetic on times and counts, no loop, no queue.

The service says one bit: 200 in time, or 429 at once. Four rules follow (the whole algorithm, with the
figures that it was simulated to reach, is in docs/limiter.md):

- A 429 cuts the limit to what was admitted: at that moment the capacity is known exactly.
- Silence is admission: a 429 takes a round trip, a job takes seconds; what is unanswered long enough
  after its body was sent is running.
- The search upward is exponential: 1, then 1, 2, 4 ... more while whole rounds are admitted.
- With nothing in flight and a 429, one request at a time asks, ever more seldom.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from prodia_async._pacing.capacity import DEFAULT_RETRY_AFTER, FixedCapacity, State, Ticket, Want

if TYPE_CHECKING:
    from random import Random

    from prodia_async._settings import Adaptive

_PROBE_FACTOR: dict[str, float] = {"eager": 2.0, "normal": 4.0, "frugal": 8.0}
_PROBE_EVERY = (0.25, 60.0)  # seconds, least and most between two probes
_REFILL_SHED = 0.25  # of a probe interval, from a refill that was shed to the next probe
_FORGIVENESS = 0.5  # of a shed refill, earned by each success
_FIRST_SILENCE, _SILENCE = 0.2, (0.05, 2.0)  # seconds: before a 429 was seen; least and most
_ZERO_SHARE, _ZERO_MOST = 16, 15.0  # the wait at zero grows to 1/16 of the time spent there, at most 15 s
_RETRY_AFTER_MOST = 1.5  # times the usual Retry-After, in the wait at zero
_GUESSED_LATENCY = 2.0  # seconds, before a job has completed


class Round:
    """A growth round: requests sent above the limit, judged together by their silence."""

    __slots__ = ("last_sent", "left", "sent", "unsent")

    def __init__(self, left: int, now: float) -> None:
        self.left = left
        self.sent = 0
        self.unsent = 0  # of these, bodies that are still on their way
        self.last_sent = now


class AdaptiveCapacity(FixedCapacity):
    """What is known of one job type's capacity, learned from its answers and its silence."""

    rests_in_slot = False

    def __init__(self, settings: Adaptive, most: int, random: Random, learned: int | None = None) -> None:
        super().__init__(min(settings.initial if learned is None else learned, most))
        self._most = most
        self._factor = _PROBE_FACTOR[settings.probing]
        self._random = random
        self._step = settings.initial
        self._gained = 0
        self._never_shed = True
        self._round: Round | None = None
        self._next_probe = 0.0
        self._hold = 0.0
        self._zero_since: float | None = None
        self._watch: Ticket | None = None
        self._last_shed = -math.inf
        self._forgiveness = 1.0
        self._retry_after = DEFAULT_RETRY_AFTER
        self._round_trip: float | None = None
        self._round_trip_spread = 0.0

    @property
    def state(self) -> State:
        """The state machine's name for where it stands."""
        if self._zero_since is not None:
            return State.ZERO
        if self._never_shed:
            return State.SLOW_START
        return State.PROBE if self._round is not None else State.TRACK

    # What next?

    def held(self, now: float) -> bool:
        """Whether nothing at all may be sent yet: the wait at zero is not over."""
        if now < self._hold:
            self._look_again(self._hold)
            return True
        return False

    def want(self, now: float, backlog: float) -> Want:
        """Say what a free slot would be used for, with `backlog` turns ready to be sent."""
        if self.in_flight < self.limit:
            return Want.REFILL
        if self._round is not None:
            return Want.GROW if self._round.left > 0 and self.limit < self._most else Want.NOTHING
        if self._zero_since is not None or self.limit >= self._most:
            return Want.NOTHING
        if now < self._next_probe:
            self._look_again(self._next_probe)
            return Want.NOTHING
        return Want.NOTHING if self._a_slot_frees_sooner(backlog) else Want.GROW

    def _a_slot_frees_sooner(self, backlog: float) -> bool:
        """Whether the backlog is gone before a probe that is shed could be sent again."""
        if self._never_shed or self.latency is None:
            return False
        return backlog * self.latency < self._retry_after * self.in_flight

    def judge(self, now: float) -> None:
        """Take note of what silence has admitted by now."""
        watch, growth = self._watch, self._round
        if watch is not None and watch.body_sent is not None:
            verdict = watch.body_sent + self._silence()
            if now >= verdict:
                self._admitted(now)
            else:
                self._look_again(verdict)
        if growth is not None and growth.unsent == 0:
            verdict = growth.last_sent + self._silence()
            if now >= verdict:
                self._round_admitted(growth, now)
            else:
                self._look_again(verdict)

    def _round_admitted(self, growth: Round, now: float) -> None:
        self._round = None
        self._next_probe = now
        grows = self._gained > 0 or growth.sent > 1
        self._step = max(1, min(2 * growth.sent, self.limit)) if grows else 1
        self._gained += 1

    def _admitted(self, now: float) -> None:
        self._watch = None
        if self._zero_since is not None:
            self._zero_since = None
            self._step = 1
            self._next_probe = now

    # What happened?

    def send(self, want: Want, now: float) -> Ticket:
        """Count one more request in flight; growing raises the limit with it."""
        growth = None
        if want is Want.GROW:
            if self._round is None:
                self._round = Round(self._step, now)
            growth = self._round
            growth.sent += 1
            growth.left -= 1
            growth.unsent += 1
            growth.last_sent = now
            self.limit += 1
        ticket = Ticket(now, growth)
        self.in_flight += 1
        if self._zero_since is not None and self._watch is None:
            self._watch = ticket
        return ticket

    def body_sent(self, ticket: Ticket, now: float) -> bool:
        """Take note that a body is on its way whole; return whether a verdict of silence waits for it."""
        ticket.body_sent = now
        if ticket.round is not None and ticket.round is self._round:
            self._round.unsent -= 1
            self._round.last_sent = max(self._round.last_sent, now)
            return True
        return ticket is self._watch

    def success(self, ticket: Ticket, now: float) -> None:
        """Count a job that completed: it earns forgiveness for a shed refill."""
        self._forgiveness = min(1.0, self._forgiveness + _FORGIVENESS)
        self.answered(ticket, now)

    def answered(self, ticket: Ticket, now: float) -> None:
        """Count a request that was admitted, whatever came of it."""
        self.judge(now)
        self._release(ticket)
        if self._watch is not None and ticket.sent >= self._watch.sent:
            self._admitted(now)

    def ignore(self, ticket: Ticket, now: float) -> None:
        """Count one that was cancelled or lost: the server may still run it, as the next refill finds out."""
        self.judge(now)
        self._release(ticket)
        if ticket is self._watch:
            self._watch = None

    def shed(self, ticket: Ticket, retry_after: float, now: float) -> None:
        """429: cut the limit to what was admitted, unless the shed refill is forgiven."""
        self.judge(now)
        self._release(ticket)
        self._sample_round_trip(ticket, now)
        self._retry_after += 0.1 * (retry_after - self._retry_after)
        self._never_shed = False
        fresh_news = ticket.sent >= self._last_shed
        probed = self._round is not None
        self._watch = None
        self._round = None
        self._step = 1
        if not probed and self._forgiveness >= 1.0 and 0 < self.in_flight < self.limit:
            self._forgiveness -= 1.0
            return
        self.limit = max(1, min(self.limit, self.in_flight))
        if fresh_news:
            self._last_shed = now
            self._put_probe_off(now, probed=probed)
        if self.in_flight == 0:
            self._enter_zero(retry_after, now)

    def _put_probe_off(self, now: float, *, probed: bool) -> None:
        if probed:
            self._gained = 0
            self._next_probe = now + self._probe_interval()
        else:
            self._next_probe = max(self._next_probe, now + _REFILL_SHED * self._probe_interval())

    def _enter_zero(self, retry_after: float, now: float) -> None:
        if self._zero_since is None:
            self._zero_since = now
        self.limit = 1
        told = min(retry_after, _RETRY_AFTER_MOST * self._retry_after)
        grown = min(_ZERO_MOST, (now - self._zero_since) / _ZERO_SHARE)
        self._hold = now + max(told, grown) * self._random.uniform(1.0, 1.2)

    def _release(self, ticket: Ticket) -> None:
        self.in_flight -= 1
        if ticket.body_sent is None and ticket.round is not None and ticket.round is self._round:
            self._round.unsent -= 1

    # How long?

    def _silence(self) -> float:
        """Seconds of silence after the body that mean admission: a 429's round trip, with a margin."""
        if self._round_trip is None:
            return _FIRST_SILENCE
        least, most = _SILENCE
        return max(least, min(most, self._round_trip + 4 * self._round_trip_spread + 0.01))

    def _probe_interval(self) -> float:
        latency = _GUESSED_LATENCY if self.latency is None else self.latency
        least, most = _PROBE_EVERY
        interval = self._factor * latency / math.sqrt(max(1, self.in_flight))
        return max(least, min(most, interval)) * self._random.uniform(0.75, 1.25)

    def _sample_round_trip(self, ticket: Ticket, now: float) -> None:
        """Learn how long a 429 takes; one that came before the body was sent whole tells nothing."""
        if ticket.body_sent is None:
            return
        sample = now - ticket.body_sent
        if self._round_trip is None:
            self._round_trip, self._round_trip_spread = sample, sample / 2
            return
        self._round_trip_spread += (abs(sample - self._round_trip) - self._round_trip_spread) / 4
        self._round_trip += (sample - self._round_trip) / 8

    def _look_again(self, when: float) -> None:
        self.wake = min(self.wake, when)
