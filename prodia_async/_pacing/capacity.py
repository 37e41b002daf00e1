"""How many jobs of one type the service has room for: arithmetic on times and counts, no loop, no queue.

The service says one bit: 200 in time, or 429 at once. Its rules are told in docs/limiter.md, with the figures
that they were simulated to reach:

- A 429 cuts the limit to what was admitted: at that moment the capacity is known exactly.
- Silence is admission: a 429 takes a round trip, a job takes seconds; what is unanswered long enough
  after its body was sent is running.
- The search upward is exponential: 1, then 1, 2, 4 ... more while whole rounds are admitted.
- With nothing in flight and a 429, one request at a time asks, ever more seldom.
- A limit that moves from search to search tells of others: probe sooner, and leave them slots at times.
- Types that take slots from one another search one for all.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal, TypeAlias

from msgspec import Struct

from prodia_async._pacing.retry import DEFAULT_RETRY_AFTER, Silence

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

_PROBE_FACTOR: dict[str, float] = {"eager": 2.0, "normal": 4.0, "frugal": 8.0}
_PROBE_EVERY = (0.25, 60.0)  # seconds, least and most between two probes
_FORGIVENESS = 0.5  # of a shed refill, earned by each success
_ZERO_SHARE, _ZERO_MOST = 16, 5.0  # the wait at zero grows to 1/16 of the time spent there, at most 5 s
_RETRY_AFTER_MOST = 1.5  # times the usual Retry-After, in the wait at zero
_GUESSED_LATENCY = 2.0  # seconds, before a job has completed
_MOVES = 10  # latencies, or usual Retry-Afters if those are more, for which a limit that has changed moves
_LEFT_SELDOM = 64  # a freed slot is left to others with chance limit / 64,
_LEFT_FOR = 0.5  # for half a latency
_GIVEN = 8  # of the slots of a type that has just lost one, every eighth is left if it is freed
_GIVES = 2  # times the silence after a loss: whoever has won a slot searches on in that time
_SURE = 3  # the most that one type counts on sharing with another
_MUTED_MOST = 6  # doublings of the latency for which a type takes no offers, after those in vain
_OWN_GAIN = 4  # times the silence after a round of its own in which a type has lost to nobody else


Want: TypeAlias = Literal["refill", "grow"] | None
"""What a job type would do with a free slot."""

State: TypeAlias = Literal["SLOW_START", "TRACK", "PROBE", "ZERO", "FIXED"]
"""Where a job type stands; for `stats()` and the log."""


class Round(Struct, eq=False):
    """Requests that are judged together by their silence: those above the limit, or the only one at zero."""

    size: int
    last_sent: float
    sent: int = 0
    unsent: int = 0  # of those that were sent, bodies that are still on their way

    def body_sent(self, now: float) -> None:
        """Take note that a body is on its way whole."""
        self.unsent -= 1
        self.last_sent = max(self.last_sent, now)


class Trend:
    """Whether a limit moves: evidence that others use the service, or that its capacity changes.

    Alone beside a capacity that does not change, every search begins from the same limit, but for the slots
    in transit. At the end of a search its sheds would still be arriving.
    """

    def __init__(self) -> None:
        self.found: int | None = None  # the limit when the last search began
        self.search_ended = False  # since then, by a 429
        self.rose = False  # whether the limit had risen when it moved last

    def search_begins(self, limit: int, silence: Silence, latency: float) -> bool:
        """Tell whether the limit has moved since the last search began, by more than the slots in transit."""
        if not self.search_ended:
            return False
        before, self.found, self.search_ended = self.found, limit, False
        in_transit = limit * (silence.round_trip + silence.spread) / latency
        if before is None or abs(limit - before) <= in_transit:
            return False
        self.rose = limit > before
        return True


class Capacity:
    """What is known of one job type's capacity: learned from its answers and its silence, or told if `fixed`.

    `limit`: the first guess. `most`: above which it is not raised. `initial`: the first guess of a type that
    is alone. `peers`: the types of one client. `growth`: the round that waits for the request's body.
    """

    limit: int
    most: int
    fixed: bool
    in_flight: int

    def __init__(
        self,
        limit: int,
        most: int,
        random: Random,
        peers: list[Capacity],
        *,
        initial: int = 1,
        probing: str = "normal",
        fixed: bool = False,
    ) -> None:
        self.limit, self.most = min(limit, most), most
        self.fixed, self.in_flight = fixed, 0
        self.latency: float | None = None
        self.hold_until: float = -math.inf  # until then nothing at all may be sent
        self.left: list[float] = []  # until when each slot is left to others
        self.wake: float = math.inf  # when to ask `want` again, whatever happens until then; as told last
        self.round: Round | None = None
        self.shares: dict[Capacity, int] = {}  # types that take slots from this one, and how surely
        self.tell: Callable[[str], object] = str  # hears why the limit or the state has changed
        self._peers = peers
        self._factor, self._random = _PROBE_FACTOR[probing], random
        self._step = min(initial, self.limit)
        self._gained = 0  # rounds that were admitted in this search
        self._gained_at = -math.inf  # when the last one was
        self._never_shed, self._next_probe = True, 0.0
        self._zero_since: float | None = None
        self._retry_after = self._longest = DEFAULT_RETRY_AFTER  # usual; and the longest of late
        self._forgiveness, self._silence, self._trend = 1.0, Silence(), Trend()
        self._moves_until = self._gives_until = -math.inf
        self._offered = False  # whether this search began because another type had left a slot
        self._vain = 0  # such searches that found none
        self._muted_until = -math.inf  # until then none begins
        peers.append(self)

    @property
    def state(self) -> State:
        """The state machine's name for where it stands."""
        if self._zero_since is not None:
            return "ZERO"
        if self._never_shed:
            return "FIXED" if self.fixed else "SLOW_START"
        return "PROBE" if self.round is not None else "TRACK"

    def is_moving(self, now: float) -> bool:
        """Tell whether the limit was another not long ago, for a reason that is not in this process."""
        return now < self._moves_until and not self.shares

    @property
    def grows(self) -> bool:
        """Whether a search is under way."""
        return self.round is not None and self._zero_since is None

    def has_gained(self, now: float, times: float = 1.0) -> bool:
        """Whether a search of its own was admitted, at most so many times the silence ago."""
        return now - self._gained_at <= times * self._silence.seconds

    def want(self, now: float, backlog: float) -> Want:
        """Say what a free slot would be used for, with `backlog` turns ready to be sent."""
        self.wake = math.inf
        if now < self.hold_until:
            self.wake = self.hold_until
            return None
        if self.round is not None:
            self._judge(now)
        if self.left:  # for a search they are taken back
            is_searching = self.round is not None or now >= self._next_probe
            self.left = [] if is_searching else [until for until in self.left if until > now]
        is_free = self.in_flight + len(self.left) < self.limit
        if self.left and backlog and not is_free:
            self.wake = min(self._next_probe, *self.left)
            return None
        if not backlog or is_free or self.limit >= self.most:
            return "refill" if backlog and is_free else None
        if self.round is not None:
            grows = self.round.sent < self.round.size
        elif now < self._next_probe:
            self.wake = self._next_probe
            grows = False
        else:  # no probe where a slot frees sooner than one that is shed could be sent again
            latency = None if self._never_shed else self.latency
            grows = latency is None or backlog * latency >= self._longest * self.in_flight
        return "grow" if grows else None

    def _judge(self, now: float) -> None:
        if self.round is not None and not self.round.unsent:
            self.wake = self.round.last_sent + self._silence.seconds
            if now >= self.wake:
                self.wake = math.inf
                self._admitted(self.round, now)

    def _admitted(self, growth: Round, now: float) -> None:
        self.round = None
        self._next_probe = now
        if self._zero_since is not None:
            self._zero_since = None
            self._step = 1
        else:
            self._step = 2 * growth.sent if self._gained > 0 or growth.sent > 1 else 1
            self._gained += 1
            self._gained_at = now
            self._offered, self._vain = False, 0
        self.tell("admitted")

    def send(self, want: Want, now: float) -> Round | None:
        """Count one more request in flight; growing raises the limit with it. Return its round."""
        self.in_flight += 1
        if want == "grow":
            if self.round is None:
                if self._trend.search_begins(self.limit, self._silence, self.latency or 0.001):
                    self._moved(now)
                self.round = Round(self._step, now)
            self.limit += 1
            if not self.round.sent:
                self.tell("search")
        elif self._zero_since is not None:
            self.round = Round(1, now)
        else:
            return None
        self.round.sent += 1
        self.round.unsent += 1
        self.round.last_sent = now
        return self.round

    def _moved(self, now: float) -> None:
        latency = _GUESSED_LATENCY if self.latency is None else self.latency
        self._moves_until = now + _MOVES * max(latency, self._retry_after)

    def answered(self, seconds: float) -> None:
        """Take a sample of the latency, upload included."""
        self.latency = seconds if self.latency is None else self.latency + 0.1 * (seconds - self.latency)

    def ended(self, growth: Round | None, now: float, *, admitted: bool, completed: bool) -> None:
        """Count a request that is over; a completed job earns forgiveness for a shed refill.

        One that was not `admitted` was cancelled or lost: the server may still run it, as the next refill
        finds out. While the limit moves, some freed slots are left to others.
        """
        if completed:
            self._forgiveness = min(1.0, self._forgiveness + _FORGIVENESS)
        if self.round is None and growth is None:
            self.in_flight -= 1
        else:
            self._release(growth, now)
        if self._zero_since is not None and self.round is not None:
            if admitted:
                self._admitted(self.round, now)
            self.round = None
        if admitted and now < self._moves_until and self.latency and not self.shares:
            self._leave(now, self.latency)

    def _leave(self, now: float, latency: float) -> None:
        """Leave the slot that was just freed to others for a while, or not.

        One at a time is left, the more often the more there are, unless the limit has risen; and several when
        one was just lost: whoever has won it searches on. That the times differ keeps slots from falling free
        all at once, for ever.
        """
        is_giving = now < self._gives_until
        is_chosen = not self._trend.rose and self._random.random() * _LEFT_SELDOM < self.limit
        if len(self.left) < (self.limit // _GIVEN if is_giving else is_chosen):
            self.left.append(self._gives_until if is_giving else now + _LEFT_FOR * latency)

    def shed(self, growth: Round | None, after: float | None, retry_after: float, now: float) -> None:
        """429, `after` so many seconds: cut the limit to what was admitted, unless the refill is forgiven."""
        self._release(growth, now)
        if self.fixed:  # it teaches nothing
            return
        if after is not None:  # before the body was sent, it tells nothing of a round trip
            self._silence.learn(after)
        self._retry_after += 0.1 * (retry_after - self._retry_after)
        self._longest = max(retry_after, self._longest + 0.1 * (retry_after - self._longest))
        was_first, self._never_shed = self._never_shed, False
        probed = self.grows
        self.round = None
        self._step = 1
        if not probed and self._forgiveness >= 1.0 and 0 < self.in_flight < self.limit:
            self._forgiveness -= 1.0
            return
        self.limit = max(1, min(self.limit, self.in_flight + sum(until > now for until in self.left)))
        if probed:
            self._gained, self._trend.search_ended = 0, True
            if self._offered:
                self._offered, self._vain = False, self._vain + 1
                self._muted_until = now + 2 ** min(self._vain - 1, _MUTED_MOST) * (self.latency or 0.0)
            for each in (self, *self.shares):  # one search for all
                each.put_off(now)
            if was_first and self.limit > 1:
                self._moved(now)  # others may have begun at the same time
        elif not (was_first or self._zero_since is not None or self.has_gained(now, _OWN_GAIN)):
            self._learn_shares(now)
            self._gives_until = now + _GIVES * self._silence.seconds
        if self.in_flight == 0:
            self._zero_since = now if self._zero_since is None else self._zero_since
            self._trend.found = 0  # the way out of zero counts as a rise
            self.left.clear()
            self.share_no_more()
            told = min(retry_after, _RETRY_AFTER_MOST * self._retry_after)
            grown = min(_ZERO_MOST, (now - self._zero_since) / _ZERO_SHARE)
            self.hold_until = now + max(told, grown) * self._random.uniform(1.0, 1.2)
        self.tell("shed")

    def offer(self, now: float) -> None:
        """Search at once, since another type has left a slot; not for a while, where that was in vain."""
        if self.round is None and self._muted_until <= now < self._next_probe:
            self._next_probe, self._offered = now, True

    def put_off(self, now: float) -> None:
        """Wait with the next probe: for less while the limit moves, and then no longer for being small."""
        factor = self._factor / math.sqrt(max(1, self.in_flight))
        if self.is_moving(now):
            factor = min(factor, max(self._factor / 4, factor / 2))
        least, most = _PROBE_EVERY
        latency = _GUESSED_LATENCY if self.latency is None else self.latency
        interval = max(least, min(most, factor * latency)) * self._random.uniform(0.75, 1.25)
        self._next_probe = max(self._next_probe, now + interval)

    def _learn_shares(self, now: float) -> None:
        """Learn who took a slot: types that have just grown, or else nobody in this process."""
        recent = [each for each in self._peers if each.grows or each.has_gained(now)]
        for each in recent or list(self.shares):
            count = min(_SURE, self.shares.get(each, 0) + (1 if recent else -1))
            for one, other in ((self, each), (each, self)):
                one.shares[other] = count
                if not count:
                    del one.shares[other]

    def share_no_more(self) -> None:
        """Forget what other types were seen to do."""
        for each in self.shares:
            del each.shares[self]
        self.shares.clear()

    def _release(self, growth: Round | None, now: float) -> None:
        self._judge(now)
        self.in_flight -= 1
        if growth is not None:
            growth.unsent -= 1
