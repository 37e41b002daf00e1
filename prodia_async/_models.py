"""The values that users hold. They carry facts and never raise."""

from __future__ import annotations

import pathlib
import shutil
from collections.abc import AsyncIterable, Callable, Mapping, Sequence
from datetime import datetime
from os import PathLike
from typing import TYPE_CHECKING, Annotated, Any, Literal, Protocol, TypeAlias

import msgspec
from msgspec import Meta, Raw, Struct

from prodia_async._plain import NO_HEADERS, Plain, ReplyHeaders

if TYPE_CHECKING:
    from multidict import CIMultiDictProxy


class Content(Protocol):
    """An open binary file: whatever gives bytes when it is read, from where it stands.

    Temporary files, members of archives, responses of HTTP and uploads are such files. One that can seek is
    sent again where that is needed; any other can be sent only once.
    """

    def read(self, size: int, /) -> bytes:
        """Return at most `size` bytes, b"" at the end."""


class Elsewhere(Protocol):
    """An input that has to be asked for: an object of a store (`prodia_async.stores`), or a `Remote`."""

    @property
    def name(self) -> str:
        """Its file name."""

    async def prodia_source(self, label: str) -> Any:
        """Look at it, and return what is sent of it. Raises InputError, which names it by `label`."""


_Bytes: TypeAlias = (
    bytes | bytearray | memoryview | PathLike[str] | Content | AsyncIterable[bytes] | Elsewhere
)

Input: TypeAlias = str | _Bytes | tuple[str, str | _Bytes] | tuple[str, str | _Bytes, str | None]
"""An input: a path or a store's URL, bytes, a file, an async iterator, or (name, one of these[, type])."""

Mode: TypeAlias = Literal["sync", "async"]
"""Which API runs a job: the one that answers with its outputs, or the one that is polled."""


class Job(Struct, Plain, frozen=True):
    """One job to run: its type, its configuration and its input files (API reference, Job Configuration).

    `config` is sent as JSON and names the inputs by their file names. `accept` is the media type
    wanted for the first output, such as `image/png`. `custom_id` is yours: it names outputs in a
    folder and appears in errors. A smaller `priority` is served first. `mode="async"` runs it through the
    asynchronous API, which suits jobs of minutes: it is sent, asked for, and its outputs are fetched.
    `extra` has further fields of the job's JSON, beside its type and config, such as a workflow's `jobs`.
    """

    type: str
    config: Mapping[str, Any] = {}
    inputs: Sequence[Input] = ()
    accept: str | None = None
    custom_id: str | None = None
    priority: int = 0
    mode: Mode = "sync"
    extra: Mapping[str, Any] = {}

    def __repr__(self) -> str:
        try:
            named = f", custom_id={self.custom_id!r}" if self.custom_id is not None else ""
            keys, count = sorted(map(str, self.config)), len(self.inputs)
            held = f"{self.type!r}{named}, config keys: {keys}, inputs: {count}"
        except Exception:  # noqa: BLE001 - its fields may be any objects, before they are looked at
            held = "..."
        return f"Job({held})"


Text: TypeAlias = Annotated[str, Meta(min_length=1)]
Moment: TypeAlias = Annotated[datetime, Meta(tz=True)]


class JobState(Struct, Plain, frozen=True, forbid_unknown_fields=True):
    """The `state` of a job result (API reference, Job Result)."""

    current: Text
    history: Any = None


class Metrics(Struct, Plain, frozen=True, gc=False, forbid_unknown_fields=True):
    """The `metrics` of a job result: inference time in seconds, iterations per second; `raw` has the rest."""

    elapsed: float | None = None
    ips: float | None = None


class Price(Struct, Plain, frozen=True, gc=False, forbid_unknown_fields=True):
    """What a job cost, in US dollars; reported only when it was asked for with `price=True`."""

    dollars: float
    product: Text | None = None


