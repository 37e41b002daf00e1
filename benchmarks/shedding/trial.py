"""One run of one scenario: its world, the checks after every event, and what is measured of it."""

from __future__ import annotations

import math
import random
from typing import TYPE_CHECKING, Any, TypeAlias

from clients import Client, Hammer
from world import Capacity, Clock, Server, offered, overlap

from prodia_async._pacing.limiter import Limiter
from prodia_async._settings import Adaptive

if TYPE_CHECKING:
    from collections.abc import Sequence

Measures: TypeAlias = dict[str, float]

SIMULATED_CAP = 1000
WITHOUT_TAIL = 0.95  # goodput is counted until so many of the jobs have ended


class Trial:
    """Servers, limiters and clients on one clock."""

    def __init__(self, seed: int) -> None:
        self.clock = Clock()
        self.chance = random.Random(seed)
        self.limiters: list[Limiter] = []
        self.clients: list[Client | Hammer] = []
        self.free = 0.0  # the longest time that a job waited while its server and its cap had room
        self.idle_slots = 0  # events that left a job in line, with room in its limit and in the cap
        self._free_since: dict[Server, float] = {}
        self._users: dict[Server, list[Client]] = {}

    def server(self, capacity: Capacity, **options: Any) -> Server:
        server = Server(self.clock, self.chance, capacity, **options)
        self._users[server] = []
        return server

    def limiter(self, cap: int = SIMULATED_CAP) -> Limiter:
        limiter = Limiter(Adaptive(max_concurrency=cap), self.clock, random.Random(self.chance.random()))
        self.limiters.append(limiter)
        return limiter

    def client(self, server: Server, limiter: Limiter, jobs: int, **options: Any) -> Client:
        client = Client(self.clock, server, limiter, jobs, **options)
        self.clients.append(client)
        self._users[server].append(client)
        return client

    def hammer(self, server: Server, jobs: int, **options: Any) -> Hammer:
        client = Hammer(self.clock, server, jobs, **options)
        self.clients.append(client)
        return client

    def run(self, until: float = math.inf) -> Measures:
        """Run until all needed clients' jobs are done, or to a time; return what every scenario measures."""
        needed = [client for client in self.clients if client.needed]
        for client in needed:
            while client.done < client.wanted and self.clock.now < until:
                if not self.clock.step() or self.clock.now > 1e6:
                    raise RuntimeError(f"the world stands still at {self.clock.now:.1f} s")
                self._look()
        measures = self.measure(needed, self.clients)
        if self._users:  # what other types' services have run counts for the limiter
            servers, until = list(self._users), self.almost_end(needed)
            measures["goodput"] = self.goodput(servers, 0.0, until)
        return measures

    def run_until(self, end: float) -> None:
        """Run to a time, whoever still has jobs then."""
        while self.clock.now < end and self.clock.step():
            self._look()

    def _look(self) -> None:
        """Check what must hold after every event."""
        now = self.clock.now
        for server, clients in self._users.items():
            waits = False
            for client in clients:
                line = client.line
                if line is not None and line.ready and client.limiter.in_use < client.limiter.limit:
                    waits = True
                    known = line.capacity
                    left = sum(until > now for until in known.left)
                    self.idle_slots += known.in_flight + left < known.limit and now >= known.hold_until
            if waits and max(server.busy, server.out) < server.capacity.at(now):
                self._free_since.setdefault(server, now)
            elif server in self._free_since:
                self.free = max(self.free, now - self._free_since.pop(server))

    @property
    def cap(self) -> float:
        """How many requests all limiters together may have out."""
        return sum(limiter.limit for limiter in self.limiters) or math.inf

    def almost_end(self, clients: Sequence[Client | Hammer]) -> float:
        """Return when nearly all jobs had ended."""
        return almost_last(_ends(clients))

    def goodput(self, servers: list[Server], begin: float, end: float) -> float:
        """Return the share of the slot-seconds that was used."""
        return goodput(servers, self.cap, begin, end)

    def measure(self, clients: Sequence[Client | Hammer], shed: Sequence[Client | Hammer]) -> Measures:
        """Measure some clients; the requests that were shed are counted of those in `shed`."""
        servers = list({id(client.server): client.server for client in clients}.values())
        work = sum(end - begin for server in servers for begin, end in server.runs)
        ends = _ends(clients)
        jobs = sum(client.wanted for client in clients)
        return {
            "span": ends[-1] / ideal([server.capacity for server in servers], self.cap, work),
            "goodput": self.goodput(servers, 0.0, self.almost_end(clients)),
            "sheds": sum(client.sheds for client in shed) / jobs,
            "most": max(job.sheds for client in shed for job in client.jobs),
            "jain": _jain(clients),
            "free": self.free,
            **self.checks(),
            "lost": jobs - len(ends),
            "requests": sum(client.sends for client in clients) / jobs,
            "seconds": ends[-1],
        }

    def checks(self) -> Measures:
        """Return what must be 0 in every scenario."""
        return {
            "early": sum(client.early for client in self.clients),
            "idle": self.idle_slots,
            "leaked": sum(abs(self._leaked(limiter)) for limiter in self.limiters),
            "lost": 0,
        }

    def _leaked(self, limiter: Limiter) -> int:
        """Return how many slots more are taken than requests are out."""
        out = sum(
            job.open
            for client in self.clients
            if isinstance(client, Client) and client.limiter is limiter
            for job in client.jobs
        )
        return limiter.in_use + limiter.lingering - out

    def in_flight(self, client: Client, begin: float, end: float) -> float:
        """Return how many requests a client had out on average."""
        out = [(job.sent, end) for job in client.jobs if job.open]
        return overlap(client.flights + out, begin, end) / (end - begin)


def almost_last(ends: list[float]) -> float:
    return ends[math.ceil(WITHOUT_TAIL * len(ends)) - 1]


def goodput(servers: list[Server], cap: float, begin: float, end: float) -> float:
    """Return the share of the slot-seconds under the cap that was used."""
    capacities = [server.capacity for server in servers]
    used = sum(overlap(server.runs, begin, end) for server in servers)
    return used / (offered(capacities, cap, end) - offered(capacities, cap, begin))


def _ends(clients: Sequence[Client | Hammer]) -> list[float]:
    return sorted(job.ended_at for client in clients for job in client.jobs if job.ended_at >= 0)


def ideal(capacities: list[Capacity], cap: float, work: float) -> float:
    """Return when the slot-seconds offered equal the work."""
    now = done = 0.0
    while True:
        slots = min(cap, sum(capacity.at(now) for capacity in capacities))
        end = min(capacity.next_change(now) for capacity in capacities)
        if slots and done + slots * (end - now) >= work:
            return now + (work - done) / slots
        done += slots * (end - now) if slots else 0.0
        now = end


def _jain(clients: Sequence[Client | Hammer]) -> float:
    """Return Jain's index over the shares done when the first client ends: 1 is fair, 1/n is one for all."""
    ended = [_ends([client]) for client in clients]
    first = min(times[-1] for times in ended if times)
    pairs = zip(ended, clients, strict=True)
    return jain([sum(time <= first for time in times) / client.wanted for times, client in pairs])


def jain(shares: Sequence[float]) -> float:
    return sum(shares) ** 2 / (len(shares) * sum(share**2 for share in shares))
