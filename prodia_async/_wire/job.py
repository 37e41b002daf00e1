"""A job as bytes: its JSON, the Accept header, and the frame of a multipart body (API reference).

The frame holds everything but the inputs' content, so that a request can be sent again with fresh content
and its exact size is known beforehand.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

import msgspec
from msgspec import Struct

from prodia_async._errors import InputError, quoted
from prodia_async._wire import media

if TYPE_CHECKING:
    from collections.abc import Sequence

    from prodia_async._models import Job

_MAX_DEPTH = 200
_SCALARS = frozenset((int, bool, type(None)))
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


class Part(Protocol):
    """What is known of an input before its content; `size` is in bytes, None if it is not known."""

    filename: str
    content_type: str
    size: int | None


class Plan(Struct, frozen=True):
    """A multipart body around its inputs: `preludes[i]`, then input i's content, and `tail` at the end.

    `size` is the whole body's length in bytes, None if the size of any input is unknown.
    """

    content_type: str
    preludes: tuple[bytes, ...]
    tail: bytes
    size: int | None


def accept_header(media_type: str | None) -> str:
    """Ask for a multipart answer, so that the job result always comes, with the first output as `media_type`.

    The type stands after a semicolon, as the API reference writes it (Content Negotiation). Raises InputError
    unless it has the form `type/subtype`.
    """
    if media_type is None:
        return "multipart/form-data"
    if not media.is_type(media_type):
        raise InputError(f"accept must be a media type such as 'image/png', not {quoted(media_type)}")
    return f"multipart/form-data; {media_type}"


def job_json(job: Job) -> bytes:
    """Return the job configuration as JSON; raises InputError naming what JSON cannot say."""
    kind: object = job.type  # what a caller without a type checker gave
    config: object = job.config
    if not isinstance(kind, str) or not kind:
        raise InputError(f"a job's type must be a text such as 'inference.ping.v1', not {quoted(kind)}")
    if type(config) is not dict and not isinstance(config, Mapping):
        raise InputError(f"config must be a mapping, not {type(config).__name__}")
    body = {"type": kind if kind.isascii() and type(kind) is str else _text(kind, "type")}
    if config:
        body["config"] = _plain(config, "config", 0)
    if job.extra != {}:
        _add_extra(body, job.extra)
    try:
        return msgspec.json.encode(body)
    except (TypeError, ValueError, RecursionError) as exc:
        raise InputError(f"the job's config cannot be written as JSON: {exc}") from None


def _add_extra(body: dict[str, Any], extra: object) -> None:
    if not isinstance(extra, Mapping):
        raise InputError(f"extra must be a mapping such as {{'jobs': [...]}}, not {type(extra).__name__}")
    more = _plain(extra, "extra", 0)
    for name in ("type", "config"):
        if name in more:
            raise InputError(f"extra cannot have {name!r}: a job has it already")
    body |= more


def _plain(value: Any, path: str, depth: int) -> Any:
    """Return a copy of a mapping or list in JSON's own types, or say what in it JSON cannot say, and where.

    msgspec alone would write NaN as null, bytes as base64, and a key 1 as "1". What is most common is passed
    over here, for each call costs as much as all of that.
    """
    if depth > _MAX_DEPTH:
        raise InputError(f"{quoted(path, str)} is nested too deeply for JSON, or contains itself")
    is_mapping = not isinstance(value, list | tuple)
    copy: dict[Any, Any] = {}
    for key, item in value.items() if is_mapping else enumerate(value):
        kind, name, own = type(item), key, item
        if is_mapping and not (type(key) is str and key.isascii()):
            if not isinstance(key, str):
                raise InputError(f"{quoted(path, str)} has the key {quoted(key)}: JSON's keys are text")
            name = _text(key, f"a key of {path}")
        if kind is str:
            is_plain = item.isascii()
        else:
            is_plain = math.isfinite(item) if kind is float else kind in _SCALARS
        if not is_plain:
            own = _value(item, f"{path}.{key}" if is_mapping else f"{path}[{key}]", depth)
        copy[name] = own
    return copy if is_mapping else list(copy.values())


def _value(value: Any, path: str, depth: int) -> Any:
    if isinstance(value, str):
        return _text(value, path)
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        if not math.isfinite(value):
            raise InputError(f"{quoted(path, str)} is {float(value)}, which JSON cannot say")
        return float(value)
    if isinstance(value, Mapping | list | tuple):
        return _plain(value, path, depth + 1)
    hint = ": send files as inputs" if isinstance(value, bytes | bytearray | memoryview) else ""
    kind = type(value)
    if kind.__module__ == "numpy":
        hint = ": pass its item(), or tolist()"
    name = kind.__name__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__name__}"
    raise InputError(f"{quoted(path, str)} is of type {name}, which JSON cannot say{hint}")


def _text(value: str, path: str) -> str:
    try:
        value.encode()
    except UnicodeEncodeError:
        raise InputError(f"{quoted(path, str)} holds a lone surrogate, which is not Unicode text") from None
    return str.__str__(value)


def plan(job: bytes, parts: Sequence[Part], boundary: str) -> Plan:
    """Plan the multipart body of a job, its JSON first, and of its inputs, in order."""
    separator = b"\r\n--" + boundary.encode("ascii")
    pending = separator[2:] + _head("job", "job.json", "application/json") + job
    preludes: list[bytes] = []
    for part in parts:
        preludes.append(pending + separator + _head("input", part.filename, part.content_type))
        pending = b""
    tail = pending + separator + b"--\r\n"
    frame = sum(map(len, preludes)) + len(tail)
    sizes = [part.size for part in parts if part.size is not None]
    size = frame + sum(sizes) if len(sizes) == len(parts) else None
    return Plan(f"multipart/form-data; boundary={boundary}", tuple(preludes), tail, size)


def _head(name: str, filename: str, content_type: str) -> bytes:
    kind = content_type.encode("ascii")
    disposition = form_data(name, filename)
    return b"\r\nContent-Disposition: " + disposition + b"\r\nContent-Type: " + kind + b"\r\n\r\n"


def check_names(names: Mapping[str, str], advice: str) -> None:
    """Check the file names of inputs, by what each is called: two of one name count as one for the service.

    Raises InputError, which names the input.
    """
    seen: dict[str, str] = {}
    for label, name in names.items():
        form_data("input", name)
        if (other := seen.setdefault(name, label)) != label:  # API reference, Job Input Data
            raise InputError(f"{other} and {label} are both named {quoted(name)}: {advice}")


def form_data(name: str, filename: str) -> bytes:
    """Return the Content-Disposition value of a part called `name` that carries the file `filename`.

    By Go's rule, as `heads` reads it: quote and backslash are escaped, and names are UTF-8. Raises InputError
    for a file name that would not arrive as it is.
    """
    if not filename:
        raise InputError("a file name cannot be empty")
    if _CONTROL.search(filename):
        raise InputError(f"the file name {quoted(filename)} holds a control character: rename it")
    if "/" in filename:
        raise InputError(
            f"the file name {quoted(filename)} holds a directory, "
            "which the service strips: give the base name"
        )
    try:
        raw = filename.encode()
    except UnicodeEncodeError:
        raise InputError(f"the file name {quoted(filename)} is not Unicode text: rename it") from None
    escaped = raw.replace(b"\\", b"\\\\").replace(b'"', b'\\"')
    return b'form-data; name="' + name.encode() + b'"; filename="' + escaped + b'"'
