"""Values as others see them: written down as JSON (`to_dict`, `to_json`), and the headers of replies."""

from __future__ import annotations

import base64
import importlib
import json
from collections.abc import Callable, Mapping
from datetime import datetime
from math import isfinite
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from multidict import CIMultiDictProxy


class Plain:
    """A value that can be written down: to a log, a database, a queue, or as a web server's answer."""

    __slots__ = ()

    def to_dict(self, *, data: bool = False) -> dict[str, Any]:
        """Return it as values that JSON knows: times in ISO 8601, paths as text.

        What became of a job has the keys of a line of `results.jsonl`, and more. The bytes of outputs are
        left out, unless `data` asks for them, in base64.
        """
        return {name: plain(value, data=data) for name, value in self._told().items()}

    def to_json(self, *, data: bool = False) -> str:
        """Return `to_dict` as JSON, in one line; a character that UTF-8 cannot say becomes an escape."""
        text = json.dumps(self.to_dict(data=data), ensure_ascii=False, separators=(",", ":"))
        return text.encode("utf-8", "backslashreplace").decode()

    def _repr_mimebundle_(self, **_: Any) -> Any:
        """Have a notebook show the outputs. None where there are none: it then shows the repr."""
        return importlib.import_module("prodia_async._display").bundle(self)

    def _told(self) -> dict[str, Any]:
        """Return what is written down, by name."""
        return {name: getattr(self, name) for name in getattr(self, "__struct_fields__", ())}


def plain(value: Any, *, data: bool = False) -> Any:
    """Return a value as JSON has it, and what JSON has no word for as its text."""
    if isinstance(value, Plain):
        return value.to_dict(data=data)
    if isinstance(value, Mapping):
        return {str(key): plain(item, data=data) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item, data=data) for item in value]
    if isinstance(value, bytes):
        return base64.b64encode(value).decode() if data else None
    if isinstance(value, datetime):
        return value.isoformat()
    is_known = value is None or isinstance(value, str | int) or (isinstance(value, float) and isfinite(value))
    return value if is_known else str(value)


class ReplyHeaders(dict[str, str]):  # noqa: PLW1641 - no mapping has a hash
    """The headers of a reply, made readable when they are looked at; the token is in none of them then.

    As they came they would show it to whoever looks around: this is an empty mapping, also as JSON.
    """

    __slots__ = ("given", "redact")

    def __init__(self, given: Mapping[str, str], redact: Callable[[str], str] = str) -> None:
        self.given: Callable[[], Mapping[str, str]] = lambda: given
        self.redact: Callable[[str], str] = redact

    def read(self) -> CIMultiDictProxy[str]:
        """Return them: whatever the case of a name, and all of those that came more than once."""
        from multidict import CIMultiDict, CIMultiDictProxy  # noqa: PLC0415 - only who looks needs it

        given, redact = self.given().items(), self.redact
        return CIMultiDictProxy(CIMultiDict((redact(name), redact(said)) for name, said in given))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ReplyHeaders) and self.read() == other.read()

    def __reduce__(self) -> tuple[Any, ...]:
        return ReplyHeaders, (self.read().copy(),)  # without what hides the token


NO_HEADERS = ReplyHeaders({})
