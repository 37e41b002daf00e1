"""When an asynchronous job is asked for again: arithmetic on settings and chance, without a loop."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import random

    from prodia_async._models import Verdict, VerdictKind
    from prodia_async._settings import Polling, Retry

_SHORTENED = 0.2
"""How much of a wait chance may take away, so that jobs submitted together do not ask together for ever."""

_BUSY: tuple[VerdictKind, ...] = ("shed", "server_error")
_BROKEN: tuple[VerdictKind, ...] = ("unknown", "malformed")


class Waits:
    """The waits of one who asks for one job: each is longer than the one before, up to a cap.

    A service that is busy (429) or fails (5xx) is waited out for ever; an answer that is broken counts in
    `Retry.max_errors`. For a poll, where nothing is lost by asking again, a connection that breaks counts
    for nothing either.
    """

    def __init__(self, polling: Polling, retry: Retry, chance: random.Random, *, is_poll: bool) -> None:
        self._polling = polling
        self._retry = retry
        self._chance = chance
        self._is_free = (*_BUSY, "unknown") if is_poll else _BUSY
        self._next = polling.interval
        self._errors = 0

    def after_answer(self) -> float:
        """Return how many seconds to wait before the next question; failures before it are forgotten."""
        self._errors = 0
        return self._grown()

    def after_failure(self, verdict: Verdict) -> float | None:
        """Return how many seconds to wait before the same question, or None when this verdict is final."""
        if verdict.kind not in self._is_free:
            if verdict.kind not in _BROKEN or self._errors >= self._retry.max_errors:
                return None
            self._errors += 1
        # Asking costs nothing: a longer Retry-After than we would wait for is no reason to lose the job.
        told = min(verdict.retry_after or 0.0, self._retry.max_retry_after)
        return max(told, self._grown())

    def _grown(self) -> float:
        wait = self._next * self._chance.uniform(1.0 - _SHORTENED, 1.0)
        self._next = min(self._next * self._polling.growth, self._polling.max_interval)
        return wait
