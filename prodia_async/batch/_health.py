"""Whether the service fails, or single jobs do: arithmetic on attempts, without a loop or a clock of its own.

An attempt counts against the service when it was not sent, was answered 5xx, or lost its connection. Twenty
of them in a row are a pause; in a row, a job that the service fails on again and again counts once.
All times here are wall-clock seconds, as `Attempt.started_at` has them.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from msgspec import Struct

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


class Pause:
    """One cause of a pause: why, since when, and when the next trial is due.

    The wait before a trial doubles from 1 s to 60 s. Half of it is chance ("equal jitter"): other processes
    on the account pause at the same moment and should not come back together. The other half is sure: a trial
    right after one that failed tells nothing new.

    `tried`: writes that waited for room try again now; those that fail set the time of the next trial.
    `failed`: the jobs that have failed where it may be their own fault; None where it certainly is not.
    """

    def __init__(self, reason: str, now: float, chance: Random, failed: set[str] | None = None) -> None:
        self.reason = reason
        self.since = now
        self.failed = failed
        self.tried: bool = False
        self.next_trial: float = now
        self._chance = chance
        self._seconds = _FIRST
        self.postpone(now, grows=False)

    def postpone(self, now: float, *, grows: bool) -> None:
        """Set the time of the next trial: later each time, unless the last one told nothing."""
        self.tried = False
        if grows:
            self._seconds = min(2 * self._seconds, _LONGEST)
        self.next_trial = now + self._seconds * self._chance.uniform(0.5, 1.0)


class _Job(Struct):
    """What is known of a job while it is under way.

    `chance`: how many pauses there had been at its second chance; `failed`: when an attempt first had failed.
    `is_out`: it is on its way through its attempts, and does not wait for a second chance.
    """

    chance: int | None = None
    failed: float = math.inf
    is_out: bool = False


class Health:
    """The service as the batch's attempts show it, and what that means for a job that has run out of them."""

    def __init__(self) -> None:
        self.paused: bool = False
        self.reason: str = ""
        self.jobs: dict[str, _Job] = {}
        """Those under way."""
        self._pauses = 0
        self._resumed = -math.inf
        self._last_success = -math.inf
        self._out = 0
        self._forget_streak()

    def _forget_streak(self) -> None:
        self.streak: int = 0
        """Failures in a row."""
        self._streak_begun = 0.0
        self._answered: set[str] = set()

    @property
    def idle(self) -> bool:
        """Whether no job is between its first attempt and its end, or its wait for a second chance."""
        return not self._out

    @property
    def few_left(self) -> bool:
        """Whether so few jobs are under way that all of them may be at fault."""
        return len(self.jobs) < _STREAK

    def begin(self, custom_id: str) -> None:
        """Take note of a job that is to be run."""
        self.jobs[custom_id] = _Job()

    def set_out(self, custom_id: str, *, out: bool) -> None:
        """Say whether a job is on its way through its attempts, or waits for a second chance."""
        job = self.jobs[custom_id]
        self._out += out - job.is_out
        job.is_out = out

    def leave(self, custom_id: str) -> None:
        """Forget a job; harmless if it is forgotten."""
        job = self.jobs.pop(custom_id, None)
        if job is not None:
            self._out -= job.is_out

    def note(self, custom_id: str, attempt: Attempt) -> bool:
        """Take note of an ended attempt; return whether a pause begins with it."""
        begun = attempt.started_at.timestamp()
        if attempt.verdict in RAN:
            self._last_success = max(self._last_success, begun)
            if (
                self.streak and begun > self._streak_begun
            ):  # an answer to what was sent before it began proves nothing
                self._forget_streak()
        elif attempt.verdict in AGAINST:
            self.reason = _reason(attempt)
            if not self.paused:
                self._note_failure(custom_id, attempt, begun)
                return self.paused
        return False

    def _note_failure(self, custom_id: str, attempt: Attempt, begun: float) -> None:
        """Count one that was not sent, and any other once a job, which may be what crashes the service.

        Not one of a job that fails alone, since another, begun after it had failed, has succeeded: twenty
        such jobs, left over when all others are done, would be a pause without end.
        """
        if attempt.verdict != "not_sent":
            job = self.jobs.get(custom_id)
            if job is not None:
                job.failed = min(job.failed, begun + attempt.elapsed)
                if self._last_success > job.failed:
                    return
            if custom_id in self._answered:
                return
            self._answered.add(custom_id)
        if not self.streak:
            self._streak_begun = begun
        self.streak += 1
        if self.streak >= _STREAK:
            self.pause()

    def pause(self) -> None:
        """Begin a pause."""
        self.paused = True
        self._pauses += 1

    def resume(self, now: float) -> None:
        """End the pause: the service is there again."""
        self.paused = False
        self._resumed = now
        self._forget_streak()

    def last_chance(self) -> None:
        """End a pause in which nothing succeeded: whoever fails now fails for a cause of its own."""
        self.paused = False
        self._forget_streak()
        for job in self.jobs.values():
            job.chance = self._pauses

    def second_chance(self, custom_id: str, attempts: Sequence[Attempt]) -> bool | None:
        """Tell whether a job that has run out of attempts is run again; None where that is not known yet.

        None: what becomes of other jobs will tell whether it failed alone.
        """
        against = [attempt for attempt in attempts if attempt.verdict in AGAINST]
        if not against or attempts[-1] is not against[-1]:
            return False
        if (
            against[-1].verdict == "not_sent"
            or self.paused
            or self._resumed > attempts[0].started_at.timestamp()
        ):
            return True
        begun = against[0].started_at.timestamp()
        if self._last_success > begun or self.jobs[custom_id].chance == self._pauses:
            return False
        return None

    def grant(self, custom_id: str) -> None:
        """Take note of a second chance: there is one, unless a pause comes in between."""
        self.jobs[custom_id].chance = self._pauses


def _reason(attempt: Attempt) -> str:
    status = "" if attempt.status is None else f"status {attempt.status}"
    return attempt.reason or status or attempt.verdict.replace("_", " ")
