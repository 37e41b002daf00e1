"""What a test orders for a single job in `config.emulator`: another latency, a status, a failure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from prodia_async.emulator.checks import flag, integer, number, text
from prodia_async.emulator.request import JobError

if TYPE_CHECKING:
    from typing import TypeAlias

RetryAfter: TypeAlias = "float | str | None"

_NAMES = {
    "fail", "fail_200", "job_part", "key", "latency", "retry_after", "shed", "status", "times",
}  # fmt: skip
_ALWAYS = 1_000_000_000
_WHERE = "config.emulator"


@dataclass(frozen=True)
class Orders:
    """The orders for one job, all optional.

    `latency`: seconds, in place of the emulator's. `job_part`: "first" or "last" in a multipart answer.
    `shed`: answer 429 to the first so many requests of this job. `status`: answer with this status,
    without a slot and without running. `fail`: run, then fail with this reason (400, or 200 with
    `fail_200`). `times`: only the first so many requests, those shed included, get `status` or `fail`.
    `retry_after`: in place of the emulator's. Requests are told apart by `key` (see ReceivedJob.key).
    """

    latency: float | None
    retry_after: RetryAfter
    job_part: str
    shed: int
    status: int | None
    fail: str | None
    fail_200: bool
    times: int


def read_orders(config: dict[str, Any], retry_after: RetryAfter) -> Orders:
    """Read `config.emulator`; `retry_after` is what a shed job is told by default. Raises JobError."""
    orders = config.get("emulator", {})
    if not isinstance(orders, dict) or not orders.keys() <= _NAMES:
        raise JobError(f"{_WHERE}: must be an object with keys of {', '.join(sorted(_NAMES))}")
    job_part = text(orders, "job_part", "first", where=_WHERE)
    if job_part not in ("first", "last"):
        raise JobError(f"{_WHERE}.job_part: must be first or last")
    wait = orders.get("retry_after", retry_after)
    if wait is not None and not isinstance(wait, int | float | str):
        raise JobError(f"{_WHERE}.retry_after: must be a number, a string or null")
    return Orders(
        latency=number(orders, "latency", 0, 0, 86400, where=_WHERE) if "latency" in orders else None,
        retry_after=wait,
        job_part=job_part,
        shed=integer(orders, "shed", 0, 0, _ALWAYS, where=_WHERE),
        status=integer(orders, "status", 0, 300, 599, where=_WHERE) if "status" in orders else None,
        fail=text(orders, "fail", None, where=_WHERE) if "fail" in orders else None,
        fail_200=flag(orders, "fail_200", False, where=_WHERE),
        times=integer(orders, "times", _ALWAYS, 0, _ALWAYS, where=_WHERE),
    )
