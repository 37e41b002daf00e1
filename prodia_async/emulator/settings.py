"""What an emulator is set to."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

from prodia_async.emulator.faults.line import Terms
from prodia_async.emulator.faults.table import check_rates

if TYPE_CHECKING:
    import random

    from prodia_async.emulator.answer import RetryAfter

FreeAt: TypeAlias = Literal["headers", "end"]
Prices: TypeAlias = float | Mapping[str, float] | None

_MOST = 1_000_000_000


@dataclass(frozen=True)
class Settings:
    """The options of `Emulator`, checked; see there for their meaning."""

    latency: float
    latency_sigma: float
    retry_after: RetryAfter
    free_at: FreeAt
    token: str
    forbidden: frozenset[str]
    price: Prices
    async_limit: int
    async_lifetime: float
    faults: Mapping[str, float]
    fault_time: float

    def __post_init__(self) -> None:
        for name in ("latency", "latency_sigma", "async_limit", "async_lifetime", "fault_time"):
            if not 0 <= getattr(self, name) <= _MOST:
                raise ValueError(f"{name} cannot be {getattr(self, name)!r}")
        if self.free_at not in ("headers", "end"):
            raise ValueError(f"free_at cannot be {self.free_at!r}: headers or end")
        check_rates(self.faults)

    @property
    def terms(self) -> Terms:
        """What a fault keeps to whose job is not known yet."""
        return Terms(self.fault_time, self.retry_after)

    def draw_latency(self, chance: random.Random) -> float:
        """Return the seconds that one job takes: lognormal around the mean `latency`."""
        if not self.latency or not self.latency_sigma:
            return self.latency
        centre = math.log(self.latency) - self.latency_sigma**2 / 2
        return chance.lognormvariate(centre, self.latency_sigma)

    def dollars(self, job_type: str) -> float | None:
        """Return what a job of the type costs; None where the type has no price."""
        return self.price.get(job_type) if isinstance(self.price, Mapping) else self.price
