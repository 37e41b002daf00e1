"""What a batch may cost in the end, and what it spends a minute."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from prodia_async.batch._journal import Totals


class Forecast:
    """Reckons with the mean price of the jobs that are done, in `earlier` runs and in this one."""

    def __init__(self, earlier: Totals, clock: Callable[[], float] = time.monotonic) -> None:
        self.jobs: int | None = None
        """How many the manifest may have, once they are counted."""
        self._earlier = earlier
        self._clock = clock
        self._began: float | None = None

    def expected(self, *, done: int, ended: int, dollars: float | None) -> float | None:
        """Return what all jobs may cost: `done` in this run; `ended` in all, bad lines included."""
        paid = self._earlier.done + done
        if self.jobs is None or dollars is None or not paid:
            return None
        # What earlier runs have done is known before the manifest was read so far.
        return dollars + dollars / paid * max(0, self.jobs - max(ended, paid))

    def a_minute(self, *, requests: int, dollars: float | None) -> float | None:
        """Return the dollars a minute since this run's first request."""
        if self._began is None and requests:
            self._began = self._clock()
        seconds = 0.0 if self._began is None else self._clock() - self._began
        spent = (dollars or 0.0) - (self._earlier.dollars or 0.0)
        return spent / seconds * 60 if spent > 0 and seconds > 0 else None
