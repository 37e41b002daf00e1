"""What follows an attempt: arithmetic on counts, times and chance, without a loop or a clock of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prodia_async._pacing.capacity import DEFAULT_RETRY_AFTER

if TYPE_CHECKING:
    import random

    from prodia_async._models import Verdict
    from prodia_async._settings import Retry


def backoff(failures: int, retry: Retry, chance: random.Random) -> float:
    """Return the wait in seconds after `failures` failures before (full jitter, doubling up to a cap)."""
    return chance.uniform(0.0, min(retry.max_backoff, retry.backoff * 2.0 ** min(failures, 64)))


class Course:
    """One job's way through its attempts: two budgets, time for sheds and counts for failures."""

    def __init__(self, retry: Retry, chance: random.Random) -> None:
        self._retry = retry
        self._chance = chance
        self._errors = 0
        self._resends = 0
        self._first_shed: float | None = None

    def wait_after(self, verdict: Verdict, now: float) -> float | None:
        """Return how many seconds to back off before the next attempt, or None when this verdict is final.

        0 after a shed: the limiter itself holds the job's turn until its Retry-After has passed.
        """
        if verdict.is_final:
            return None
        if verdict.kind == "shed":
            told = verdict.retry_after
            return self._after_shed(DEFAULT_RETRY_AFTER if told is None else told, now)
        if verdict.kind in ("not_sent", "server_error"):
            return self._after_error(verdict.retry_after or 0.0)
        if verdict.kind in ("unknown", "malformed", "lost") and self._resends < self._retry.resend_unknown:
            self._resends += 1
            return backoff(self._resends - 1, self._retry, self._chance)
        return None

    def _after_shed(self, retry_after: float, now: float) -> float | None:
        if self._first_shed is None:
            self._first_shed = now
        patience = self._retry.patience
        if patience is not None and now + retry_after - self._first_shed > patience:
            return None
        return None if retry_after > self._retry.max_retry_after else 0.0

    def _after_error(self, retry_after: float) -> float | None:
        self._errors += 1
        if self._errors > self._retry.max_errors or retry_after > self._retry.max_retry_after:
            return None
        return max(retry_after, backoff(self._errors - 1, self._retry, self._chance))
