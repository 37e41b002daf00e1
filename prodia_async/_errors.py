"""The error tree, and the one table from verdict to error.

Every message says what happened, to which job, where, and what to do next; none holds the token.
`may_have_run` on each error tells whether any attempt of the job may have run, and been billed.

    ProdiaError
    |- InputError (ValueError)
    |- APIError
    |  |- BadRequestError · AuthenticationError · PermissionDeniedError · NotFoundError
    |  |- CapacityError
    |  `- ServerError
    |- JobFailedError
    |- TransportError
    |  `- ProdiaTimeoutError (TimeoutError)
    |- ProtocolError
    |- OutputError (OSError)
    |- QueueFullError
    |- ClientClosedError
    `- BudgetExceededError
"""

from __future__ import annotations

import pathlib
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from prodia_async._models import Attempt, JobResult, Verdict
from prodia_async._plain import NO_HEADERS, Plain, ReplyHeaders

if TYPE_CHECKING:
    from multidict import CIMultiDictProxy

MOST_SHOWN = 200
"""Characters of a user's text that a message quotes."""


def quoted(value: object, form: Callable[[object], str] = repr) -> str:
    """Return what a user gave as a message shows it, in short. Never raises, whatever the value is."""
    try:
        shown = form(value[: MOST_SHOWN + 1] if isinstance(value, str | bytes) else value)
    except Exception:  # noqa: BLE001 - it may be any object of the user's
        shown = f"of type {type(value).__name__}"
    return shown if len(shown) <= MOST_SHOWN else shown[:MOST_SHOWN] + "…"


def reason_of(error: BaseException) -> str:
    """Return why something failed: what the system says, without the path that an OSError repeats."""
    return quoted(getattr(error, "strerror", None) or error, str) or type(error).__name__


class ProdiaError(Plain, Exception):
    """The root of everything that this package raises on purpose.

    `attempts` lists what was tried; `may_have_run` is True if any of it may have run, and been billed.
    """

    _headers: ReplyHeaders = NO_HEADERS

    def __init__(
        self, message: str, *, attempts: Sequence[Attempt] = (), may_have_run: bool | None = None
    ) -> None:
        super().__init__(message)
        self.message = message
        self.attempts: tuple[Attempt, ...] = tuple(attempts)
        self.may_have_run: bool = (
            any(attempt.may_have_run for attempt in self.attempts) if may_have_run is None else may_have_run
        )

    @property
    def headers(self) -> CIMultiDictProxy[str]:
        """The headers of the reply that ended the job; none where none came."""
        return self._headers.read()

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.message,), self.__dict__

    def _told(self) -> dict[str, Any]:
        result: JobResult | None = getattr(self, "result", None)
        return {
            "status": "failed",
            "id": None if result is None else result.id,
            "type": None if result is None else result.type,
            "job": None if result is None else result.raw,
            "outputs": [{"path": path} for path in getattr(self, "written", ())],
            "error": {
                "type": type(self).__name__,
                "message": self.message,
                "status": getattr(self, "status", None),
                "request_id": getattr(self, "request_id", None),
                "may_have_run": self.may_have_run,
            },
            "attempts": self.attempts,
        }


class InputError(ProdiaError, ValueError):
    """A bad job, file, name or option; also a source that failed or changed while it was sent."""


class APIError(ProdiaError):
    """The service answered with an error status (API reference, Status Codes)."""

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        request_id: str | None = None,
        result: JobResult | None = None,
        attempts: Sequence[Attempt] = (),
        may_have_run: bool | None = None,
    ) -> None:
        super().__init__(message, attempts=attempts, may_have_run=may_have_run)
        self.status = status
        self.request_id = request_id
        self.result = result


class BadRequestError(APIError):
    """400: the request was malformed; `result` is the job result where the service sent one."""


class AuthenticationError(APIError):
    """401: the token is missing, wrong or expired."""


class PermissionDeniedError(APIError):
    """403: the token may not run this job type."""


class NotFoundError(APIError):
    """404: no such route or job, or it expired."""


class CapacityError(APIError):
    """429 for longer than `Retry.patience`, or a Retry-After above `Retry.max_retry_after` (seconds)."""

    retry_after: float | None = None


class ServerError(APIError):
    """5xx, again and again."""


class JobFailedError(ProdiaError):
    """The service ran the job and says that it failed; `result` is its job result."""

    result: JobResult | None = None


class TransportError(ProdiaError):
    """The connection could not be made, was reset or cut off; `is_final` where it cannot be made at all."""

    is_final: bool = False


