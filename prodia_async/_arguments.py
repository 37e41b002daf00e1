"""What each argument takes, of whatever callable, and what is said where it is given something else.

One table has them all, and the fields of `Job`: what comes out of `checked` is of the kind that it says.
"""

from __future__ import annotations

import asyncio
import inspect
import math
import os
import re
import ssl
import uuid
from collections.abc import AsyncIterable, Iterable, Mapping
from functools import partial
from types import UnionType
from typing import TYPE_CHECKING, Any, TypeAlias, get_args

import msgspec

from prodia_async._errors import InputError, quoted
from prodia_async._files.outputs import To, fixed
from prodia_async._models import Job, Mode
from prodia_async._settings import Adaptive, Fixed, Limits, Polling, Retry, Timeouts, number, whole
from prodia_async._wire.job import accept_header, job_json

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

_OWN_HEADERS = {
    **dict.fromkeys(("accept-encoding", "connection", "content-encoding", "content-length"), "leave it out"),
    **dict.fromkeys(("content-type", "host", "keep-alive", "te", "trailer"), "leave it out"),
    **dict.fromkeys(("transfer-encoding", "upgrade"), "leave it out"),
    "accept": "use accept=",
    "authorization": "use token=",
    "expect": "use expect_continue=",
    "proxy-authorization": "say it in the proxy's URL",
    "user-agent": "use Prodia(user_agent=...)",
}
"""Headers that are made for each request, and what to do instead."""

_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110, section 5.6.2
_SECRET = frozenset({"base_url", "headers", "session_options"})
"""Arguments that may hold a password: of these no value is shown."""


def checked(given: Mapping[str, Any], needed: Collection[str] = ()) -> dict[str, Any]:
    """Return arguments as plain values; those that are None are not given, unless `needed`.

    Raises InputError for one of a kind that it does not take.
    """
    plain = dict(given)
    for name, value in given.items():
        if name not in _TAKES or (value is None and name not in needed):
            continue
        take, form = _TAKES[name]
        if type(value) is take:
            continue
        try:
            if isinstance(take, type | UnionType):
                _need(isinstance(value, take))
            else:
                plain[name] = take(value)
        except InputError:
            raise
        except Exception:  # noqa: BLE001 - a value may be any object of the user's
            shown = f"of type {type(value).__name__}" if name in _SECRET else quoted(value)
            raise InputError(f"{name} cannot be {shown}: it takes {form}") from None
    return plain


def _need(condition: object) -> None:
    if not condition:
        raise ValueError


def _text(value: Any, holds: Callable[[str], object] = lambda _: True) -> str:
    """Take text of which that holds, also of a class of its own such as an enum's."""
    _need(isinstance(value, str))
    text = str.__str__(value)
    _need(holds(text))
    return text


def _is_word(text: str) -> object:
    return text.strip() and text.encode()


def _custom_id(value: Any) -> str:
    """Take text, and what keys of rows are: whole numbers and UUIDs, as their text."""
    if isinstance(value, uuid.UUID):
        return str(value)
    return _text(value) if isinstance(value, str) else str(whole(value))


def _money(value: Any) -> float:
    dollars = number(value, least=0)
    _need(dollars < math.inf)
    return dollars


def _prices(value: Any) -> dict[str, float]:
    return {_text(kind): _money(dollars) for kind, dollars in value.items()}


def _path(value: Any) -> str:
    return _text(os.fspath(value), holds=lambda path: path and "\0" not in path)


def _to(value: Any) -> To:
    return fixed(_function(value) if callable(value) else value)


def _bytes_or_flag(value: Any) -> int:
    return value if isinstance(value, bool) else whole(value, least=0)


def _manifest(value: Any) -> Any:
    """Take a path, or what is read or iterated; never a mapping, or the bytes of a manifest."""
    if isinstance(value, str | os.PathLike):
        return _path(value)
    _need(not isinstance(value, bytes | bytearray | Mapping))
    _need(callable(getattr(value, "read", None)) or isinstance(value, Iterable | AsyncIterable))
    return value


def _vary(value: Any) -> dict[str, list[Any]]:
    """Take lists of what can be sent, by name."""
    for values in value.values():
        _need(isinstance(values, Iterable) and not isinstance(values, str | bytes | bytearray | Mapping))
    return dict(_config({_text(name): list(values) for name, values in value.items()}))


def _function(value: Any) -> Any:
    """Take what is called, and not awaited."""
    _need(callable(value))
    for called in (value, type(value).__call__):
        _need(not inspect.iscoroutinefunction(called) and not inspect.isasyncgenfunction(called))
    return value


def _clock(value: Any) -> Any:
    methods = value.monotonic, value.wall, value.sleep, value.call_at
    _need(not isinstance(value, type) and all(map(callable, methods)))
    return value


