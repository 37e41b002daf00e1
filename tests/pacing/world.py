"""A small random world around a real limiter, which watches that the limiter's promises hold at every step.

It has no event loop: a job is told of its slot where a program has a future, and time jumps from one event to
the next. Types have their own services, whose room changes; jobs come, are cancelled wherever they stand,
lose their connections, read slowly, and are answered before their bodies were sent.
"""

from __future__ import annotations

import heapq
import itertools
import math
import random
from functools import partial

from pacing.bench import join

from prodia_async._pacing.clock import Alarm
from prodia_async._pacing.limiter import Limiter
from prodia_async._pacing.line import Phase

DEADLINE = 5_000.0  # seconds by which each world has ended
CHANGES = 60.0  # seconds after which the services' room stays as it is
LOOKS = 25.0  # the limiter's timers a second and type: patience is at least 0.05 s, a probe interval 0.18 s


class Timer:
    def __init__(self, callback):
        self.callback = callback

    def cancel(self):
        self.callback = None


def is_look(callback):
    """Tell whether a line's time to look again has come."""
    alarm = getattr(callback, "__self__", None)
    return isinstance(alarm, Alarm) and isinstance(alarm.callback, partial)


class Leaving(random.Random):
    """Chance by which slots are left to others more often than usual: the worlds are small."""

    def random(self):
        return super().random() / 16

    def uniform(self, a, b):
        return a + (b - a) * super().random()


class Clock:
    """A clock that jumps, and counts the limiter's own timers."""

    def __init__(self):
        self.now = 0.0
        self.looks = self.looks_now = 0
        self._order = itertools.count()
        self._events = []

    def monotonic(self):
        return self.now

    wall = monotonic

    def call_at(self, when, callback):
        assert when < math.inf
        timer = Timer(callback)
        heapq.heappush(self._events, (max(when, self.now), next(self._order), timer))
        return timer

    def call_later(self, seconds, callback):
        return self.call_at(self.now + seconds, callback)

    @property
    def next_due(self):
        while self._events and self._events[0][2].callback is None:
            heapq.heappop(self._events)
        return self._events[0][0] if self._events else math.inf

    def step(self):
        """Run the next event."""
        assert self.next_due < math.inf, "somebody waits for ever"
        when, _, timer = heapq.heappop(self._events)
        callback, timer.callback = timer.callback, None
        if when > self.now:
            self.now, self.looks_now = when, 0
        if is_look(callback):
            self.looks += 1
            self.looks_now += 1
        callback()


class Service:
    """One type's service: it runs as many as there is room for, and sheds the others at once."""

    def __init__(self, world):
        chance = world.chance
        self.clock, self.chance = world.clock, chance
        self.busy = 0
        self.room = chance.choice([0, 1, 2, 5, 12, 40])
        self.latency = chance.choice([0.02, 0.5, 3.0])
        self.noise = chance.choice([0.0, 0.0, 0.1])
        for _ in range(chance.randrange(4)):
            room = chance.choice([0, 1, 3, 20])
            self.clock.call_at(chance.uniform(0.0, CHANGES), lambda room=room: self.change(room))
        self.clock.call_at(CHANGES, lambda: self.change(chance.choice([1, 4, 30])))

    def change(self, room):
        self.room = room

    def admits(self):
        """Take a request in, whether or not its client stays; return whether there was room."""
        if self.busy >= self.room or self.chance.random() < self.noise:
            return False
        self.busy += 1
        return True

    def run(self, reply):
        def done():
            self.busy -= 1
            reply()

        self.clock.call_later(self.latency * self.chance.lognormvariate(0.0, 0.5), done)


