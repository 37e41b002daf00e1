"""What follows an attempt, or a question: arithmetic on counts, times and chance, without a loop."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import random

    from prodia_async._models import Verdict
    from prodia_async._settings import Polling, Retry

DEFAULT_RETRY_AFTER = 1.0  # seconds, if a 429's is missing or senseless; as the vendor's client waits
_FIRST_SILENCE, _SILENCE = 0.2, (0.05, 2.0)  # seconds: before a 429 was seen; least and most
_SHORTENED = 0.2  # how much of a wait chance may take away, so that not all ask together for ever


def backoff(failures: int, retry: Retry, chance: random.Random) -> float:
    """Return the wait in seconds after `failures` failures before (full jitter, doubling up to a cap)."""
    return chance.uniform(0.0, min(retry.max_backoff, retry.backoff * 2.0 ** min(failures, 64)))


class Silence:
    """How many `seconds` of silence after a body mean admission: a 429's round trip, with a margin."""

    def __init__(self) -> None:
        self.seconds = _FIRST_SILENCE
        self.round_trip = self.spread = 0.0  # a 429's, and how far others are from it

    def learn(self, sample: float) -> None:
        """Take the round trip of one more 429."""
        if self.round_trip:
            self.spread += (abs(sample - self.round_trip) - self.spread) / 4
            self.round_trip += (sample - self.round_trip) / 8
        else:
            self.round_trip, self.spread = sample, sample / 2
        least, most = _SILENCE
        self.seconds = max(least, min(most, self.round_trip + 4 * self.spread + 0.01))


class Retries:
    """What one job has left of its two budgets: time for sheds, and counts for failures."""

    def __init__(self, retry: Retry, chance: random.Random) -> None:
        self._retry = retry
        self._chance = chance
        self._errors = self._resends = 0
        self._first_shed: float | None = None

    def wait_after(self, verdict: Verdict, now: float) -> float | None:
        """Return how many seconds to back off before the next attempt, or None when this verdict is final.

        0 after a shed: the limiter itself holds the job's turn until its Retry-After has passed.
        """
        retry, told = self._retry, verdict.retry_after
        if told is None:
            told = DEFAULT_RETRY_AFTER if verdict.kind == "shed" else 0.0
        if verdict.kind == "shed":
            if self._first_shed is None:
                self._first_shed = now
            is_over = retry.patience is not None and now + told - self._first_shed > retry.patience
            return None if is_over or told > retry.max_retry_after else 0.0
        if verdict.kind in ("not_sent", "server_error"):
            self._errors += 1
            if verdict.final or self._errors > retry.max_errors or told > retry.max_retry_after:
                return None
            return max(told, backoff(self._errors - 1, retry, self._chance))
        if verdict.kind in ("unknown", "malformed", "lost") and self._resends < retry.resend_unknown:
            self._resends += 1
            return backoff(self._resends - 1, retry, self._chance)
        return None


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
        self._is_free = ("shed", "server_error", "unknown") if is_poll else ("shed", "server_error")
        self._next = polling.interval
        self._errors = 0

    def after_answer(self) -> float:
        """Return how many seconds to wait before the next question; failures before it are forgotten."""
        self._errors = 0
        return self._grown()

    def after_failure(self, verdict: Verdict) -> float | None:
        """Return how many seconds to wait before the same question, or None when this verdict is final."""
        if verdict.final:
            return None
        if verdict.kind not in self._is_free:
            if verdict.kind not in ("unknown", "malformed") or self._errors >= self._retry.max_errors:
                return None
            self._errors += 1
        # Asking costs nothing: a longer Retry-After than we would wait for is no reason to lose the job.
        told = min(verdict.retry_after or 0.0, self._retry.max_retry_after)
        return max(told, self._grown())

    def _grown(self) -> float:
        wait = self._next * self._chance.uniform(1.0 - _SHORTENED, 1.0)
        self._next = min(self._next * self._polling.growth, self._polling.max_interval)
        return wait
