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

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Sequence

    from prodia_async._models import Attempt, JobHandle, JobResult, Verdict


class ProdiaError(Exception):
    """The root of everything that this package raises on purpose.

    `attempts` lists what was tried; `may_have_run` is True if any of it may have run, and been billed.
    """

    def __init__(
        self, message: str, *, attempts: Sequence[Attempt] = (), may_have_run: bool | None = None
    ) -> None:
        super().__init__(message)
        self.message = message
        self.attempts = tuple(attempts)
        self.may_have_run = (
            any(attempt.may_have_run for attempt in self.attempts) if may_have_run is None else may_have_run
        )

    def __str__(self) -> str:
        return self.message

    def __reduce__(self) -> tuple[Any, ...]:
        return _revive, (type(self), self.message), self.__dict__


def _revive(kind: type[ProdiaError], message: str) -> ProdiaError:
    """Make an error again from its pickle: keyword-only arguments come back through its `__dict__`."""
    return kind(message)


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
    """The connection could not be made, was reset or cut off."""


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
        revive, arguments, state = super().__reduce__()
        return revive, arguments, {**state, "errno": self.errno}  # OSError keeps it outside of __dict__


class QueueFullError(ProdiaError):
    """The client's own waiting line is full: nothing was sent."""


class ClientClosedError(ProdiaError):
    """The client was closed before the job was done: run it again with a client that is open.

    `handle` is an asynchronous job's that the service has: its result can still be collected.
    """

    handle: JobHandle | None = None


class BudgetExceededError(ProdiaError):
    """The batch's money is spent."""


_BY_STATUS: dict[int, type[APIError]] = {
    400: BadRequestError,
    401: AuthenticationError,
    403: PermissionDeniedError,
    404: NotFoundError,
    429: CapacityError,
}

_ADVICE = {
    400: "Correct the job's configuration or inputs.",
    401: "Check the token: PRODIA_TOKEN or Prodia(token=...).",
    403: "The token may not run this job type: ask for access, or use another token.",
    404: "Check the base URL and the job's type or id.",
    413: "Send smaller inputs.",
    429: "The service has no idle capacity: try later, or set Retry(patience=..., max_retry_after=...).",
}
_KIND_ADVICE = {
    "failed": "Correct the job, or run it again if the reason looks passing.",
    "not_sent": "Check the network, the base URL and any proxy.",
    "refused": "Check the job and the base URL, and quote the request id to support if both are right.",
    "server_error": "Usually passing: try again later, and quote the request id to support if it is not.",
    "unknown": "The job may have run and been billed: to run it again anyway, set Retry(resend_unknown=1).",
    "malformed": "The job may have run and been billed; check the base URL and any proxy in between.",
    "timed_out": "Allow more time with Timeouts(...) or timeout=.",
    "bad_input": "Correct the input and run the job again.",
    "lost": "Collect results before they expire; if it was never collected, run the job again.",
    "not_kept": "The job ran and was billed: make room or another place for its output.",
}


def error_for(verdict: Verdict, subject: str, attempts: Sequence[Attempt]) -> ProdiaError:
    """Return the error that a final verdict means for the job described by `subject`."""
    message = _message(verdict, subject, len(attempts))
    if verdict.kind in ("refused", "server_error", "shed", "lost"):
        error: ProdiaError = _api_error(verdict, message, attempts)
    else:
        error = _PLAIN[verdict.kind](message, attempts=attempts)
    error.may_have_run |= verdict.may_have_run
    if isinstance(error, JobFailedError | OutputError):
        error.result = verdict.result
    if isinstance(error, OutputError):
        error.written = verdict.written
        error.errno = getattr(verdict.cause, "errno", None)
    error.__cause__ = verdict.cause
    return error


_PLAIN: dict[str, type[ProdiaError]] = {
    "failed": JobFailedError,
    "not_sent": TransportError,
    "unknown": TransportError,
    "malformed": ProtocolError,
    "timed_out": ProdiaTimeoutError,
    "bad_input": InputError,
    "not_kept": OutputError,
}


def _api_error(verdict: Verdict, message: str, attempts: Sequence[Attempt]) -> APIError:
    status = verdict.status or 0
    kind = ServerError if verdict.kind == "server_error" else _BY_STATUS.get(status, APIError)
    error = kind(
        message,
        status=verdict.status,
        request_id=verdict.request_id,
        result=verdict.result,
        attempts=attempts,
    )
    if isinstance(error, CapacityError):
        error.retry_after = verdict.retry_after
    return error


def _message(verdict: Verdict, subject: str, tries: int) -> str:
    where = [f"status {verdict.status}"] if verdict.status is not None else []
    where += [f"request id {verdict.request_id}"] if verdict.request_id else []
    where += [f"{tries} attempts"] if tries > 1 else []
    place = f" ({', '.join(where)})" if where else ""
    advice = "" if verdict.kind == "lost" else _ADVICE.get(verdict.status or 0, "")
    advice = advice or _KIND_ADVICE.get(verdict.kind, "")
    reason = verdict.reason.strip().rstrip(".") or verdict.kind.replace("_", " ")
    return f"{subject}: {reason}{place}. {advice}".rstrip()
