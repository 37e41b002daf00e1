"""Whether the service fails, or single jobs do: arithmetic on attempts, without a loop or a clock of its own.

An attempt counts against the service when it was not sent, was answered 5xx, or lost its connection. Twenty
of them in a row are a pause; in a row, a job that the service fails on again and again counts once.
All times here are wall-clock seconds, as `Attempt.started_at` has them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from random import Random

    from prodia_async._models import Attempt

AGAINST = frozenset({"not_sent", "server_error", "unknown"})
"""Verdicts that speak against the service."""

RAN = frozenset({"done", "failed"})
"""Verdicts that speak for the service: it ran the job."""

ANSWERED = RAN | {"refused", "malformed", "not_kept", "lost"}
"""Verdicts after which the service is not full: it has dealt with the job."""

_STREAK = 20
_FIRST, _LONGEST = 1.0, 60.0  # seconds
_SEVERAL = 2  # jobs that fail together: a single one may be its own failure


class Backoff:
    """The wait before each trial of a pause: doubles from 1 s to 60 s, of which at least half is waited.

    Half of it is chance ("equal jitter"): other processes on the account pause at the same moment and should
    not come back together. The other half is sure: a trial right after one that failed tells nothing new.
    """

    def __init__(self, chance: Random) -> None:
        self._chance = chance
        self._seconds = _FIRST

    def wait(self) -> float:
        """Return how many seconds to wait now."""
        return self._seconds * self._chance.uniform(0.5, 1.0)

    def grow(self) -> None:
        """Wait longer from now on."""
        self._seconds = min(2 * self._seconds, _LONGEST)


class Streak:
    """Failures in a row that speak against the service."""

    def __init__(self) -> None:
        self.count: int = 0
        self._begun = 0.0
        self._jobs: set[str] = set()
        self._answered: set[str] = set()

    @property
    def several(self) -> bool:
        """Whether different jobs failed."""
        return len(self._jobs) >= _SEVERAL

    def add(self, custom_id: str, attempt: Attempt) -> None:
        """Count a failure: each that was not sent, and any other once a job, which may be what crashes it."""
        if attempt.verdict != "not_sent":
            if custom_id in self._answered:
                return
            self._answered.add(custom_id)
        if not self.count:
            self._begun = _begun(attempt)
        self.count += 1
        self._jobs.add(custom_id)

    def is_ended_by(self, success: Attempt) -> bool:
        """Whether a success ends it: an answer to a request sent before it began proves nothing."""
        return _begun(success) > self._begun


class _Job:
    """What is known of a job while it is under way.

    `chance`: how many pauses there had been at its second chance; `failed`: when an attempt first had failed.
    """

    __slots__ = ("chance", "failed", "is_out")

    def __init__(self) -> None:
        self.chance: int | None = None
        self.failed = float("inf")
        self.is_out = False


class Health:
    """The service as the batch's attempts show it, and what that means for a job that has run out of them."""

    def __init__(self) -> None:
        self.paused: bool = False
        self.reason: str = ""
        self._pauses = 0
        self._resumed = float("-inf")
        self._last_success = float("-inf")
        self._streak = Streak()
        self._jobs: dict[str, _Job] = {}
        self._out = 0

    @property
    def idle(self) -> bool:
        """Whether no job is between its first attempt and its end, or its wait for a second chance."""
        return not self._out

    @property
    def several_failed(self) -> bool:
        """Whether different jobs have failed in a row."""
        return self._streak.several

    def begin(self, custom_id: str) -> None:
        """Take note of a job that is to be run."""
        self._jobs[custom_id] = _Job()

    def set_out(self, custom_id: str, *, out: bool) -> None:
        """Say whether a job is on its way through its attempts, or waits for a second chance."""
        job = self._jobs[custom_id]
        self._out += out - job.is_out
        job.is_out = out

    def leave(self, custom_id: str) -> None:
        """Forget a job; harmless if it is forgotten."""
        if custom_id in self._jobs:
            self.set_out(custom_id, out=False)
            del self._jobs[custom_id]

    def note(self, custom_id: str, attempt: Attempt) -> bool:
        """Take note of an ended attempt; return whether a pause begins with it."""
        if attempt.verdict in RAN:
            self._last_success = max(self._last_success, _begun(attempt))
            if self._streak.count and self._streak.is_ended_by(attempt):
                self._streak = Streak()
        elif attempt.verdict in AGAINST:
            self.reason = _reason(attempt)
            return self._note_failure(custom_id, attempt)
        return False

    def _note_failure(self, custom_id: str, attempt: Attempt) -> bool:
        if self.paused or (attempt.verdict != "not_sent" and self._fails_alone(custom_id, attempt)):
            return False
        self._streak.add(custom_id, attempt)
        if self._streak.count >= _STREAK:
            self.pause()
        return self.paused

    def _fails_alone(self, custom_id: str, attempt: Attempt) -> bool:
        """Whether another job was begun after this one had failed, and succeeded: that the service is there.

        Without this rule twenty such jobs, left over when all others are done, would be a pause without end.
        """
        job = self._jobs.get(custom_id)
        if job is None:
            return False
        job.failed = min(job.failed, _begun(attempt) + attempt.elapsed)
        return self._last_success > job.failed

    def pause(self) -> None:
        """Begin a pause."""
        self.paused = True
        self._pauses += 1

    def resume(self, now: float) -> None:
        """End the pause: the service is there again."""
        self.paused = False
        self._resumed = now
        self._streak = Streak()

    def last_chance(self) -> None:
        """End a pause in which nothing succeeded: whoever fails now fails for a cause of its own."""
        self.paused = False
        self._streak = Streak()
        for job in self._jobs.values():
            job.chance = self._pauses

    def second_chance(self, custom_id: str, attempts: Sequence[Attempt]) -> bool | None:
        """Tell whether a job that has run out of attempts is run again; None where that is not known yet.

        None: what becomes of other jobs will tell whether it failed alone.
        """
        against = [attempt for attempt in attempts if attempt.verdict in AGAINST]
        if not against or attempts[-1] is not against[-1]:
            return False
        if against[-1].verdict == "not_sent" or self.paused or self._resumed > _begun(attempts[0]):
            return True
        if self._last_success > _begun(against[0]) or self._jobs[custom_id].chance == self._pauses:
            return False
        return None

    @property
    def few_left(self) -> bool:
        """Whether so few jobs are under way that all of them may be at fault."""
        return len(self._jobs) < _STREAK

    def grant(self, custom_id: str) -> None:
        """Take note of a second chance: there is one, unless a pause comes in between."""
        self._jobs[custom_id].chance = self._pauses


def _begun(attempt: Attempt) -> float:
    return attempt.started_at.timestamp()


def _reason(attempt: Attempt) -> str:
    status = "" if attempt.status is None else f"status {attempt.status}"
    return attempt.reason or status or attempt.verdict.replace("_", " ")