def _config(value: Any) -> Any:
    """Take what can be sent, as it is at this moment."""
    return msgspec.json.decode(job_json(Job("any", value))).get("config", {})


def _options(value: Any) -> dict[str, Any]:
    return {_text(name): option for name, option in value.items()}


def _headers(value: Any) -> dict[str, str]:
    """Take headers for each request. Raises InputError for one that is ours, or cannot be sent."""
    headers = {_text(name): _text(content) for name, content in value.items()}
    for name, content in headers.items():
        if name.lower() in _OWN_HEADERS:
            raise InputError(f"the header {name} is the client's own: {_OWN_HEADERS[name.lower()]}")
        if not (_HEADER_NAME.fullmatch(name) and content.isprintable()):
            raise InputError(f"headers cannot hold {quoted(name)}: it has characters that cannot be sent")
    return headers


_Takes: TypeAlias = tuple[Any, str]
_FLAG: _Takes = bool, "True or False"
_FUNCTION: _Takes = _function, "a plain function: a coroutine would never be awaited"
_SECONDS: _Takes = partial(number, above=0), "seconds above 0, such as 30"

_TAKES: dict[str, _Takes] = {
    # a job
    "type": (_text, "text such as 'inference.ping.v1'"),
    "config": (_config, "a mapping, such as {'prompt': 'a cat'}"),
    "accept": (partial(_text, holds=accept_header), "a media type, such as 'image/png'"),
    "custom_id": (_custom_id, "text, such as 'row-1'"),
    "priority": (whole, "a whole number; a smaller one goes first"),
    "mode": (partial(_text, holds=get_args(Mode).__contains__), "'sync' or 'async'"),
    # a call
    "to": (_to, "a path, File(...), Folder(...), or a function that makes a sink"),
    "timeout": _SECONDS,
    "price": _FLAG,
    "spool": _FLAG,
    "expect_continue": (_bytes_or_flag, "True, False, or bytes from which on is asked"),
    "ahead": (partial(whole, least=1), "a number of jobs, at least 1"),
    "job_id": (partial(_text, holds=_is_word), "text: the `id` of a handle"),
    "name": (partial(_text, holds=_is_word), "an output's name, as outputs() gives it"),
    "on_state": _FUNCTION,
    "drain": (partial(number, least=0), "seconds, at least 0"),
    # a client
    "base_url": (_text, "a URL, such as 'https://inference.prodia.com'"),
    "retry": (Retry, "Retry(...), such as Retry(max_errors=3)"),
    "timeouts": (Timeouts, "Timeouts(...), such as Timeouts(idle=30)"),
    "polling": (Polling, "Polling(...), such as Polling(interval=2)"),
    "limits": (Limits, "Limits(...), such as Limits(max_parts=10)"),
    "limiter": (Adaptive | Fixed, "Adaptive(...) or Fixed(8)"),
    "limit": (partial(whole, least=1), "a whole number of jobs, at least 1"),
    "max_concurrency": (whole, "a whole number: the most jobs in flight"),
    "headers": (_headers, "a mapping of text to text, such as {'X-Team': 'art'}"),
    "user_agent": (partial(_text, holds=str.isprintable), "text in one line"),
    "on_event": _FUNCTION,
    "allow_insecure": _FLAG,
    "pickle_token": _FLAG,
    "ssl_context": (ssl.SSLContext, "an ssl.SSLContext"),
    "session_options": (_options, "a mapping of options of aiohttp.ClientSession"),
    "transport": (_function, "a function that makes a Transport"),
    "clock": (_clock, "a clock with monotonic(), wall(), sleep() and call_at()"),
    # a batch
    "manifest": (_manifest, "a path, an open binary file, or an iterable of Job or dict"),
    "repeat": (partial(whole, least=1), "how many seeds, at least 1"),
    "vary": (_vary, "a mapping of names to lists of values, such as {'steps': [2, 4]}"),
    "first": (partial(whole, least=1), "a number of jobs, at least 1"),
    "write_to": (_path, "the path of a file"),
    "out": (_path, "the path of a folder"),
    "allow_outside": _FLAG,
    "retry_failed": _FLAG,
    "only_failed": _FLAG,
    "max_spend": (_money, "dollars, at least 0"),
    "prices": (_prices, "a mapping of job types to dollars"),
    "resend_unknown": (partial(whole, least=0), "a whole number, at least 0"),
    "give_up_after": _SECONDS,
    "stop": (asyncio.Event, "an asyncio.Event"),
    "on_progress": _FUNCTION,
    "on_problem": _FUNCTION,
}
"""What each takes: values of a class as they are, or what a function makes plain; and how that is said."""
