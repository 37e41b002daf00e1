"""The turns of one job type: who waits, who was shed until when, and who is sent next."""

from __future__ import annotations

import heapq
import logging
import math
from collections import deque
from typing import TYPE_CHECKING

from prodia_async._models import TypeStats
from prodia_async._pacing.capacity import FixedCapacity, State, Want

if TYPE_CHECKING:
    from prodia_async._pacing.clock import Timer
    from prodia_async._pacing.limiter import Pool
    from prodia_async._pacing.turns import Turn

log = logging.getLogger("prodia_async")

_SLACK = 64
"""How many turns that have gone the queues may keep, beside one for each that waits."""


class Line:
    """One job type's queues. Fresh turns were never sent; due ones were, and may be sent again.

    A turn that has gone stays in its queue until its place comes up, or until most have gone.
    """

    def __init__(self, pool: Pool, key: str, capacity: FixedCapacity) -> None:
        self.pool = pool
        self.key = key
        self.capacity = capacity
        self.turns = 0
        self.waiters: set[Turn] = set()
        self.resting = 0  # slots kept by turns that were shed
        self.shed = self.completed = 0
        self.last_grant = 0
        self.idle_since = pool.clock.monotonic()
        self._fresh: dict[int, deque[Turn]] = {}
        self._due: list[tuple[tuple[int, int], Turn]] = []
        self._shed: list[tuple[float, int, Turn]] = []
        self._held = 0  # turns in _shed that have not gone
        self._queued = 0  # turns in _fresh and _due, gone or not
        self._ready = 0  # of these, turns that wait
        self.settled = False  # turns wait, nothing is wanted, and one turn more would not change it
        self._best: Turn | None = None  # the turn that a refill would send, when `want` was asked last
        self._timer: Timer | None = None
        self._timer_at = math.inf
        self._state = capacity.state

    @property
    def in_use(self) -> int:
        """Slots that this type takes up: in flight, or kept by a turn that was shed."""
        return self.capacity.in_flight + self.resting

    @property
    def idle(self) -> bool:
        """Whether nothing waits and nothing is in flight."""
        return not self.turns and not self.in_use

    def stats(self) -> TypeStats:
        """Return the line's counts."""
        return TypeStats(
            state=self.capacity.state.value,
            limit=self.capacity.limit,
            in_flight=self.capacity.in_flight,
            waiting=len(self.waiters),
            shed=self.shed,
            completed=self.completed,
            latency=self.capacity.latency,
        )

    # Turns come and go

    def queue(self, turn: Turn) -> None:
        """Let a turn stand in line: by arrival if it is fresh, by its first sending if it is not."""
        turn.queued = True
        self._queued += 1
        self._ready += 1
        if turn.first_sent is None:
            fresh = self._fresh.get(turn.priority)
            if fresh is None:
                fresh = self._fresh[turn.priority] = deque()
            fresh.append(turn)
        else:
            heapq.heappush(self._due, ((turn.priority, turn.first_sent), turn))

    def drop(self, turn: Turn) -> None:
        """Take note that a turn in line has gone."""
        turn.queued = False
        self._ready -= 1
        if self._queued > 2 * self._ready + _SLACK:
            self._forget_gone()

    def _forget_gone(self) -> None:
        self._due = [entry for entry in self._due if entry[1].queued]
        heapq.heapify(self._due)
        for priority in list(self._fresh):
            self._fresh[priority] = deque(turn for turn in self._fresh[priority] if turn.queued)
            if not self._fresh[priority]:
                del self._fresh[priority]
        self._queued = self._ready

    def hold(self, turn: Turn, until: float) -> None:
        """Keep a turn that was shed out of line until its time has come."""
        turn.held = True
        self._held += 1
        heapq.heappush(self._shed, (until, turn.order, turn))
        self._arm(until)
        if self.capacity.rests_in_slot:
            self.resting += 1
            self.pool.in_use += 1

    def release(self, turn: Turn) -> None:
        """Let a held turn go: into line if it waits; its slot is free again."""
        turn.held = False
        self._held -= 1
        if len(self._shed) > 2 * self._held + _SLACK:
            self._shed = [entry for entry in self._shed if entry[2].held]
            heapq.heapify(self._shed)
        if self.capacity.rests_in_slot:
            self.resting -= 1
            self.pool.in_use -= 1
        if turn.waiter is not None:
            self.queue(turn)

    def _release_due(self, now: float) -> None:
        while self._shed and (self._shed[0][0] <= now or not self._shed[0][2].held):
            turn = heapq.heappop(self._shed)[2]
            if turn.held:
                self.release(turn)

    # Who is next

    def want(self, now: float) -> Want:
        """Say what this type would do with a free slot, and see to it that the question is asked again."""
        capacity = self.capacity
        capacity.wake = math.inf
        if capacity.held(now):
            self._arm(capacity.wake)
            self.settled = True
            return Want.NOTHING
        capacity.judge(now)
        if self._shed:
            self._release_due(now)
        self._best = self._find_best()
        backlog = math.inf if self.pool.feeders else self._ready
        want = Want.NOTHING if self._best is None else capacity.want(now, backlog)
        wake = capacity.wake
        self.settled = want is Want.NOTHING and wake < math.inf and self._best is not None
        if self._shed:
            wake = min(wake, self._shed[0][0])
        if wake < math.inf:
            self._arm(wake)
        elif want is Want.NOTHING or capacity.rests_in_slot:  # else the next grant arms it again
            self.close()
        return want

    @property
    def rank(self) -> tuple[int, int, int]:
        """Smallest priority, fewest slots in use, not served for longest; as `want` found it just now."""
        priority = 0 if self._best is None else self._best.priority
        return priority, self.capacity.in_flight + self.resting, self.last_grant

    def _find_best(self) -> Turn | None:
        """Return the turn that a refill would send, without taking it: the smaller priority, due on a tie."""
        due = self._head_of_due() if self._due else None
        fresh = None
        while fresh is None and self._fresh:
            fresh = self._head_of_fresh(min(self._fresh))
        if due is None or fresh is None:
            return fresh if due is None else due
        return fresh if fresh.priority < due.priority else due

    def _probe(self) -> Turn | None:
        """Return the turn that growth would send: a fresh one, the least important once a 429 was seen."""
        while self._fresh:
            first = self.capacity.state is State.SLOW_START
            turn = self._head_of_fresh(min(self._fresh) if first else max(self._fresh))
            if turn is not None:
                return turn
        return self._best

    def take(self, want: Want) -> Turn:
        """Take the turn that is next, as `want` found it just now, out of line."""
        turn = self._probe() if want is Want.GROW else self._best
        if turn is None:
            raise AssertionError("a slot is only offered to a line in which somebody waits")
        if turn.first_sent is None:
            self._fresh[turn.priority].popleft()
            if not self._fresh[turn.priority]:
                del self._fresh[turn.priority]
        else:
            heapq.heappop(self._due)
        turn.queued = False
        self._queued -= 1
        self._ready -= 1
        return turn

    @property
    def ready(self) -> int:
        """Turns that wait and may be sent."""
        return self._ready

    def _head_of_due(self) -> Turn | None:
        while self._due and not self._due[0][1].waits:
            heapq.heappop(self._due)
            self._queued -= 1
        return self._due[0][1] if self._due else None

    def _head_of_fresh(self, priority: int) -> Turn | None:
        turns = self._fresh[priority]
        while turns:
            turn = turns[0]
            if turn.waits:
                return turn
            turns.popleft()
            self._queued -= 1
        del self._fresh[priority]
        return None

    # Time

    def _arm(self, wake: float) -> None:
        """Look again at `wake`, unless an earlier timer does so anyhow."""
        if wake < self._timer_at:
            self.close()
            self._timer_at = wake
            self._timer = self.pool.clock.call_at(wake, self._look)

    def _look(self) -> None:
        self._timer = None
        self._timer_at = math.inf
        self.want(self.pool.clock.monotonic())  # also when no slot is free: a turn's rest may end with one
        self.pool.touch(self)

    def close(self) -> None:
        """Forget the timer."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
            self._timer_at = math.inf

    def log_state(self) -> None:
        """Tell the log when the state machine has moved."""
        state = self.capacity.state
        if state is not self._state:
            log.debug(
                "%s: %s to %s, limit %d, in flight %d",
                self.key,
                self._state.value,
                state.value,
                self.capacity.limit,
                self.capacity.in_flight,
            )
            self._state = state
