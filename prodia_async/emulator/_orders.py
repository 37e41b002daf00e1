"""What a test orders for a single job in `config.emulator`: a latency, a price, a status, a failure."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType, field

from prodia_async.emulator._faults.table import FAULTS
from prodia_async.emulator._request import JobError

if TYPE_CHECKING:
    from prodia_async.emulator._request import ReceivedJob

ALWAYS = 1_000_000_000

Seconds = Annotated[float, Meta(ge=0, le=86_400)]
Count = Annotated[int, Meta(ge=0, le=ALWAYS)]
Status = Annotated[int, Meta(ge=300, le=599)]
Dollars = Annotated[float, Meta(ge=0, le=1_000_000)]
Line = Annotated[str, Meta(pattern="^[^\x00-\x1f\x7f\ud800-\udfff]*\\Z")]
"""A text that can stand in a header."""
Text = Annotated[str, Meta(min_length=1, max_length=32_768)]

_SUFFIX = re.compile(r"\.fault-([^.]*)$")


class Orders(Struct, frozen=True, forbid_unknown_fields=True):
    """The orders for one job, all optional; docs/emulator.md says what each does.

    Where it is None, `latency`, `lifetime` and `price` are the emulator's. `times`: only the first so many
    requests get `status`, `fail`, `drop` or `fault`; they are told apart by `key` (see ReceivedJob.key).
    """

    latency: Seconds | None = None
    retry_after: float | Line | None = None
    job_part: Literal["first", "last"] = "first"
    shed: Count = 0
    status: Status | None = None
    fail: Text | None = None
    fail_200: bool = False
    drop: Literal["before", "during"] | None = None
    times: Count = ALWAYS
    price: Dollars | UnsetType | None = UNSET
    key: Any = None
    moderation: Annotated[float, Meta(ge=0, le=1)] = 0
    asynchronous: bool = field(default=True, name="async")
    lifetime: Seconds | None = None
    poll_status: Status | None = None
    poll_times: Count = ALWAYS
    state: Text | None = None
    fault: str | None = None
    fault_at: Literal["submission", "state", "result", "names", "output"] = "submission"
    fault_time: Annotated[float, Meta(ge=0, le=ALWAYS)] = 0


_NAMES = ", ".join(sorted(one.encode_name for one in msgspec.structs.fields(Orders)))


def read_orders(received: ReceivedJob, defaults: Orders) -> Orders:
    """Read `config.emulator`; what `defaults` has holds where it orders nothing else. Raises JobError."""
    if not received.may_order:
        return defaults
    suffix = _SUFFIX.search(received.type)
    given = received.config.get("emulator", {})
    if not isinstance(given, dict):
        raise JobError(f"config.emulator: must be an object with keys of {_NAMES}")
    own = {"retry_after": defaults.retry_after, "fault_time": defaults.fault_time}
    try:
        orders = msgspec.convert(own | given, Orders)
    except msgspec.ValidationError as error:
        reason, _, place = str(error).partition(" - at `$")
        known = f"; there are {_NAMES}" if "unknown field" in reason else ""
        raise JobError(f"config.emulator{place.rstrip('`')}: {reason}{known}") from None
    where = "config.emulator.fault"
    if suffix is not None and "fault" not in given:
        where, orders = "type", msgspec.structs.replace(orders, fault=suffix[1])
    if orders.fault is not None and orders.fault not in FAULTS:
        raise JobError(f"{where}: there is no fault {orders.fault!r}; there are {', '.join(FAULTS)}")
    return orders
