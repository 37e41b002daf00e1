"""What a test orders for a single job in `config.emulator`: a latency, a price, a status, a failure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from prodia_async.emulator.checks import flag, integer, number, text
from prodia_async.emulator.faults.line import Terms
from prodia_async.emulator.faults.table import FAULTS, fault_of_type
from prodia_async.emulator.request import JobError

if TYPE_CHECKING:
    from prodia_async.emulator.answer import RetryAfter
    from prodia_async.emulator.request import ReceivedJob

_NAMES = {
    "async", "drop", "fail", "fail_200", "fault", "fault_at", "fault_time", "job_part", "key", "latency",
    "lifetime", "poll_status", "poll_times", "price", "retry_after", "shed", "state", "status", "times",
}  # fmt: skip
_PLACES = ("submission", "state", "result", "names", "output")
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
    when half of the body was sent. `fault`: the name of a fault that the job meets; a job type that ends in
    `.fault-<name>` orders it, too. It holds a connection for at most `fault_time` seconds. `times`: only the
    first so many requests, those shed included, get `status`, `fail`, `drop` or `fault`. `retry_after` and
    `price`, in dollars, are in place of the emulator's; null is none. Requests are told apart by `key` (see
    ReceivedJob.key).

    Of an asynchronous job, `drop` closes the connection "before" the answer to its submission, or "during"
    the first `times` downloads. `asynchronous` (written `async`): false refuses its submission. `lifetime`:
    seconds, in place of the emulator's. `poll_status`: answer with this status to the first `poll_times`
    requests about it. `state`: what its state is said to be while it is processing, exactly. `fault_at`:
    which requests meet the fault, the first `times` of them: its submission, or those for its `state`, its
    `result`, the `names` of its outputs, or an `output`.
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
    fault: str | None
    fault_at: str
    fault_time: float

    @property
    def terms(self) -> Terms:
        """What a fault keeps to."""
        return Terms(self.fault_time, self.retry_after)


def read_orders(received: ReceivedJob, terms: Terms, price: float | None) -> Orders:
    """Read `config.emulator`; `terms` and `price` hold where it orders nothing else. Raises JobError."""
    orders = received.config.get("emulator", {})
    if not isinstance(orders, dict) or not orders.keys() <= _NAMES:
        raise JobError(f"{_WHERE}: must be an object with keys of {', '.join(sorted(_NAMES))}")
    wait = orders.get("retry_after", terms.retry_after)
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
        fault=_fault(orders, received.type),
        fault_at=_choice(orders, "fault_at", *_PLACES) or _PLACES[0],
        fault_time=number(orders, "fault_time", terms.seconds, 0, _ALWAYS, where=_WHERE),
    )


def _fault(orders: dict[str, Any], job_type: str) -> str | None:
    if "fault" in orders:
        return _choice(orders, "fault", *FAULTS)
    name = fault_of_type(job_type)
    if name is not None and name not in FAULTS:
        raise JobError(f"type: there is no fault {name!r}; there are {', '.join(FAULTS)}")
    return name


def _seconds(orders: dict[str, Any], name: str) -> float | None:
    return number(orders, name, 0, 0, 86400, where=_WHERE) if name in orders else None


def _status(orders: dict[str, Any], name: str) -> int | None:
    return integer(orders, name, 0, 300, 599, where=_WHERE) if name in orders else None


def _choice(orders: dict[str, Any], name: str, *choices: str) -> str | None:
    if name not in orders:
        return None
    if orders[name] not in choices:
        raise JobError(f"{_WHERE}.{name}: must be {', '.join(choices[:-1])} or {choices[-1]}")
    return str(orders[name])


def _price(orders: dict[str, Any], default: float | None) -> float | None:
    if orders.get("price", default) is None:
        return None
    return number(orders, "price", default or 0.0, 0, _MOST_DOLLARS, where=_WHERE)
