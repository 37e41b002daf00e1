"""What a failed job must tell, checked in one place."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from support.replies import REQUEST_ID

from prodia_async import Job, Prodia, ProdiaError

JOB = Job("inference.test.v1", {"prompt": "a cat"}, custom_id="cat-1")


async def until(condition: Callable[[], object]) -> None:
    """Let the loop run until the condition holds, for 5 seconds at most."""
    for _ in range(5000):
        if condition():
            return
        await asyncio.sleep(0.001)
    raise AssertionError("it never came to that")


async def failure(kind: type[ProdiaError], prodia: Prodia, **options: Any) -> Any:
    """Run the job, and return the error of exactly this kind that it ends with."""
    job = options.pop("job", JOB)
    with pytest.raises(kind) as caught:
        await prodia.run(job, **options)
    assert type(caught.value) is kind
    stats = prodia.stats()
    assert (stats.completed, stats.jobs) == (0, stats.failed)
    return caught.value


def assert_told(
    error: ProdiaError, verdicts: list[str], *, may_have_run: bool, status: int | None = None, says: str = ""
) -> None:
    """Check what the error records of each attempt, and that its message names job, place and reason."""
    assert [attempt.verdict for attempt in error.attempts] == verdicts
    assert [attempt.number for attempt in error.attempts] == list(range(1, len(verdicts) + 1))
    assert all(attempt.elapsed >= 0 and attempt.waited >= 0 for attempt in error.attempts)
    assert error.may_have_run is may_have_run
    assert str(error).startswith("inference.test.v1 (custom_id 'cat-1'): ")
    assert says in str(error)
    assert error.attempts[-1].status == status
    if status is not None:
        assert f"status {status}" in str(error)
        assert f"request id {REQUEST_ID}" in str(error)
        assert error.attempts[-1].request_id == REQUEST_ID
    if len(verdicts) > 1:
        assert f"{len(verdicts)} attempts" in str(error)
