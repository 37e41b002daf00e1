"""What the emulator counts: its own account, against which a client's can be checked."""

from __future__ import annotations

import time
from collections import OrderedDict
from dataclasses import dataclass, field
from datetime import UTC, datetime


@dataclass
class EmulatorStats:
    """The emulator's account; `Emulator.stats()` gives a snapshot.

    `requests` to run a job came in, on `/v2/job` or `/v2/job/async`; of these `completed` ran to their end,
    `failed` ran and failed or were answered 5xx, `shed` were answered 429, `refused` any other status.
    `disconnected` clients left before their answer was sent; a job that was running then is completed and
    billed all the same. `billed` jobs cost `dollars`, whether their prices were asked for or not. `repeated`
    of the completed jobs had been completed before: the same job and inputs, or the same
    `config.emulator.key`; the newest 100,000 are known. `bytes_in` and `bytes_out` count the bodies of both
    routes, and of what is asked about asynchronous jobs. `busy_seconds` is the time of slots in use, added
    up; `peak_busy` the most slots in use at once; `drawing_seconds` the time for which jobs held their slots
    longer than their latency, for their outputs were not made yet.

    `submitted` asynchronous jobs were taken; of these `async_jobs` are kept now and `expired` are gone. Their
    states were asked for `polls` times, and `downloads` of their outputs were sent to the last byte.

    `faults` tells how often each fault was met, by name; the other counts tell what it did to the job.
    """

    requests: int = 0
    completed: int = 0
    shed: int = 0
    refused: int = 0
    failed: int = 0
    disconnected: int = 0
    billed: int = 0
    dollars: float = 0.0
    repeated: int = 0
    bytes_in: int = 0
    bytes_out: int = 0
    submitted: int = 0
    polls: int = 0
    downloads: int = 0
    async_jobs: int = 0
    expired: int = 0
    busy: int = 0
    capacity: int = 0
    peak_busy: int = 0
    busy_seconds: float = 0.0
    drawing_seconds: float = 0.0
    started_at: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="milliseconds"))
    faults: dict[str, int] = field(default_factory=dict)

    def answered(self, status: int) -> None:
        """Count an answer to a request to run a job that is not a completed job's."""
        if status == 429:  # noqa: PLR2004 - the status codes of the API reference are plainest as numbers
            self.shed += 1
        elif status >= 500:  # noqa: PLR2004 - as above
            self.failed += 1
        else:
            self.refused += 1

    def faulted(self, name: str) -> None:
        """Count a fault that was met."""
        self.faults[name] = self.faults.get(name, 0) + 1

    def ran(self, dollars: float | None, time: int) -> None:
        """Count a job that ran to its end, for the first `time` or again, and bill it."""
        self.completed += 1
        self.repeated += time > 1
        self.billed += 1
        self.dollars += dollars or 0.0


class Counts:
    """How often each job was seen, by key; the oldest keys are forgotten above `limit`."""

    def __init__(self, limit: int = 100_000) -> None:
        self._limit = limit
        self._counts: OrderedDict[str, int] = OrderedDict()

    def count(self, key: str) -> int:
        """Return 1 for the first time that `key` is seen, then 2, 3, ..."""
        number = self._counts.pop(key, 0) + 1
        self._counts[key] = number
        if len(self._counts) > self._limit:
            self._counts.popitem(last=False)
        return number


class Slots:
    """The slots in which jobs run, and which of them are busy; the capacity says how many there are.

    `busy_seconds` is the integral of the busy slots over time, `peak` the most that were busy at once.
    """

    def __init__(self) -> None:
        self.busy: int = 0
        self.peak: int = 0
        self._busy_seconds = 0.0
        self._since = time.monotonic()

    @property
    def busy_seconds(self) -> float:
        """Seconds of slots in use until now: two slots busy for three seconds make six."""
        return self._busy_seconds + self.busy * (time.monotonic() - self._since)

    def take(self) -> Slot:
        """Take a slot."""
        return Slot(self)

    def change(self, step: int) -> None:
        """Count one busy slot more, or one less."""
        now = time.monotonic()
        self._busy_seconds += self.busy * (now - self._since)
        self._since = now
        self.busy += step
        self.peak = max(self.peak, self.busy)


class Slot:
    """One busy slot; releasing it again does nothing."""

    def __init__(self, slots: Slots) -> None:
        slots.change(1)
        self._slots: Slots | None = slots

    def release(self) -> None:
        """Make the slot idle."""
        slots, self._slots = self._slots, None
        if slots is not None:
            slots.change(-1)
