"""Who sends: clients that drive the real `Limiter` and `Turn`, and two peers' ways for comparison."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from prodia_async._pacing.turn import Turn

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

    from world import Clock, Server

    from prodia_async._pacing.limiter import Limiter
    from prodia_async._pacing.line import Line

MISSING_RETRY_AFTER = 1.0  # seconds; what clients take in its place
EARLY = 1e-9  # seconds of rounding that are no early send


class Waiter:
    """What is told of a slot where a program has a future."""

    __slots__ = ("callback", "got")

    def __init__(self, callback: Callable[[], object]) -> None:
        self.callback = callback
        self.got = False

    def done(self) -> bool:
        return self.got

    def set_result(self, _: None) -> None:
        self.got = True
        self.callback()


class Job:
    """One job on its way through a client's limiter; it is also the request of its present attempt."""

    __slots__ = (
        "client",
        "ended_at",
        "first_sent",
        "joined",
        "not_before",
        "open",
        "sent",
        "sheds",
        "turn",
    )
    turn: Turn

    def __init__(self, client: Client) -> None:
        self.client = client
        self.joined = client.clock.now
        self.first_sent = self.ended_at = -1.0
        self.sent = self.not_before = 0.0
        self.sheds = 0
        self.open = False

    def start(self) -> None:
        limiter, client = self.client.limiter, self.client
        line = limiter.join(client.key, bounded=False)
        self.turn = Turn(limiter=limiter, line=line, priority=client.priority)
        self._wait()

    def _wait(self) -> None:
        if self.turn.take():
            self._send()
        else:
            self.turn.ask(Waiter(self._send))

    def _send(self) -> None:
        client = self.client
        self.open, self.sent = True, client.clock.now
        client.early += self.sent < self.not_before - EARLY
        if self.first_sent < 0:
            self.first_sent = self.sent
        client.sends += 1
        client.server.out += 1
        client.clock.call_later(client.upload, self._uploaded)

    def _uploaded(self) -> None:
        server = self.client.server
        if self.open:
            self.turn.body_sent()
        self.client.clock.call_later(server.way(), lambda: server.arrive(self))

    def shed(self, retry_after: float | None) -> None:
        if not self._end_attempt():
            return
        self.sheds += 1
        self.client.sheds += 1
        told = MISSING_RETRY_AFTER if retry_after is None else retry_after
        self.not_before = self.client.clock.now + told
        self.turn.shed(retry_after)
        self._wait()

    def headers(self) -> None:
        if self.open:
            self.turn.headers()

    def ended(self) -> None:
        if not self._end_attempt():
            return
        self.turn.success()
        self.turn.leave()
        self.ended_at = self.client.clock.now
        self.client.finished()

    def _end_attempt(self) -> bool:
        self.client.server.out -= 1
        was_open, self.open = self.open, False
        if was_open:
            self.client.flights.append((self.sent, self.client.clock.now))
        return was_open

    def cancel(self) -> None:
        """Leave at once; a request in flight stays on the server, which may still run it."""
        was_open, self.open = self.open, False
        if was_open:
            self.turn.ignore()
        self.turn.leave()


class Client:
    """A process with a limiter of its own, or one of several job types in one.

    `ahead`: how many jobs a feeder keeps started; None: all at once. `needed`: whether the world runs on
    until its jobs are done.
    """

    def __init__(
        self,
        clock: Clock,
        server: Server,
        limiter: Limiter,
        jobs: int,
        *,
        key: str = "a",
        priority: int = 0,
        upload: float = 0.0,
        ahead: int | None = None,
        needed: bool = True,
    ) -> None:
        self.clock, self.server, self.limiter, self.key = clock, server, limiter, key
        self.priority, self.upload, self.ahead, self.needed = priority, upload, ahead, needed
        self.wanted = jobs
        self.jobs: list[Job] = []
        self.flights: list[tuple[float, float]] = []
        self.done = self.sends = self.sheds = self.early = 0

    @property
    def line(self) -> Line | None:
        return self.limiter.lines.get(self.key)

    def start(self) -> None:
        """Put all jobs in line at once, or as many as the feeder may, which says that there are more."""
        if self.ahead is not None:
            self.limiter.expect_more(yes=True)
        while len(self.jobs) < self.wanted and (self.ahead is None or len(self.jobs) < self.ahead):
            self.add()

    def add(self) -> None:
        job = Job(self)
        self.jobs.append(job)
        job.start()

    def arrive(self, chance: random.Random, rate: float) -> None:
        """Put jobs in line one by one, so many a second on average."""
        if len(self.jobs) < self.wanted:
            self.add()
            self.clock.call_later(chance.expovariate(rate), lambda: self.arrive(chance, rate))

    def finished(self) -> None:
        self.done += 1
        if self.ahead is not None and len(self.jobs) < self.wanted:
            self.add()
            if len(self.jobs) == self.wanted:
                self.limiter.expect_more(yes=False)

    def cancel(self) -> None:
        """Cancel all jobs as a scope does: no waiter takes a slot any more before the first one leaves."""
        open_jobs = [job for job in self.jobs if job.ended_at < 0]
        for job in open_jobs:
            if isinstance(job.turn.waiter, Waiter):
                job.turn.waiter.got = True
        for job in open_jobs:
            job.cancel()
        self.wanted = self.done


class Hammer:
    """A client without a limiter: `most` jobs at once, each sent again after its Retry-After.

    `attempts`: after so many 429s a job is lost; None: never. A job that waits keeps its place.
    """

    def __init__(
        self, clock: Clock, server: Server, jobs: int, *, most: float, attempts: int | None = None
    ) -> None:
        self.clock, self.server, self.wanted = clock, server, jobs
        self.attempts = attempts
        self.most = min(most, jobs)
        self.jobs: list[HammerJob] = []
        self.flights: list[tuple[float, float]] = []
        self.done = self.sends = self.sheds = self.early = self.lost = 0
        self.needed, self.line = True, None

    def start(self) -> None:
        waiting = deque(HammerJob(self) for _ in range(self.wanted))
        self.jobs = list(waiting)
        self.waiting = waiting
        for _ in range(int(self.most)):
            waiting.popleft().send()

    def over(self) -> None:
        self.done += 1
        if self.waiting:
            self.waiting.popleft().send()


class HammerJob:
    """One job of such a client."""

    __slots__ = ("client", "ended_at", "first_sent", "joined", "sent", "sheds")

    def __init__(self, client: Hammer) -> None:
        self.client = client
        self.first_sent = self.ended_at = -1.0
        self.joined = self.sent = client.clock.now
        self.sheds = 0

    def send(self) -> None:
        client = self.client
        self.sent = client.clock.now
        if self.first_sent < 0:
            self.first_sent = self.sent
        client.sends += 1
        client.server.out += 1
        client.clock.call_later(client.server.way(), lambda: client.server.arrive(self))

    def shed(self, retry_after: float | None) -> None:
        client = self.client
        client.server.out -= 1
        client.sheds += 1
        self.sheds += 1
        if self.sheds == client.attempts:
            client.lost += 1
            client.over()
            return
        client.clock.call_later(MISSING_RETRY_AFTER if retry_after is None else retry_after, self.send)

    def headers(self) -> None:
        """Nothing is made of it."""

    def ended(self) -> None:
        self.client.server.out -= 1
        self.client.flights.append((self.sent, self.client.clock.now))
        self.ended_at = self.client.clock.now
        self.client.over()
