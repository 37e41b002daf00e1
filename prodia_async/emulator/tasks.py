"""A job on its way: what was understood of it, and what came of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from uuid import uuid4

from prodia_async.emulator.answer import now

if TYPE_CHECKING:
    from datetime import datetime

    from prodia_async.emulator.faults.kinds import Fault
    from prodia_async.emulator.jobs import OutputFile, Plan
    from prodia_async.emulator.media import Accept
    from prodia_async.emulator.orders import Orders
    from prodia_async.emulator.request import ReceivedJob


@dataclass(frozen=True)
class Task:
    """A job that was understood: what to do with it, and what its answer is made of."""

    received: ReceivedJob
    orders: Orders
    plan: Plan
    accept: Accept
    attempt: int
    priced: bool
    fault: Fault | None = None
    id: str = field(default_factory=lambda: str(uuid4()))
    created: datetime = field(default_factory=now)

    @property
    def media_type(self) -> str:
        """The type of the first output: the one asked for where it can be made, else its own."""
        if self.accept.media_type in self.plan.choices:
            return self.accept.media_type or ""
        return self.plan.media_types[0] if self.plan.media_types else ""

    @property
    def within_times(self) -> bool:
        """Whether this request is one of the first so many that get the ordered fault."""
        return self.attempt <= self.orders.times


@dataclass(frozen=True)
class Finished:
    """What came of a job: its outputs and metrics, or the error that it failed with."""

    outputs: tuple[OutputFile, ...] = ()
    metrics: dict[str, float] = field(default_factory=dict)
    error: str | None = None
