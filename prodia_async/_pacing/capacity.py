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

import asyncio
import math
from enum import Enum
from typing import TYPE_CHECKING, Literal, TypeAlias

from msgspec import Struct

from prodia_async._pacing.clock import Timer

if TYPE_CHECKING:
    from random import Random

DEFAULT_RETRY_AFTER = 1.0  # seconds, if a 429's is missing or senseless; as the vendor's client waits
_PROBE_FACTOR: dict[str, float] = {"eager": 2.0, "normal": 4.0, "frugal": 8.0}
_PROBE_EVERY = (0.25, 60.0)  # seconds, least and most between two probes
_REFILL_SHED = 0.25  # of a probe interval, from a refill that was shed to the next probe
_FORGIVENESS = 0.5  # of a shed refill, earned by each success
_FIRST_SILENCE, _SILENCE = 0.2, (0.05, 2.0)  # seconds: before a 429 was seen; least and most
_ZERO_SHARE, _ZERO_MOST = 16, 15.0  # the wait at zero grows to 1/16 of the time spent there, at most 15 s
_RETRY_AFTER_MOST = 1.5  # times the usual Retry-After, in the wait at zero
_GUESSED_LATENCY = 2.0  # seconds, before a job has completed


Want: TypeAlias = Literal["refill", "grow"] | None
"""What a job type would do with a free slot."""

State: TypeAlias = Literal["SLOW_START", "TRACK", "PROBE", "ZERO", "FIXED"]
"""Where a job type stands; for `stats()` and the log."""


class Phase(Enum):
    """Where a turn stands."""

    IDLE = "it has no slot, and stands in no queue"
    FRESH = "it stands in line, and was never sent"
    DUE = "it stands in line to be sent again"
    RESTING = "it was shed, and its Retry-After has not passed"
    SENDING = "it has a slot"
    LINGERING = "its reply is still being read, and its slot is free again"


class Round(Struct, eq=False):
    """Requests that are judged together by their silence: those above the limit, or the only one at zero."""

    size: int
    last_sent: float
    sent: int = 0
    unsent: int = 0  # of those that were sent, bodies that are still on their way


class Place(Struct, eq=False, kw_only=True):
    """What is known of a turn and, from `sent_at` on, of its present attempt."""

    priority: int = 0
    order: int = 0
    phase: Phase = Phase.IDLE
    waiter: asyncio.Future[None] | None = None
    rest: Timer | None = None
    left: bool = False
    first_sent: int | None = None
    sent_at: float = 0.0
    body_sent_at: float | None = None
    lingers_at: float | None = None  # when its slot is free, should its reply not be complete by then
    round: Round | None = None


