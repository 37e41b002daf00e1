"""A progress bar for many jobs, on a terminal and in a notebook. The extra `progress`, or `notebook`.

    from prodia_async.progress import track

    async with track(prodia.as_completed(jobs, to="out/"), total=len(jobs)) as outcomes:
        async for outcome in outcomes:
            ...

With `prodia_async.blocking` it is `with` and `for`.
"""

from __future__ import annotations

import contextlib
import sys
from typing import IO, TYPE_CHECKING, Any, overload

from prodia_async._errors import InputError, quoted
from prodia_async._extras import missing

try:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
except ImportError as _error:
    raise ImportError(missing("prodia_async.progress", "rich", "progress")) from _error

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Iterator
    from contextlib import AbstractAsyncContextManager, AbstractContextManager

    from prodia_async import Outcome
    from prodia_async.blocking import AsCompleted as BlockingAsCompleted
    from prodia_async.types import AsCompleted

__all__ = ["track"]


@overload
def track(
    outcomes: AsCompleted, total: int | None = None, *, label: str = "jobs", console: Console | None = None
) -> AbstractAsyncContextManager[AsyncIterator[Outcome]]: ...
@overload
def track(
    outcomes: BlockingAsCompleted,
    total: int | None = None,
    *,
    label: str = "jobs",
    console: Console | None = None,
) -> AbstractContextManager[Iterator[Outcome]]: ...
def track(
    outcomes: Any, total: int | None = None, *, label: str = "jobs", console: Console | None = None
) -> Any:
    """Enter the block of `as_completed`, and show beside it how many jobs are done and failed.

    `total`: how many jobs there are, which also says how much time is left; without it the bar tells only
    that something goes on. `label` stands before the bar. `console`: rich's; default: standard error, or the
    notebook's cell. The bar ends with the block, whatever ends that; a bar that cannot be drawn ends nothing.
    """
    if total is not None and not isinstance(total, int):
        raise InputError(
            f"total cannot be {quoted(total)}: it takes how many jobs there are, such as len(jobs)"
        )
    bar = _Bar(total, label, console)
    return _track_async(outcomes, bar) if hasattr(outcomes, "__aenter__") else _track(outcomes, bar)


@contextlib.asynccontextmanager
async def _track_async(block: AsCompleted, bar: _Bar) -> AsyncIterator[AsyncIterator[Outcome]]:
    async def counted() -> AsyncGenerator[Outcome]:
        async for outcome in outcomes:
            bar.count(outcome)
            yield outcome

    with bar:
        async with block as outcomes, contextlib.aclosing(counted()) as each:
            yield each


@contextlib.contextmanager
def _track(block: BlockingAsCompleted, bar: _Bar) -> Iterator[Iterator[Outcome]]:
    with bar, block as outcomes:
        yield (bar.count(outcome) for outcome in outcomes)


class _StandardError(Console):
    def on_broken_pipe(self) -> None:
        """Say no more. Rich would end the program, and have its standard output go nowhere."""
        self.quiet = True


class _Bar(Progress):
    def __init__(self, total: int | None, label: str, console: Console | None) -> None:
        console = console or _StandardError(stderr=True)
        # Rich draws what is printed meanwhile above the bar: not what goes into a file or a pipe.
        super().__init__(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[failed]}", style="red"),
            TimeRemainingColumn(),
            console=console,
            redirect_stdout=console.is_jupyter or _is_terminal(sys.stdout),
            redirect_stderr=console.is_jupyter or _is_terminal(sys.stderr),
        )
        self._failed = 0
        self._jobs = self.add_task(label, total=total, failed="")

    def start(self) -> None:
        """Begin to draw."""
        with _undisturbed():
            super().start()

    def refresh(self) -> None:
        """Draw the bar as it is now."""
        with _undisturbed():
            super().refresh()

    def stop(self) -> None:
        """End the bar as it is now: in a notebook rich would leave it as it was drawn last."""
        self.refresh()
        with _undisturbed():
            super().stop()

    def count(self, outcome: Outcome) -> Outcome:
        """Count a job that has ended."""
        self._failed += outcome.error is not None
        self.update(self._jobs, advance=1, failed=f"{self._failed:,} failed" if self._failed else "")
        return outcome


@contextlib.contextmanager
def _undisturbed() -> Iterator[None]:
    """Let the jobs go on where the bar cannot be drawn: of a closed pipe rich makes a SystemExit."""
    with contextlib.suppress(Exception, SystemExit):
        yield


def _is_terminal(stream: IO[str] | None) -> bool:
    with contextlib.suppress(ValueError):  # a closed one
        return stream is not None and stream.isatty()
    return False
