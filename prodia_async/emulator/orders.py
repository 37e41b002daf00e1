"""What a test orders for a single job in `config.emulator`: a latency, a price, a status, a failure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from prodia_async.emulator.checks import flag, integer, number, text
from prodia_async.emulator.request import JobError

if TYPE_CHECKING:
    from typing import TypeAlias

RetryAfter: TypeAlias = "float | str | None"

_NAMES = {
    "async", "drop", "fail", "fail_200", "job_part", "key", "latency", "lifetime", "poll_status",
    "poll_times", "price", "retry_after", "shed", "state", "status", "times",
}  # fmt: skip
_ALWAYS = 1_000_000_000
_MOST_DOLLARS = 1_000_000
_WHERE = "config.emulator"


@dataclass(frozen=True)
class Orders:
    """The orders for one job, all optional.

    `latency`: seconds, in place of the emulator's. `job_part`: "first" or "last" in a multipart answer.
    `shed`: answer 429 to the first so many requests of this job. `status`: answer with this status,
    without a slot and without running. `fail`: run, then fail with this reason (400, or 200 with
    `fail_200`). `drop`: run and bill the job, then close the connection "before" the answer or "during" it,
    when half of the body was sent. `times`: only the first so many requests, those shed included, get
    `status`, `fail` or `drop`. `retry_after` and `price`, in dollars, are in place of the emulator's; null is
    none. Requests are told apart by `key` (see ReceivedJob.key).

    Of an asynchronous job, `drop` closes the connection "before" the answer to its submission, or "during"
    the first `times` downloads. `asynchronous` (written `async`): false refuses its submission. `lifetime`:
    seconds, in place of the emulator's. `poll_status`: answer with this status to the first `poll_times`
    requests about it. `state`: what its state is said to be while it is processing, exactly.
    """

    latency: float | None
    retry_after: RetryAfter
    job_part: str
    shed: int
    status: int | None
    fail: str | None
    fail_200: bool
    drop: str | None
    times: int
    price: float | None
    asynchronous: bool
    lifetime: float | None
    poll_status: int | None
    poll_times: int
    state: str | None


def read_orders(config: dict[str, Any], retry_after: RetryAfter, price: float | None) -> Orders:
    """Read `config.emulator`; `retry_after` and `price` hold where it orders none. Raises JobError."""
    orders = config.get("emulator", {})
    if not isinstance(orders, dict) or not orders.keys() <= _NAMES:
        raise JobError(f"{_WHERE}: must be an object with keys of {', '.join(sorted(_NAMES))}")
    wait = orders.get("retry_after", retry_after)
    if wait is not None and not isinstance(wait, int | float | str):
        raise JobError(f"{_WHERE}.retry_after: must be a number, a string or null")
    return Orders(
        latency=_seconds(orders, "latency"),
        retry_after=wait,
        job_part=_choice(orders, "job_part", "first", "last") or "first",
        shed=integer(orders, "shed", 0, 0, _ALWAYS, where=_WHERE),
        status=_status(orders, "status"),
        fail=text(orders, "fail", None, where=_WHERE) if "fail" in orders else None,
        fail_200=flag(orders, "fail_200", False, where=_WHERE),
        drop=_choice(orders, "drop", "before", "during"),
        times=integer(orders, "times", _ALWAYS, 0, _ALWAYS, where=_WHERE),
        price=_price(orders, price),
        asynchronous=flag(orders, "async", True, where=_WHERE),
        lifetime=_seconds(orders, "lifetime"),
        poll_status=_status(orders, "poll_status"),
        poll_times=integer(orders, "poll_times", _ALWAYS, 0, _ALWAYS, where=_WHERE),
        state=text(orders, "state", None, where=_WHERE) if "state" in orders else None,
    )


def _seconds(orders: dict[str, Any], name: str) -> float | None:
    return number(orders, name, 0, 0, 86400, where=_WHERE) if name in orders else None


def _status(orders: dict[str, Any], name: str) -> int | None:
    return integer(orders, name, 0, 300, 599, where=_WHERE) if name in orders else None


def _choice(orders: dict[str, Any], name: str, *choices: str) -> str | None:
    if name not in orders:
        return None
    if orders[name] not in choices:
        raise JobError(f"{_WHERE}.{name}: must be {' or '.join(choices)}")
    return str(orders[name])


def _price(orders: dict[str, Any], default: float | None) -> float | None:
    if orders.get("price", default) is None:
        return None
    return number(orders, "price", default or 0.0, 0, _MOST_DOLLARS, where=_WHERE)