class JobHandle(Protocol):
    """What an error carries of a job that the service has: `Prodia.submit` tells what a handle can do."""

    id: str

    async def state(self, *, timeout: float | None = ...) -> str:
        """Ask for the job's state."""

    async def wait(self, *, timeout: float | None = ...) -> str:
        """Return the job's state once it has ended."""

    async def result(
        self,
        to: Any = None,
        *,
        price: bool | None = None,
        timeout: float | None = ...,
        on_state: Callable[[str], object] | None = None,
    ) -> JobResult:
        """Wait for the job, store its outputs, and return its result."""


class ProdiaTimeoutError(TransportError, TimeoutError):
    """A time limit of ours passed; the job may still be running, and is never sent again by itself.

    `handle` is an asynchronous job's, once the service has it: its result can still be waited for.
    """

    handle: JobHandle | None = None


class ProtocolError(ProdiaError):
    """The answer is not what the API promises, or breaks one of `Limits`."""


class OutputError(ProdiaError, OSError):
    """The job ran, but its output could not be kept: `result` is the job result, `written` what stands."""

    result: JobResult | None = None
    written: tuple[pathlib.Path, ...] = ()

    def __reduce__(self) -> tuple[Any, ...]:
        kind, arguments, state = super().__reduce__()
        return kind, arguments, {**state, "errno": self.errno}  # OSError keeps it outside of __dict__


class QueueFullError(ProdiaError):
    """The client's own waiting line is full: nothing was sent."""


class ClientClosedError(ProdiaError):
    """The client was closed before the job was done: run it again with a client that is open.

    `handle` is an asynchronous job's that the service has: its result can still be collected.
    """

    handle: JobHandle | None = None


class BudgetExceededError(ProdiaError):
    """The batch's money is spent."""


_BY_STATUS: dict[int | None, tuple[type[APIError], str]] = {
    400: (BadRequestError, "Correct the job's configuration or inputs."),
    401: (AuthenticationError, "Check the token: PRODIA_TOKEN or Prodia(token=...)."),
    403: (
        PermissionDeniedError,
        "The token may not run this job type: ask for access, or use another token.",
    ),
    404: (NotFoundError, "Check the base URL and the job's type or id."),
    407: (APIError, "Give the proxy its user and password: https_proxy=http://user:password@host:port."),
    413: (APIError, "Send smaller inputs."),
    429: (
        CapacityError,
        "The service has no idle capacity: try later, or set Retry(patience=..., max_retry_after=...).",
    ),
}
_RAN = "The job may have run and been billed"
_ASK = "and quote the request id to support if"
_BY_KIND: dict[str, tuple[type[ProdiaError], str]] = {
    "failed": (JobFailedError, "Correct the job, or run it again if the reason looks temporary."),
    "not_sent": (TransportError, "Check the network, the base URL and any proxy."),
    "refused": (APIError, f"Check the job and the base URL, {_ASK} both are right."),
    "server_error": (ServerError, f"Usually temporary: try again later, {_ASK} it is not."),
    "shed": (APIError, ""),
    "unknown": (TransportError, f"{_RAN}: to run it again anyway, set Retry(resend_unknown=1)."),
    "malformed": (ProtocolError, f"{_RAN}; check the base URL and any proxy in between."),
    "timed_out": (ProdiaTimeoutError, "Allow more time with Timeouts(...) or timeout=."),
    "bad_input": (InputError, "Correct the input and run the job again."),
    "lost": (APIError, "Collect results before they expire; if it was never collected, run the job again."),
    "not_kept": (OutputError, "The job ran and was billed: make room or another place for its output."),
}


def error_for(verdict: Verdict, subject: str, attempts: Sequence[Attempt]) -> ProdiaError:
    """Return the error that a final verdict means for the job described by `subject`."""
    kind, advice = _BY_KIND[verdict.kind]
    by_status = _BY_STATUS.get(verdict.status)
    if by_status is not None:
        kind = by_status[0] if kind is APIError else kind
        advice = advice if verdict.kind == "lost" else by_status[1]
    where = [f"status {verdict.status}"] if verdict.status is not None else []
    where += [f"request id {verdict.request_id}"] if verdict.request_id else []
    where += [f"{len(attempts)} attempts"] if len(attempts) > 1 else []
    place = f" ({', '.join(where)})" if where else ""
    reason = verdict.reason.strip().rstrip(".") or verdict.kind.replace("_", " ")
    error = kind(f"{subject}: {reason}{place}. {advice}".rstrip(), attempts=attempts)
    error.may_have_run |= verdict.may_have_run
    error._headers = verdict.headers  # noqa: SLF001 - the module's own
    for name in ("status", "request_id", "result", "retry_after", "written"):
        if hasattr(error, name):
            setattr(error, name, getattr(verdict, name))
    if isinstance(error, TransportError):
        error.is_final = verdict.final
    if isinstance(error, OutputError):
        error.errno = getattr(verdict.cause, "errno", None)
    error.__cause__ = verdict.cause
    return error