class Job:
    """One job, and what its attempts come to."""

    def __init__(self, world, key, number):
        self.world, self.key, self.number = world, key, number
        self.turn = join(world.limiter, key, number % 3, bounded=False)
        self.order = next(world.orders)
        self.not_before = 0.0
        self.over = False
        self.waiting = False
        self.reading = False
        self.attempt = 0
        self.wait()

    @property
    def rank(self):
        """Return its place within its type: smaller priority, those sent before, by age."""
        first = self.turn.first_sent
        return self.turn.priority, not first, first or self.order

    def wait(self):
        self.waiting = True
        self.attempt += 1
        self.was_fresh, self.was_rank = not self.turn.first_sent, self.rank
        if self.world.takes and self.number % 5:
            alone = not any(each.waiting or each.rests for each in self.world.jobs if each is not self)
            if self.turn.take():
                self.got()
                return
            self.turn.ask(Waiting(self))
            assert self.waiting or not alone, "a free slot was not to be had at once, though nobody waited"
        else:
            self.turn.ask(Waiting(self))

    @property
    def rests(self):
        return self.turn.phase is Phase.RESTING

    @property
    def is_open(self):
        return self.turn.phase is Phase.SENDING

    def got(self):
        self.world.watch_send(self)
        self.waiting = False
        chance, later = self.world.chance, self.world.clock.call_later
        attempt = self.attempt
        upload = chance.choice([0.0, 0.0, 0.01, 1.0])
        fate = chance.random()
        if fate < 0.04:
            later(upload / 2, lambda: self.lost(attempt))
        elif fate < 0.08:
            later(upload / 2, lambda: self.early(attempt))
        else:
            later(upload, lambda: self.uploaded(attempt))

    def here(self, attempt):
        return not self.over and attempt == self.attempt

    def lost(self, attempt):
        if self.here(attempt):
            self.turn.ignore()
            self.wait()

    def early(self, attempt):
        """An answer before the body was sent whole."""
        if self.here(attempt):
            if self.world.chance.random() < 0.5:
                self.shed()
            else:
                self.turn.end()
                self.finish()

    def uploaded(self, attempt):
        if not self.here(attempt):
            return
        self.turn.body_sent()
        chance, later = self.world.chance, self.world.clock.call_later
        service = self.world.services[self.key]
        if service.admits():
            service.run(lambda: self.headers(attempt))
        else:
            late = chance.choice([0.02, 0.02, 0.02, 0.6])
            later(late, lambda: self.here(attempt) and self.shed())

    def shed(self):
        told = self.world.chance.choice([1.0, 1.0, 1.0, None, 5.0, 0.2, 0.0])
        self.not_before = self.world.clock.now + (1.0 if told is None else told)
        self.world.watch_shed(self, told)
        self.wait()

    def headers(self, attempt):
        if not self.here(attempt):
            return
        fate = self.world.chance.random()
        if fate < 0.1:
            self.turn.end()
            self.finish()
        elif fate < 0.4:
            self.reading = True  # a new latency may make a probe worth while: seen when the slot is free
            self.turn.headers()
            self.world.clock.call_later(
                self.world.chance.choice([0.1, 0.9, 1.0, 4.0]), lambda: self.complete(attempt)
            )
        else:
            self.turn.headers()
            self.complete(attempt)

    def complete(self, attempt):
        if self.here(attempt):
            self.world.successes[self.key] += 1
            self.turn.success()
            self.finish()

    def cancel(self):
        if self.over:
            return
        if not self.waiting:
            self.turn.ignore()
        self.waiting = False
        self.finish()

    def finish(self):
        self.over = True
        self.turn.leave()


class Waiting:
    """What is told of a slot."""

    def __init__(self, job):
        self.job = job
        self.is_done = False

    def done(self):
        return self.is_done

    def set_result(self, _):
        self.is_done = True
        self.job.got()


