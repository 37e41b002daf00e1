"""What a batch says, to its user's functions and to the log. Nothing that is said can undo what was done."""

from __future__ import annotations

import contextlib
import logging
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from prodia_async.batch._entries import Problem

_log = logging.getLogger("prodia_async")

_MOST = 100


def say(level: int, message: str, *values: object, **options: Any) -> None:
    """Log; a handler or a filter of the user's own may raise what it likes."""
    with contextlib.suppress(BaseException):
        _log.log(level, message, *values, **options)


def tell(name: str, function: Callable[..., object], value: object) -> None:
    """Call a user's function, called `name`: whatever it raises is logged, and the work goes on."""
    try:
        function(value)
    except BaseException:  # noqa: BLE001 - even SystemExit: the jobs in flight are paid for
        say(logging.ERROR, "%s raised", name, exc_info=True)


class Problems:
    """The bad lines of a manifest: all are counted and told to `listener`, the first are kept."""

    def __init__(self, listener: Callable[[Problem], object] | None) -> None:
        self.first: list[Problem] = []
        self.count: int = 0
        self._listener = listener

    def add(self, problem: Problem) -> None:
        """Take note of a bad line."""
        self.count += 1
        if len(self.first) < _MOST:
            self.first.append(problem)
        if self._listener is not None:
            tell("on_problem", self._listener, problem)
