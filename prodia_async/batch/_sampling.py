"""Samples of a batch's progress over time, for the charts of its report."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prodia_async.batch._journal import Sample

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from prodia_async._pacing.clock import Clock, Timer
    from prodia_async.batch._report import Progress

_EVERY = 1.0
_SHARE = 1000
"""Samples are `_EVERY` seconds apart, and later 1/1000 of the time that the run has taken."""


class Sampler:
    """`async with Sampler(...)`: takes a sample at the start, at the end and now and then in between."""

    def __init__(self, clock: Clock, look: Callable[[], Progress], keep: Callable[[Sample], object]) -> None:
        self._clock = clock
        self._look = look
        self._keep = keep
        self._started = clock.monotonic()
        self._timer: Timer | None = None
        self._idle: Sample | None = None

    async def __aenter__(self) -> None:
        self._sample()
        self._arm()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._sample()

    def _arm(self) -> None:
        now = self._clock.monotonic()
        self._timer = self._clock.call_at(now + max(_EVERY, (now - self._started) / _SHARE), self._tick)

    def _tick(self) -> None:
        self._sample()
        self._arm()

    def _sample(self) -> None:
        """Take a sample. Of those before the first request only the last is kept: a run may send none."""
        progress = self._look()
        counts = [getattr(progress, name) for name in Sample.__struct_fields__[1:]]
        sample = Sample(self._clock.wall(), *counts)
        if not sample.requests:
            self._idle = sample
            return
        if self._idle is not None:
            self._keep(self._idle)
            self._idle = None
        self._keep(sample)