class OutputInfo(Struct, Plain, frozen=True, gc=False):
    """What is known of an output before its bytes: its place in the reply, the service's name, its type."""

    index: int
    filename: str | None
    content_type: str


class _OutputFields(Struct, Plain, frozen=True):
    filename: str | None
    content_type: str
    size: int
    path: str | PathLike[str] | None = None
    data: bytes | None = None
    url: str | None = None
    _fetch: Callable[[Callable[[bytes], object], int], object] | None = None
    """Hands its bytes, which are so many, on from the store that it is in; not pickled."""


_PATH: Any = vars(_OutputFields)["path"]  # its place in an instance, which the property reads and fills


class Output(_OutputFields, frozen=True):
    """One output file of a job: where it was stored (`path`) or, with `to=None`, its bytes (`data`).

    In an object store `url` says where it is, and `path` is None. `filename` is the service's own name for
    it, never used as a path.
    """

    @property  # type: ignore[misc]  # over an attribute, whose place it reads
    def path(self) -> pathlib.Path | None:
        """Where it was stored; made when it is looked at, for that costs as much as to name the file."""
        path: str | PathLike[str] | None = _PATH.__get__(self)
        if isinstance(path, str):
            path = pathlib.Path(path)
            _PATH.__set__(self, path)
        return path  # type: ignore[return-value]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Output):
            return NotImplemented
        return self._values() == other._values()

    def __hash__(self) -> int:
        return hash(self._values())

    def __reduce__(self) -> tuple[Any, ...]:
        return Output, self._values()

    def _values(self) -> tuple[Any, ...]:
        return self.filename, self.content_type, self.size, self.path, self.data, self.url

    def read(self) -> bytes:
        """Return its bytes, from memory, its file or its store. Blocks, and raises, as `save` does."""
        if self.data is not None:
            return self.data
        if self._fetch is not None:
            content = bytearray()
            self._fetch(content.extend, self.size)
            return bytes(content)
        return self._stored().read_bytes()

    def save(self, path: str | PathLike[str]) -> pathlib.Path:
        """Write the output to `path`, replacing what is there, and return it. Blocks: it writes a file.

        Raises OSError where the file cannot be written, or a store cannot be read, and ValueError for an
        output that went to a sink of your own, or to the store of another process.
        """
        target = pathlib.Path(path)
        if self.data is not None:
            target.write_bytes(self.data)
        elif self._fetch is not None:
            with target.open("wb") as file:
                self._fetch(file.write, self.size)
        else:
            shutil.copyfile(self._stored(), target)
        return target

    def _stored(self) -> pathlib.Path:
        if self.path is None:
            place = self.url or "a sink of your own: neither its data nor its path is known"
            raise ValueError(f"this output went to {place}")
        return self.path

    def _told(self) -> dict[str, Any]:
        place = {"path": self.path, "url": self.url, "filename": self.filename}
        return place | {"content_type": self.content_type, "bytes": self.size, "data": self.data}

    def __repr__(self) -> str:
        place = f"url={self.url!r}" if self.url is not None else f"data: {self.data is not None}"
        place = f"path={str(self.path)!r}" if self.path is not None else place
        return f"Output({self.filename!r}, {self.content_type!r}, {self.size} bytes, {place})"


VerdictKind: TypeAlias = Literal[
    "submitted",  # the service has the job, and will run it
    "done",  # the service ran the job; its outputs are whole
    "failed",  # the service says that the job failed
    "shed",  # 429: not run, not billed
    "not_sent",  # the request never reached the service whole
    "server_error",  # 5xx
    "unknown",  # the connection broke after the request was sent
    "malformed",  # the answer is not what the API promises
    "timed_out",  # we stopped waiting; the job may still be running
    "refused",  # any other answer: sending the same again cannot help
    "bad_input",  # a source failed or changed while it was sent
    "not_kept",  # the job ran; the sink failed
    "lost",  # the service no longer knows an asynchronous job: expired, or never known
    "cancelled",  # the caller left
]


