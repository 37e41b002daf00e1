"""What an emulator is set to: each option with its default, and what it takes."""

from __future__ import annotations

import os
import ssl as ssl_module
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

_MOST = 1_000_000_000
_URL = "'https://inference.prodia.com'"
_PRICE = 'dollars, such as 0.0025, dollars by job type, "list" or None'
_Seconds = Annotated[float, Meta(ge=0, le=_MOST)]
_SECONDS = (_Seconds, "seconds, at least 0, such as 0.5")
_TEXT = Annotated[str, Meta(min_length=1, pattern=r"^[^\r\n]*\Z")]

_TAKES: dict[str, tuple[Any, str]] = {
    "capacity": (Annotated[int, Meta(ge=0)], "a number of jobs, at least 0, such as 8"),
    "latency": _SECONDS,
    "latency_sigma": (_Seconds, "the spread of a lognormal distribution, at least 0, such as 0.5"),
    "retry_after": (float | _TEXT | None, "seconds, a text or None, such as 1.0"),
    "free_at": (Literal["headers", "end"], '"headers" or "end"'),
    "token": (_TEXT, 'a text in one line, such as "emulator-token"'),
    "forbidden": (list[str], 'a list of tokens, such as ["poor"]'),
    "host": (_TEXT, 'an address of this computer, such as "127.0.0.1"'),
    "port": (Annotated[int, Meta(ge=0, le=65535)], "a port from 0 to 65535; 0 is a free one"),
    "seed": (int, "a whole number, such as 7"),
    "price": (_Seconds | dict[str, _Seconds | None] | Literal["list"] | None, _PRICE),
    "strict": (bool, "True or False"),
    "at_once": (bool, "True or False"),
    "upstream": (Annotated[str, Meta(pattern="^https?://[^\\s]+\\Z")] | None, "a URL, such as " + _URL),
    "record": (str | None, "a folder, such as 'recording'"),
    "replay": (str | None, "a folder that was recorded, such as 'recording'"),
    "async_limit": (Annotated[int, Meta(ge=0)], "a number of jobs, at least 0, such as 1000"),
    "async_lifetime": _SECONDS,
    "faults": (dict[str, float] | None, "faults and their chances, such as {'reset': 0.01}"),
    "fault_time": _SECONDS,
}
"""What an option takes: for msgspec, and for people."""


@dataclass(kw_only=True, repr=False, eq=False)
class Options:
    """The options of `Emulator`; see there for their meaning. A value that cannot be is a ValueError."""

    capacity: int = 8
    latency: float = 0.5
    latency_sigma: float = 0.0
    retry_after: float | str | None = 1.0
    free_at: Literal["headers", "end"] = "headers"
    token: str = "emulator-token"  # noqa: S105 - opens nothing but this emulator
    forbidden: Collection[str] = ()
    host: str = "127.0.0.1"
    port: int = 0
    seed: int = 0
    ssl: ssl_module.SSLContext | None = None
    price: float | Mapping[str, float | None] | Literal["list"] | None = 0.0025
    strict: bool = False
    record: str | os.PathLike[str] | None = None
    replay: str | os.PathLike[str] | None = None
    at_once: bool = False
    upstream: str | None = None
    async_limit: int = 1000
    async_lifetime: float = 300.0
    faults: Mapping[str, float] | None = None
    fault_time: float = 60.0

    def __setattr__(self, name: str, value: Any) -> None:
        if name in _TAKES:
            _check(name, value)
        object.__setattr__(self, name, value)


def _check(name: str, value: Any) -> None:
    kind, said = _TAKES[name]
    plain = value
    if isinstance(value, Mapping):
        plain = dict(value)
    elif isinstance(value, os.PathLike):
        plain = os.fspath(value)
    elif isinstance(value, Collection) and not isinstance(value, str | bytes):
        plain = list(value)
    try:
        msgspec.convert(plain, kind)
        is_good = name != "replay" or plain is None or os.path.isdir(plain)  # noqa: PTH112 - it may be bytes
    except msgspec.ValidationError:
        is_good = False
    if not is_good:
        shown = "" if name in ("token", "forbidden") else f", not {value!r}"
        raise ValueError(f"{name}= takes {said}{shown}")
