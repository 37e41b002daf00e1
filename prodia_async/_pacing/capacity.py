"""How many jobs of one type may be in flight: what every limit counts, and the limit that is told.

Arithmetic on times and counts, no loop, no queue. Every method takes the time.
"""

from __future__ import annotations

import math
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from prodia_async._pacing.adaptive import Round

DEFAULT_RETRY_AFTER = 1.0
"""Seconds to wait after a 429 whose Retry-After is missing or senseless, as the vendor's client does."""


class Want(Enum):
    """What a job type would do with a free slot."""

    NOTHING = 0
    REFILL = 1
    GROW = 2


class State(Enum):
    """Where a job type stands; for `stats()` and the log."""

    SLOW_START = "SLOW_START"
    TRACK = "TRACK"
    PROBE = "PROBE"
    ZERO = "ZERO"
    FIXED = "FIXED"


class Ticket:
    """One request in flight, as the arithmetic sees it."""

    __slots__ = ("body_sent", "round", "sent")

    def __init__(self, now: float, growth: Round | None) -> None:
        self.sent = now
        self.body_sent: float | None = None
        self.round = growth


class FixedCapacity:
    """A fixed number of slots, and what is counted of them. A turn that was shed rests in its slot."""

    rests_in_slot = True

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.in_flight = 0
        self.latency: float | None = None
        self.wake = math.inf
        """When to look again, whatever happens until then; whoever looks sets it back first."""

    @property
    def state(self) -> State:
        """The state machine's name for where it stands."""
        return State.FIXED

    def held(self, now: float) -> bool:  # noqa: ARG002 - time is nothing to a fixed limit
        """Whether nothing at all may be sent yet."""
        return False

    def judge(self, now: float) -> None:
        """Take note of what silence has admitted by now."""

    def want(self, now: float, backlog: float) -> Want:  # noqa: ARG002 - the same
        """Say what a free slot would be used for, with `backlog` turns ready to be sent."""
        return Want.REFILL

    def send(self, want: Want, now: float) -> Ticket:  # noqa: ARG002 - the same
        """Count one more request in flight."""
        self.in_flight += 1
        return Ticket(now, None)

    def body_sent(self, ticket: Ticket, now: float) -> bool:
        """Take note that a body is on its way whole; return whether a verdict of silence waits for it."""
        ticket.body_sent = now
        return False

    def headers(self, ticket: Ticket, now: float) -> None:
        """Take a sample of the latency, upload included."""
        sample = now - ticket.sent
        self.latency = sample if self.latency is None else self.latency + 0.1 * (sample - self.latency)

    def success(self, ticket: Ticket, now: float) -> None:
        """Count a job that completed."""
        self.answered(ticket, now)

    def answered(self, ticket: Ticket, now: float) -> None:  # noqa: ARG002 - the same
        """Count a request that was admitted, whatever came of it."""
        self.in_flight -= 1

    def ignore(self, ticket: Ticket, now: float) -> None:  # noqa: ARG002 - the same
        """Count one that was cancelled or lost: the server may still run it."""
        self.in_flight -= 1

    def shed(self, ticket: Ticket, retry_after: float, now: float) -> None:  # noqa: ARG002 - the same
        """Count a 429."""
        self.in_flight -= 1
