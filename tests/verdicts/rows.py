"""What the client makes of each fault of the wire: the table in docs/verdicts.md, which the tests expect."""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Row:
    """A fault of the emulator (docs/emulator.md) and what `run` makes of it, with one error forgiven.

    `outcome` is "done" or the error's class; `ran` what `error.may_have_run` says; `attempts` their verdicts;
    `says` a part of the message, or of a warning of the result. `also` is what chance may make of it instead:
    where a reset overtakes an answer, or where the network cuts the bytes.
    """

    fault: str
    outcome: str
    ran: bool
    attempts: tuple[str, ...]
    says: str = ""
    also: Row | None = None

    @property
    def line(self) -> str:
        """The row as a line of a table in Markdown."""
        ran = {True: "yes", False: "no"}[self.ran]
        says = f"... {self.says} ..." if self.says else ""
        first = f"| `{self.fault}` | {self.outcome} | {ran} | {', '.join(self.attempts)} | {says} |"
        return first if self.also is None else f"{first}\n{self.also.line}"

    @property
    def forms(self) -> list[Row]:
        """The row, and what chance may make of it."""
        return [self, *([] if self.also is None else self.also.forms)]

    @property
    def is_upload(self) -> bool:
        """Whether it is met while a large input is sent."""
        return self.fault in ("hang-upload", "reset-upload", "early-429", "early-429-reset", "413")


HEAD = "| fault | outcome | may have run | attempts | says |\n|---|---|---|---|---|"


def _done(fault: str, says: str = "") -> Row:
    return Row(fault, "done", True, ("done",), says)


def _malformed(fault: str, says: str) -> Row:
    return Row(fault, "ProtocolError", True, ("malformed",), says)


def _unknown(fault: str, says: str) -> Row:
    return Row(fault, "TransportError", True, ("unknown",), says)


def _late(fault: str, says: str, *, ran: bool = True) -> Row:
    return Row(fault, "ProdiaTimeoutError", ran, ("timed_out",), says)


def _shed(fault: str, says: str = "no idle capacity") -> Row:
    return Row(fault, "CapacityError", False, ("shed",), says)


def _server(fault: str, says: str, *, ran: bool) -> Row:
    return Row(fault, "ServerError", ran, ("server_error", "server_error"), says)


ROWS = [
    _late("hang-upload", "took nothing of the request", ran=False),
    Row("reset-upload", "TransportError", False, ("not_sent", "not_sent")),
    _shed("early-429", ""),
    replace(
        _shed("early-429-reset", ""),
        also=replace(
            Row("early-429-reset", "TransportError", False, ("not_sent", "not_sent")),
            also=Row("early-429-reset", "CapacityError", False, ("not_sent", "shed")),
        ),
    ),
    _shed("shed"),
    _server("500", "Internal server error", ran=True),
    _server("502", "502 Bad Gateway", ran=True),
    _server("503", "Service unavailable", ran=False),
    Row("413", "APIError", False, ("refused",), "Send smaller inputs"),
    Row("redirect", "APIError", False, ("refused",), "which is not followed"),
    _shed("retry-after-negative"),
    _shed("retry-after-huge"),
    _shed("retry-after-nan"),
    Row("retry-after-past", "CapacityError", False, ("shed",), "no idle capacity"),
    _shed("retry-after-missing"),
    _server("500-after", "Internal server error", ran=True),
    _server("502-after", "502 Bad Gateway", ran=True),
    _malformed("html", "HTML page"),
    _malformed("empty", "cut short"),
    _malformed("header-64k", "cannot be read"),
    _done("gzip"),
    _malformed("gzip-bomb", "Limits.max_expansion"),
    _malformed("gzip-bad", "compressed, and damaged"),
    _unknown("reset", "reset"),
    _unknown("reset-headers", ""),
    _unknown("reset-body", "cut off"),
    _unknown("cut", "cut off"),
    _unknown("cut-chunked", "cut off"),
    _malformed("cut-close", "final multipart boundary is missing"),
    replace(
        _malformed("bad-chunk", "cannot be read"),
        also=_late("bad-chunk", "nothing came of the reply for Timeouts.idle"),
    ),
    _malformed("garbage", "cannot be read"),
    _done("drip"),
    _late("hang", "no answer within Timeouts.first_byte"),
    _late("hang-headers", "no answer within Timeouts.first_byte"),
    _late("hang-body", "nothing came of the reply for Timeouts.idle"),
    _malformed("no-boundary", "final multipart boundary is missing"),
    _done("no-job", "no readable job result"),
    _done("job-last"),
    _malformed("two-jobs", "two job parts"),
    _malformed("wrong-boundary", "cut short"),
    _malformed("lf", "malformed"),
    _done("preamble"),
    _done("epilogue"),
    _done("epilogue-endless"),
    _done("parts"),
    _malformed("too-many-parts", "malformed"),
    _done("names-hostile"),
    _done("names-repeated"),
    _done("names-missing"),
    _malformed("name-nul", "CR, LF or NUL"),
    _done("bad-json", "no readable job result"),
    Row("unknown-state", "JobFailedError", True, ("failed",), "unknown state 'paused'"),
    _malformed("huge-job", "job part exceeds"),
]