class Attempt(Struct, Plain, frozen=True, gc=False):
    """One attempt of a job: when, how long it waited before and took, and what came of it.

    `waited` and `elapsed` are seconds. `may_have_run` tells whether the service may have run, and
    billed, this attempt.
    """

    number: int
    started_at: datetime
    waited: float
    elapsed: float
    verdict: VerdictKind
    may_have_run: bool
    status: int | None = None
    request_id: str | None = None
    retry_after: float | None = None
    reason: str = ""


class Reported(Struct, Plain, frozen=True, forbid_unknown_fields=True):
    """What a `JobResult` holds of its JSON. Nothing of that is skipped, so `raw` can be read later."""

    type: Text
    config: Mapping[str, Any]
    id: Text | None = None
    state: JobState | None = None
    metrics: Metrics = Metrics()
    price: Price | None = None
    created_at: Moment | None = None
    updated_at: Moment | None = None
    expires_at: Moment | None = None
    error: Text | None = None


class _ResultFields(Reported, frozen=True):
    """What a `JobResult` holds; its `raw` may still be JSON."""

    outputs: tuple[Output, ...] = ()
    attempts: tuple[Attempt, ...] = ()
    request_id: str | None = None
    warnings: tuple[str, ...] = ()
    raw: Mapping[str, Any] = {}
    headers: Any = NO_HEADERS


_HEADERS: Any = vars(_ResultFields)["headers"]
_RAW: Any = vars(_ResultFields)["raw"]  # its place in an instance, which the property reads and fills


class JobResult(_ResultFields, frozen=True):
    """What the service says of a finished job (API reference, Job Result), and its outputs.

    `raw` is the whole decoded JSON, so nothing that the service adds is lost. `id` and `state` are
    None when the outputs came whole but without a readable job part; `warnings` then tells why.
    """

    @property  # type: ignore[misc]  # over an attribute, as `raw` is
    def headers(self) -> CIMultiDictProxy[str]:
        """The headers of the reply that brought it; of an asynchronous job's, the one with its result."""
        headers: ReplyHeaders = _HEADERS.__get__(self)
        return headers.read()

    @property  # type: ignore[misc]  # over an attribute, whose place it reads
    def raw(self) -> Mapping[str, Any]:
        """The job result as the service sent it, decoded when it is looked at first."""
        raw: Mapping[str, Any] | Raw = _RAW.__get__(self)
        if isinstance(raw, Raw):
            raw = msgspec.json.decode(raw, type=dict[str, Any])
            _RAW.__set__(self, raw)
        return raw

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, JobResult):
            return NotImplemented
        return bool(self.raw == other.raw and super().__eq__(other))  # as both are decoded now

    def __hash__(self) -> int:
        return super().__hash__()

    def _told(self) -> dict[str, Any]:
        dollars = None if self.price is None else self.price.dollars
        return {
            "status": "done",
            "id": self.id,
            "type": self.type,
            "dollars": dollars,
            "elapsed": self.metrics.elapsed,
            "job": self.raw or {"type": self.type, "config": self.config},
            "outputs": self.outputs,
            "error": None,
            "attempts": self.attempts,
            "request_id": self.request_id,
            "warnings": self.warnings,
        }

    def __repr__(self) -> str:
        state = self.state.current if self.state else None
        return (
            f"JobResult({self.type!r}, id={self.id!r}, state={state!r}, outputs={list(self.outputs)}, "
            f"attempts={len(self.attempts)})"
        )


class Verdict(Struct, frozen=True):
    """What one attempt came to, before anybody decides what follows from it."""

    kind: VerdictKind
    may_have_run: bool
    reason: str = ""
    status: int | None = None
    request_id: str | None = None
    retry_after: float | None = None
    headers: ReplyHeaders = NO_HEADERS
    result: JobResult | None = None
    cause: Exception | None = None
    written: tuple[pathlib.Path, ...] = ()
    stale: bool = False
    final: bool = False  # the same again could not help