class Capacity:
    """What is known of one job type's capacity, learned from its answers and its silence."""

    rests_in_slot = False  # whether a turn that was shed keeps its slot while it rests

    def __init__(
        self, limit: int, most: int, random: Random, *, step: int = 1, probing: str = "normal"
    ) -> None:
        self.limit = min(limit, most)
        self.in_flight = 0
        self.latency: float | None = None
        self.hold_until = -math.inf  # until then nothing at all may be sent
        self.wake = math.inf  # when to ask `want` again, whatever happens until then; as it was told last
        self._most = most
        self._factor = _PROBE_FACTOR[probing]
        self._random = random
        self._step = step
        self._gained = 0
        self._never_shed = True
        self._round: Round | None = None
        self._next_probe = 0.0
        self._zero_since: float | None = None
        self._last_shed = -math.inf
        self._forgiveness = 1.0
        self._retry_after = DEFAULT_RETRY_AFTER
        self._silence = _FIRST_SILENCE
        self._round_trip: tuple[float, float] | None = None  # a 429's, and how far others are from it

    @property
    def state(self) -> State:
        """The state machine's name for where it stands."""
        if self._zero_since is not None:
            return "ZERO"
        if self._never_shed:
            return "SLOW_START"
        return "PROBE" if self._round is not None else "TRACK"

    def want(self, now: float, backlog: float) -> Want:
        """Say what a free slot would be used for, with `backlog` turns ready to be sent."""
        self.wake = math.inf
        if now < self.hold_until:
            self.wake = self.hold_until
            return None
        if self._round is not None:
            self._judge(now)
        if backlog and self.in_flight < self.limit:
            return "refill"
        if not backlog or self.limit >= self._most:
            return None
        if self._round is not None:
            grows = self._round.sent < self._round.size
        elif now < self._next_probe:
            self.wake = self._next_probe
            return None
        else:  # no probe where a slot frees sooner than one that is shed could be sent again
            latency = None if self._never_shed else self.latency
            grows = latency is None or backlog * latency >= self._retry_after * self.in_flight
        return "grow" if grows else None

    def _judge(self, now: float) -> None:
        if self._round is not None and not self._round.unsent:
            self.wake = self._round.last_sent + self._silence
            if now >= self.wake:
                self.wake = math.inf
                self._admitted(self._round, now)

    def _admitted(self, growth: Round, now: float) -> None:
        self._round = None
        self._next_probe = now
        if self._zero_since is not None:
            self._zero_since = None
            self._step = 1
            return
        grows = self._gained > 0 or growth.sent > 1
        self._step = max(1, min(2 * growth.sent, self.limit)) if grows else 1
        self._gained += 1

    def send(self, place: Place, want: Want, now: float) -> None:
        """Count one more request in flight; growing raises the limit with it."""
        place.sent_at = now
        place.body_sent_at = place.round = None
        self.in_flight += 1
        if want == "grow":
            self.limit += 1
            if self._round is None:
                self._round = Round(self._step, now)
        elif self._zero_since is not None:
            self._round = Round(1, now)
        else:
            return
        growth = place.round = self._round
        growth.sent += 1
        growth.unsent += 1
        growth.last_sent = now

    def body_sent(self, place: Place, now: float) -> bool:
        """Take note that a body is on its way whole; return whether a verdict of silence waits for it."""
        place.body_sent_at = now
        if self._round is None or place.round is not self._round:
            return False
        self._round.unsent -= 1
        self._round.last_sent = max(self._round.last_sent, now)
        return True

    def headers(self, place: Place, now: float) -> None:
        """Take a sample of the latency, upload included."""
        sample = now - place.sent_at
        self.latency = sample if self.latency is None else self.latency + 0.1 * (sample - self.latency)

    def ended(self, place: Place, now: float, *, admitted: bool, completed: bool) -> bool:
        """Count a request that is over; a completed job earns forgiveness for a shed refill.

        One that was not `admitted` was cancelled or lost: the server may still run it, as the next refill
        finds out. Return whether a verdict of silence was waited for, and so may have come.
        """
        if completed:
            self._forgiveness = min(1.0, self._forgiveness + _FORGIVENESS)
        if self._round is None:
            self.in_flight -= 1
            return False
        self._release(place, now)
        if self._zero_since is not None and self._round is not None:
            if admitted:
                self._admitted(self._round, now)
            self._round = None
        return True

    def shed(self, place: Place, retry_after: float, now: float) -> None:
        """429: cut the limit to what was admitted, unless the shed refill is forgiven."""
        self._release(place, now)
        if place.body_sent_at is not None:  # before that, it tells nothing of a round trip
            self._learn_silence(now - place.body_sent_at)
        self._retry_after += 0.1 * (retry_after - self._retry_after)
        self._never_shed = False
        probed = self._round is not None and self._zero_since is None
        self._round = None
        self._step = 1
        if not probed and self._forgiveness >= 1.0 and 0 < self.in_flight < self.limit:
            self._forgiveness -= 1.0
            return
        self.limit = max(1, min(self.limit, self.in_flight))
        if place.sent_at >= self._last_shed:  # else it is old news
            self._last_shed = now
            latency = _GUESSED_LATENCY if self.latency is None else self.latency
            interval = self._factor * latency / math.sqrt(max(1, self.in_flight))
            least, most = _PROBE_EVERY
            interval = max(least, min(most, interval)) * self._random.uniform(0.75, 1.25)
            if probed:
                self._gained = 0
                self._next_probe = now + interval
            else:
                self._next_probe = max(self._next_probe, now + _REFILL_SHED * interval)
        if self.in_flight == 0:
            self._zero_since = now if self._zero_since is None else self._zero_since
            told = min(retry_after, _RETRY_AFTER_MOST * self._retry_after)
            grown = min(_ZERO_MOST, (now - self._zero_since) / _ZERO_SHARE)
            self.hold_until = now + max(told, grown) * self._random.uniform(1.0, 1.2)

    def _release(self, place: Place, now: float) -> None:
        self._judge(now)
        self.in_flight -= 1
        if self._round is not None and place.round is self._round and place.body_sent_at is None:
            self._round.unsent -= 1
        place.round = None  # a body that is sent later is nothing to it

    def _learn_silence(self, sample: float) -> None:
        """Learn what silence after the body means admission: a 429's round trip, with a margin."""
        usual, spread = self._round_trip or (sample, sample / 2)
        if self._round_trip is not None:
            spread += (abs(sample - usual) - spread) / 4
            usual += (sample - usual) / 8
        self._round_trip = usual, spread
        least, most = _SILENCE
        self._silence = max(least, min(most, usual + 4 * spread + 0.01))


class FixedCapacity(Capacity):
    """A number of slots that was told. A 429 teaches nothing: the turn rests in its slot."""

    rests_in_slot = True
    state = "FIXED"

    def shed(self, place: Place, retry_after: float, now: float) -> None:  # noqa: ARG002 - as its base is told
        """Count a 429."""
        self.in_flight -= 1
