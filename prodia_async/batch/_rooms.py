"""What a batch is made of, and what one of its jobs knows of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

from prodia_async._errors import ProdiaError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from typing import Any

    from prodia_async._engine import Engine, Engines
    from prodia_async._models import Job
    from prodia_async._settings import Options
    from prodia_async.batch._arming import Arming
    from prodia_async.batch._budget import Till
    from prodia_async.batch._feed import Feed
    from prodia_async.batch._gate import Gate
    from prodia_async.batch._journal import Journal
    from prodia_async.batch._outputs import Outputs
    from prodia_async.batch._scout import Scout
    from prodia_async.batch._tally import Tally
    from prodia_async.batch._telling import Problems


class StoppedError(ProdiaError):
    """The batch ended before this job was sent again."""

    def __init__(self, message: str = "the batch ended before this job was sent") -> None:
        super().__init__(message)


class Rooms(NamedTuple):
    """What a batch is made of."""

    folder: Path
    service: str
    engines: Engines
    engine: Engine
    client: Options
    journal: Journal
    gate: Gate
    till: Till
    arming: Arming
    scout: Scout
    outputs: Outputs
    tally: Tally
    feed: Feed
    problems: Problems


class Batch(Protocol):
    """What a job knows of the batch that it belongs to."""

    rooms: Rooms
    price: bool | None
    timeout: float | None
    tally: Tally
    stopping: bool
    """Whether no more is to be sent."""

    def left(self, job: Job) -> None:
        """Take note that a job is not under way any more."""

    def ends_with(self, error: ProdiaError) -> bool:
        """End the batch if it is the batch that has failed; return whether it is."""

    def write(self, put: Callable[..., Any], *values: Any, **options: Any) -> Any:
        """Tell the journal."""

    async def submitted(self, custom_id: str, job_id: str, expires_at: float | None) -> None:
        """Have the journal know that the service has a job."""
