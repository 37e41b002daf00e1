"""The bad lines of a manifest: all are counted and told of, the first are kept."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from prodia_async.batch.manifest import Problem

_MOST = 100


class Problems:
    """Collects problems; `listener` hears of each."""

    def __init__(self, listener: Callable[[Problem], object] | None) -> None:
        self.first: list[Problem] = []
        self.count = 0
        self._listener = listener

    def add(self, problem: Problem) -> None:
        """Take note of a bad line."""
        self.count += 1
        if len(self.first) < _MOST:
            self.first.append(problem)
        if self._listener is not None:
            self._listener(problem)
