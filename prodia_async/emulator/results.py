"""The job result: what is told of a job, while it runs and when it has ended (API reference, Job Result)."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from prodia_async.emulator.answer import json_answer, multipart_answer, now, timestamp

if TYPE_CHECKING:
    from prodia_async.emulator.answer import Answer
    from prodia_async.emulator.media import Accept
    from prodia_async.emulator.tasks import Finished, Task

LIFETIME = timedelta(minutes=5)


def job_result(
    task: Task, state: str, finished: Finished | None = None, *, lifetime: timedelta | None = None
) -> dict[str, Any]:
    """Return the result of a job in the given state, without its price.

    It expires `lifetime` from now on; by default, five minutes after its creation.
    """
    expires = task.created + LIFETIME if lifetime is None else now() + lifetime
    result = task.received.job | _times(task.created, expires)
    result |= {"id": task.id, "state": _state(state), "config": task.plan.config}
    if finished is not None and finished.error is not None:
        result["error"] = finished.error
    elif finished is not None:
        result["metrics"] = finished.metrics
    return result | {"emulator": task.received.described(task.attempt)}


def price_part(task: Task) -> dict[str, Any]:
    """Return what a completed job's result tells of its price, to a client that asked for it."""
    dollars = task.orders.price
    product = task.received.type.rpartition(".")[0].replace(".", "-")
    return {"price": None if dollars is None else {"product": product, "dollars": dollars}}


def refused_result(job: dict[str, Any], reason: str) -> dict[str, Any]:
    """Return the result of a job that fails before it runs; `job` is what is known of it."""
    created = now()
    failed = {"id": str(uuid4()), "state": _state("failed"), "error": reason}
    return job | _times(created, created + LIFETIME) | failed


def failed_answer(result: dict[str, Any], accept: Accept, status: int = 400) -> Answer:
    """Return a failed job's result, in a multipart body where the client asked for one."""
    if accept.form == "multipart":
        return multipart_answer(status, result)
    return json_answer(status, result)


def _state(current: str) -> dict[str, Any]:
    return {"current": current, "history": None}


def _times(created: datetime, expires: datetime) -> dict[str, str]:
    return {
        "created_at": timestamp(created),
        "updated_at": timestamp(now()),
        "expires_at": timestamp(expires),
    }
