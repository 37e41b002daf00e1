"""The slots in which jobs run: true idle capacity, as the service sheds by it."""

from __future__ import annotations

import time


class Slots:
    """So many jobs may run at once; `capacity` can change at any time, and a cut never ends a running job.

    `busy_seconds` is the integral of the busy slots over time, `peak` the most that were busy at once.
    """

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.busy = 0
        self.peak = 0
        self._busy_seconds = 0.0
        self._since = time.monotonic()

    @property
    def capacity(self) -> int:
        """How many jobs may run at once; zero sheds everything."""
        return self._capacity

    @capacity.setter
    def capacity(self, capacity: int) -> None:
        if capacity < 0:
            raise ValueError(f"capacity cannot be {capacity}")
        self._capacity = capacity

    @property
    def idle(self) -> bool:
        """Whether a job that came now would be taken."""
        return self.busy < self._capacity

    @property
    def busy_seconds(self) -> float:
        """Seconds of slots in use until now: two slots busy for three seconds make six."""
        return self._busy_seconds + self.busy * (time.monotonic() - self._since)

    def take(self) -> Slot | None:
        """Take a slot, or return None where none is idle."""
        if not self.idle:
            return None
        self._change(1)
        self.peak = max(self.peak, self.busy)
        return Slot(self)

    def give_back(self) -> None:
        """Make one busy slot idle again."""
        self._change(-1)

    def _change(self, step: int) -> None:
        self._busy_seconds = self.busy_seconds
        self._since = time.monotonic()
        self.busy += step


class Slot:
    """One busy slot; releasing it again does nothing."""

    def __init__(self, slots: Slots) -> None:
        self._slots: Slots | None = slots

    def release(self) -> None:
        """Make the slot idle."""
        slots, self._slots = self._slots, None
        if slots is not None:
            slots.give_back()
