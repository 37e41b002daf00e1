"""A discrete-event world for the limiter: a clock that jumps, and a service that sheds.

The server's model is the one that the limiter was designed with (docs/limiter.md).
"""

from __future__ import annotations

import bisect
import heapq
import itertools
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol, TypeAlias

if TYPE_CHECKING:
    import random

ONE_WAY = 0.015  # seconds, +-20 %
Callback: TypeAlias = Callable[[], object]
RetryAfter: TypeAlias = "Callable[[random.Random], float | None]"


class Timer:
    __slots__ = ("callback",)

    def __init__(self, callback: Callback) -> None:
        self.callback: Callback | None = callback

    def cancel(self) -> None:
        self.callback = None


class Clock:
    """The package's `Clock`, on events instead of time."""

    def __init__(self) -> None:
        self.now = 0.0
        self._events: list[tuple[float, int, Timer]] = []
        self._count = itertools.count()

    def monotonic(self) -> float:
        return self.now

    def wall(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        raise NotImplementedError("nothing sleeps in a world of events")

    def call_at(self, when: float, callback: Callback) -> Timer:
        timer = Timer(callback)
        heapq.heappush(self._events, (max(when, self.now), next(self._count), timer))
        return timer

    def call_later(self, seconds: float, callback: Callback) -> Timer:
        return self.call_at(self.now + seconds, callback)

    def step(self) -> bool:
        """Run the next event; False when there is none."""
        while self._events:
            when, _, timer = heapq.heappop(self._events)
            if timer.callback is not None:
                self.now = when
                timer.callback()
                return True
        return False


class Capacity:
    """K over time: steps of (from second, slots)."""

    def __init__(self, steps: list[tuple[float, int]]) -> None:
        self.times = [time for time, _ in steps]
        self.slots = [slots for _, slots in steps]

    def at(self, now: float) -> int:
        return self.slots[bisect.bisect_right(self.times, now) - 1]

    def next_change(self, now: float) -> float:
        index = bisect.bisect_right(self.times, now)
        return self.times[index] if index < len(self.times) else math.inf

    def mean(self, until: float) -> float:
        return offered([self], math.inf, until) / until


def constant(slots: int) -> Capacity:
    return Capacity([(0.0, slots)])


def step(before: int, after: int, at: float = 20.0) -> Capacity:
    return Capacity([(0.0, before), (at, after)])


def outage(slots: int, at: float = 20.0, length: float = 20.0) -> Capacity:
    return Capacity([(0.0, slots), (at, 0), (at + length, slots)])


def sine(middle: int, swing: int, period: float = 120.0) -> Capacity:
    """Change once a second, for two hours."""
    wave = (middle + swing * math.sin(2 * math.pi * second / period) for second in range(7200))
    return Capacity([(float(second), round(slots)) for second, slots in enumerate(wave)])


def walk(chance: random.Random, low: int, high: int, every: float = 2.0) -> Capacity:
    """Move by up to an eighth of the range `every` so many seconds, for two hours; begin in the middle."""
    slots, stride = (low + high) // 2, max(1, (high - low) // 8)
    steps = []
    for index in range(int(7200 / every)):
        steps.append((index * every, slots))
        slots = min(high, max(low, slots + chance.randint(-stride, stride)))
    return Capacity(steps)


class Request(Protocol):
    """What a client sends; the server tells it what came of it."""

    def shed(self, retry_after: float | None) -> object: ...
    def headers(self) -> object: ...
    def ended(self) -> object: ...


class Server:
    """A request that arrives while `busy < K` runs for a lognormal time; otherwise it is shed at once."""

    def __init__(
        self,
        clock: Clock,
        chance: random.Random,
        capacity: Capacity,
        *,
        mean: float = 2.0,
        sigma: float = 0.5,
        retry_after: RetryAfter | None = None,
        noise: float = 0.0,
        late: float = 0.0,
        one_way: float = ONE_WAY,
        download: tuple[float, float] | None = None,
        free_at_headers: bool = False,
    ) -> None:
        self.clock, self.chance, self.capacity = clock, chance, capacity
        self.mean, self.sigma = mean, sigma
        self.retry_after = retry_after or usual_retry_after
        self.noise, self.late, self.one_way = noise, late, one_way
        self.download, self.free_at_headers = download, free_at_headers
        self.busy = 0
        self.out = 0
        """Requests that clients have open: those on the way, too."""
        self.arrivals: list[float] = []
        self.sheds: list[float] = []
        self.runs: list[tuple[float, float]] = []

    def way(self) -> float:
        return self.one_way * self.chance.uniform(0.8, 1.2)

    def arrive(self, request: Request) -> None:
        now = self.clock.now
        self.arrivals.append(now)
        if self.busy >= self.capacity.at(now) or (self.noise and self.chance.random() < self.noise):
            self.sheds.append(now)
            told = self.retry_after(self.chance)
            delay = self.way() + (self.chance.uniform(0, self.late) if self.late else 0.0)
            self.clock.call_later(delay, lambda: request.shed(told))
            return
        self.busy += 1
        length = self.chance.lognormvariate(math.log(self.mean) - self.sigma**2 / 2, self.sigma)
        reading = self._reading() if self.download else 0.0
        held = length if self.free_at_headers else length + reading
        self.runs.append((now, now + held))
        self.clock.call_later(held, self._free)
        self._answer(request, length + self.way(), reading)

    def _reading(self) -> float:
        """Return how long a client reads its reply: short and long times alike, on a logarithmic scale."""
        shortest, longest = self.download or (1.0, 1.0)
        return math.exp(self.chance.uniform(math.log(shortest), math.log(longest)))

    def _free(self) -> None:
        self.busy -= 1

    def _answer(self, request: Request, after: float, reading: float) -> None:
        if reading:
            self.clock.call_later(after, request.headers)
            self.clock.call_later(after + reading, request.ended)
            return

        def whole() -> None:
            request.headers()
            request.ended()

        self.clock.call_later(after, whole)

    def reached(self, level: float, since: float) -> float:
        """Return how long after `since` at least `level` slots were first in use."""
        changes = [(begin, 1) for begin, _ in self.runs] + [(end, -1) for _, end in self.runs]
        busy = 0
        for time, change in sorted(changes):
            if time > since and busy >= level:
                return 0.0
            busy += change
            if time > since and busy >= level:
                return time - since
        return math.inf


def usual_retry_after(chance: random.Random) -> float | None:
    """Return 1 s in 80 %, 5 s in 10 %, and nothing in 10 % of the cases."""
    draw = chance.random()
    return 1.0 if draw < 0.8 else 5.0 if draw < 0.9 else None


def overlap(spans: list[tuple[float, float]], begin: float, end: float) -> float:
    """Return the seconds that the spans have between `begin` and `end`."""
    return sum(max(0.0, min(right, end) - max(left, begin)) for left, right in spans)


def offered(capacities: list[Capacity], cap: float, until: float) -> float:
    """Return the slot-seconds that services under one cap offered until then."""
    total = now = 0.0
    while now < until:
        end = min(until, *(capacity.next_change(now) for capacity in capacities))
        total += min(cap, sum(capacity.at(now) for capacity in capacities)) * (end - now)
        now = end
    return total