class World:
    """Jobs of several types, and the promises that hold at each of their steps."""

    def __init__(self, seed, settings, jobs=40, *, takes=True):
        self.chance = chance = random.Random(seed)
        self.clock = Clock()
        self.limiter = Limiter(settings, self.clock, Leaving(seed + 1))
        self.takes = takes
        self.sent = []
        self.orders = itertools.count()
        keys = "abcd"[: chance.randrange(1, 5)]
        shared = Service(self) if chance.random() < 0.4 else None
        self.services = {key: shared or Service(self) for key in keys}
        self.left = self.shared = 0
        self.successes = dict.fromkeys(keys, 0)
        self.forgiven = dict.fromkeys(keys, 0)
        self.zero_until = dict.fromkeys(keys, 0.0)
        self.jobs = []
        self.sends = self.sheds = 0
        for _ in range(chance.randrange(6)):
            self.clock.call_at(chance.uniform(0.0, 40.0), self.disturb)
        together = chance.random() < 0.5
        for number in range(jobs):
            at = 0.0 if together else chance.uniform(0.0, 30.0)
            self.clock.call_at(at, lambda number=number: self.add(number))

    def add(self, number):
        job = Job(self, self.chance.choice(list(self.services)), number)
        self.jobs.append(job)
        if self.chance.random() < 0.3:
            self.clock.call_later(self.chance.choice([0.0, 0.5, 5.0, 50.0]), job.cancel)

    def disturb(self):
        """Have the types find out, whether or not it is so, that others are here, or that they share."""
        rooms = [line.capacity for line in self.limiter.lines.values()]
        rooms = [room for room in rooms if room.state not in ("ZERO", "FIXED")]
        for room in rooms:
            if self.chance.random() < 0.5:
                room._moves_until = self.clock.now + 100.0
                room.share_no_more()
            else:
                for each in rooms:
                    if each is not room:
                        room.shares[each] = each.shares[room] = 3

    def run(self, jobs=40):
        while len(self.jobs) < jobs or any(not job.over for job in self.jobs):
            self.clock.step()
            self.watch_counts()
            if self.clock.next_due > self.clock.now:
                self.watch_slots()
            assert self.clock.now < DEADLINE
        while self.clock.next_due < math.inf:  # what the services still run
            self.clock.step()

    # The promises

    def watch_send(self, job):
        """A slot was just given to the job."""
        self.sends += 1
        line, now = self.limiter.lines[job.key], self.clock.now
        capacity = line.capacity
        grows = job.turn.round is not None and capacity.state != "ZERO"
        self.sent.append((now, job.number, grows))
        assert now >= job.not_before, "sent before the service said"
        assert self.limiter.in_use <= self.limiter.limit
        others = [each for each in self.jobs if each.waiting and each is not job and not each.rests]
        same = [each for each in others if each.key == job.key]
        first = min([job.turn.priority, *(each.turn.priority for each in same)])
        before = line.in_use - 1
        for key, other in self.limiter.lines.items():
            ready = [each for each in others if each.key == key]
            if key != job.key and ready and self.may_refill(other):
                least = min(each.turn.priority for each in ready)
                assert (first, before) <= (least, other.in_use), "another type was first"
        if not capacity.fixed:
            assert capacity.in_flight + self.left_by(capacity) <= capacity.limit <= self.limiter.limit
            assert not (grows and capacity.left), "a probe took what was left to others"
            assert now >= max(capacity.hold_until, self.zero_until[job.key])
            if capacity.state == "ZERO":
                assert capacity.in_flight == 1
        if not grows:
            assert job.was_rank <= min([each.rank for each in same], default=job.was_rank)
        else:
            self.watch_probe(job, same, capacity)

    def watch_probe(self, job, same, capacity):
        fresh = [each for each in same if not each.turn.first_sent]
        if not job.was_fresh:
            assert not fresh, "a probe was a job that was shed, while a fresh one waited"
        elif capacity.state == "SLOW_START":
            assert all(job.turn.priority <= each.turn.priority for each in fresh)
        else:
            assert all(job.turn.priority >= each.turn.priority for each in fresh)

    def watch_shed(self, job, told):
        capacity = self.limiter.lines[job.key].capacity
        limit, since = capacity.limit, capacity.state == "ZERO"
        self.sheds += 1
        job.turn.shed(told)
        if capacity.fixed:
            assert job.rests or told == 0.0
            return
        left = self.left_by(capacity)
        if capacity.limit != max(1, min(limit, capacity.in_flight + left)):
            assert capacity.limit <= limit
            self.forgiven[job.key] += 1
            assert self.forgiven[job.key] <= 1 + 0.5 * self.successes[job.key] + 0.5 * self.limiter.lingering
        if capacity.state == "ZERO" and (not since or capacity.in_flight == 0):
            seconds = min(1.0 if told is None else told, 1.5 * capacity._retry_after)
            self.zero_until[job.key] = self.clock.now + seconds

    def watch_counts(self):
        open_now = dict.fromkeys(self.services, 0)
        lingering = waiting = 0
        for job in self.jobs:
            open_now[job.key] += job.is_open
            lingering += job.turn.phase is Phase.LINGERING
            waiting += job.waiting
        for key, line in self.limiter.lines.items():
            room = line.capacity
            assert room.in_flight == open_now[key]
            assert 1 <= room.limit <= self.limiter.limit
            assert all(each.shares[room] == count for each, count in room.shares.items())
            assert room.state != "ZERO" or not room.shares
            self.shared += len(room.shares)
            self.left += len(room.left)
            assert room.state != "ZERO" or not room.left
        resting = sum(line.resting for line in self.limiter.lines.values())
        assert self.limiter.in_use == sum(open_now.values()) + resting <= self.limiter.limit
        assert (self.limiter.lingering, len(self.limiter.waiters)) == (lingering, waiting)
        assert self.limiter.lingering <= self.limiter.limit
        rests = sum(job.rests for job in self.jobs)
        assert self.clock.looks_now <= 4 * len(self.services) + rests + 10, "it spins at one instant"

    def may_refill(self, line):
        capacity = line.capacity
        if capacity.fixed:
            return True
        is_searching = capacity.round is not None or self.clock.now >= capacity._next_probe
        left = 0 if is_searching else self.left_by(capacity)
        return self.clock.now >= capacity.hold_until and capacity.in_flight + left < capacity.limit

    def left_by(self, capacity):
        """Return how many slots a type leaves to others at present."""
        return sum(until > self.clock.now for until in capacity.left)

    def may_grow(self, line):
        """Whether a probe is due; asked in a way that changes nothing."""
        capacity = line.capacity
        if capacity.state == "ZERO" or capacity.limit >= self.limiter.limit:
            return False
        growth = capacity.round
        if growth is not None:
            return growth.sent < growth.size
        knows = capacity.state != "SLOW_START" and capacity.latency is not None
        if knows and line.ready * capacity.latency < capacity._longest * capacity.in_flight:
            return False  # a slot frees sooner than a probe that is shed could be sent again
        return self.clock.now >= capacity._next_probe

    def watch_slots(self):
        """Before time goes on: each slot is in use, or nobody wants one."""
        if self.limiter.in_use == self.limiter.limit:
            return
        for key, line in self.limiter.lines.items():
            ready = [job for job in self.jobs if job.key == key and job.waiting and not job.rests]
            assert len(ready) == line.ready
            if ready:
                assert not self.may_refill(line), "a job waits beside a free slot"
                reading = any(job.key == key and job.reading and job.is_open for job in self.jobs)
                assert reading or not self.may_grow(line), "a job waits beside a probe that is due"

    def watch_end(self):
        """All jobs are over."""
        assert self.limiter.in_use == len(self.limiter.waiters) == self.limiter.lingering == 0
        assert all(not line.turns and line.ready == 0 for line in self.limiter.lines.values())
        assert not any(job.is_open for job in self.jobs)
        assert self.sends <= sum(job.attempt for job in self.jobs)
        assert self.clock.looks <= LOOKS * self.clock.now * len(self.services) + 2 * (self.sheds + self.sends)
