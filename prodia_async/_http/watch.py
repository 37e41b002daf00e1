"""The time limits of a run, and of each thing in it that the server must do, on the client's clock."""

from __future__ import annotations

import math
from enum import IntEnum
from typing import TYPE_CHECKING

from prodia_async._pacing.clock import Deadline, Deadlines

if TYPE_CHECKING:
    from prodia_async._models import VerdictKind
    from prodia_async._pacing.turn import Turn
    from prodia_async._settings import Timeouts

CONTINUE = 1.0
"""Seconds for which a server may say whether it wants a body, as with curl; then it gets it unasked."""

_FIRST_BYTE = 60.0
"""Seconds that the answer to a question may take at most: unlike a job, it needs no work of the service's."""


class Phase(IntEnum):
    """How far a conversation has come. It only goes forward: an upload may go on while the reply is read."""

    CONNECT = 0
    SEND = 1
    ANSWER = 2
    READ = 3


class Watch(Deadline):
    """By when the server must have done the next thing, and the whole run must be over: `limit`.

    One serves all conversations of a run, one after another; `post` or `ask` begins each. Time that our own
    sources and sinks take counts for the run alone. `turn`: of the job that is sent, None for a question.
    """

    __slots__ = ("_first_byte", "_timeouts", "limit", "phase", "turn")

    def __init__(self, deadlines: Deadlines, timeouts: Timeouts, limit: float = math.inf) -> None:
        super().__init__(deadlines, limit)
        self.limit: float = limit
        self.phase: Phase = Phase.CONNECT
        self.turn: Turn | None = None
        self._timeouts = timeouts

    def post(self, turn: Turn, first_byte: float, *, expects: bool) -> None:
        """Begin an attempt; its answer may take `first_byte` seconds, or more if `Timeouts` says so."""
        self.turn = turn
        self.phase = Phase.CONNECT
        self._first_byte = max(first_byte, self._timeouts.first_byte)
        self.allow(self._timeouts.connect + (CONTINUE if expects else 0.0))

    def ask(self) -> None:
        """Begin a question."""
        self.turn = None
        self.phase = Phase.CONNECT
        self._first_byte = min(self._timeouts.first_byte, _FIRST_BYTE)
        self.allow(self._timeouts.connect + self._first_byte)

    def allow(self, seconds: float) -> None:
        """Give the server so much time from now on."""
        when = self._deadlines.clock.monotonic() + seconds
        self.when = when = min(when, self.limit)
        if when < self._look_at:
            self.move(when)

    @property
    def left(self) -> float:
        """Seconds that the whole run has left."""
        return self.limit - self._deadlines.clock.monotonic()

    @property
    def was_sent(self) -> bool:
        """Whether the service may have the job."""
        return self.turn is None or self.turn.body_sent_at is not None or self.phase is Phase.READ

    def block_ready(self) -> None:
        """Wait for the server to take a block."""
        if self.phase <= Phase.SEND:
            self.phase = Phase.SEND
            self.allow(self._timeouts.idle)

    def block_taken(self) -> None:
        """Wait for the source, which may take its time."""
        if self.phase <= Phase.SEND:
            self.phase = Phase.SEND
            self.when: float = self.limit

    connected = block_taken  # after connecting, the source is waited for

    def body_sent(self) -> None:
        """Wait for the server's answer."""
        if self.turn is not None:
            self.turn.body_sent()
        if self.phase <= Phase.ANSWER:
            self.phase = Phase.ANSWER
            self.allow(self._first_byte)

    def reading(self, seconds: float | None = None) -> None:
        """Wait for the next piece of the reply or, for so many `seconds`, for all that is left of it."""
        self.phase = Phase.READ
        self.allow(self._timeouts.idle if seconds is None else seconds)

    def own_time(self) -> None:
        """Wait for our own side: a sink, a place, a pause. Nothing is asked of the server meanwhile."""
        self.when = self.limit

    def spare(self, until: float) -> None:
        """Extend the limit of the run, too."""
        self.when = until
        self.limit = max(self.limit, until)

    def lift_limit(self) -> None:
        """Let the whole run take any time from now on."""
        if self.when == self.limit:
            self.when = math.inf
        self.limit = math.inf

    def was_late(self) -> bool:
        """Tell whether a cancellation came from the time of the present phase; it ends with that.

        The time of the whole run is not met here: it ends the block.
        """
        if self._deadlines.clock.monotonic() >= self.limit or not self.took():
            return False
        self.when = self.limit
        return True

    def lateness(self) -> tuple[VerdictKind, str]:
        """Say what did not come in time."""
        timeouts = self._timeouts
        if self.phase is Phase.READ:
            kind: VerdictKind = "unknown" if self.turn is None else "timed_out"
            return kind, f"nothing came of the reply for Timeouts.idle={timeouts.idle:g} s"
        if self.turn is None:
            return "unknown", f"no answer within {timeouts.connect + self._first_byte:g} s"
        if self.phase is Phase.CONNECT:
            return "not_sent", f"no connection within Timeouts.connect={timeouts.connect:g} s"
        if self.phase is Phase.SEND:
            idle = timeouts.idle
            return "timed_out", f"the server took nothing of the request for Timeouts.idle={idle:g} s"
        return "timed_out", f"no answer within Timeouts.first_byte={timeouts.first_byte:g} s"
