"""All faults by name, and the chance with which each is met."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias

from prodia_async.emulator._faults import body, wire

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

Stage: TypeAlias = Literal["upload", "refusal", "answer", "wire", "form", "outputs", "result"]

_ASKED = {"upload": "submission", "form": "none", "outputs": "outputs", "result": "job.json"}
_PAST = "Wed, 21 Oct 2015 07:28:00 GMT"
_ROUNDING = 1e-9


class Fault(NamedTuple):
    """One fault: what a client meets, and where it acts on a request's way.

    `act` takes and returns what its stage works with. upload: the line, to an answer, or to None where it
    has closed the connection. refusal: Retry-After, to an answer. answer: an answer, to another. wire: the
    line and the answer, which it sends in its own way. form: the parts, to an answer. outputs: the outputs,
    to others. result: the job result, to bytes. `keeps`: whether what the answer held still comes.
    """

    name: str
    stage: Stage
    does: str
    act: Callable[..., Any]
    keeps: bool = True

    @property
    def ran(self) -> bool:
        """Whether a job that meets it has run, or will, and is billed."""
        return self.stage not in ("upload", "refusal")

    @property
    def asked(self) -> str:
        """Which requests of the asynchronous API can meet it."""
        return _ASKED.get(self.stage, "all")


# Name, stage, what it does to a client, how; False: what the answer held is lost.
_ROWS: tuple[tuple[Any, ...], ...] = (
    ("hang-upload", "upload", "the body is read no further, and no answer comes", wire.Line.hang),
    ("reset-upload", "upload", "reset (RST) while the body is sent", wire.Line.reset),
    ("early-429", "upload", "429 while the body is sent", wire.early_429),
    ("early-429-reset", "upload", "429 while the body is sent, then a reset", wire.early_429_reset),
    ("shed", "refusal", "429 with `Retry-After`", body.refuse(429)),
    ("500", "refusal", "500 with JSON", body.refuse(500)),
    ("502", "refusal", "502 with HTML", body.refuse(502)),
    ("503", "refusal", "503 with `Retry-After`", body.refuse(503)),
    ("413", "refusal", "413 with JSON", body.refuse(413)),
    ("redirect", "refusal", "307 to `https://elsewhere.invalid/`", body.redirect),
    ("retry-after-negative", "refusal", "429 with `Retry-After: -5`", body.refuse_with("-5")),
    ("retry-after-huge", "refusal", "429 with `Retry-After: 86400000`", body.refuse_with("86400000")),
    ("retry-after-nan", "refusal", "429 with `Retry-After: nan`", body.refuse_with("nan")),
    ("retry-after-past", "refusal", "429 with a date of 2015 as `Retry-After`", body.refuse_with(_PAST)),
    ("retry-after-missing", "refusal", "429 without `Retry-After`", body.refuse_with(None)),
    ("500-after", "answer", "500 with JSON", body.be_error(500), False),
    ("502-after", "answer", "502 with HTML", body.be_error(502), False),
    ("html", "answer", "200 with a page of HTML", body.be_html, False),
    ("empty", "answer", "an empty body, with `Content-Length: 0`", body.be_empty, False),
    ("header-64k", "answer", "a header of 64 KiB", body.add_header("x-padding", "x" * body.HEADER)),
    ("gzip", "answer", "`Content-Encoding: gzip`", body.be_gzip),
    ("gzip-bomb", "answer", "gzip, 1 MiB that expands to 1 GiB in the last part", body.be_bomb),
    ("gzip-bad", "answer", "`Content-Encoding: gzip` on a body that is not compressed",
     body.add_header("Content-Encoding", "gzip")),
    ("reset", "wire", "reset before the headers", wire.sent("nothing", "reset")),
    ("reset-headers", "wire", "reset when half of the headers was sent", wire.sent("half head", "reset")),
    ("reset-body", "wire", "reset when half of the body was sent", wire.sent("half body", "reset")),
    ("cut", "wire", "closed when half of the body was sent, with `Content-Length`",
     wire.sent("half body", "close")),
    ("cut-chunked", "wire", "the same, chunked", wire.sent("half body", "close", "chunked")),
    ("cut-close", "wire", "the same, a body that ends with the connection",
     wire.sent("half body", "close", "close")),
    ("bad-chunk", "wire", "half of the body in chunks, then one whose size is no number",
     wire.sent("half body", "close", "chunked", b"size\r\nx\r\n")),
    ("garbage", "wire", "bytes that are no HTTP",
     wire.sent("nothing", "close", extra=b"\x00\x15\x03\x01 this is no HTTP \xff\xfe\r\n\r\n")),
    ("drip", "wire", "the body a byte at a time, one every 10 ms; cut at the time limit", wire.drip),
    ("hang", "wire", "nothing comes", wire.sent("nothing", "hang")),
    ("hang-headers", "wire", "nothing comes after half of the headers", wire.sent("half head", "hang")),
    ("hang-body", "wire", "nothing comes after half of the body", wire.sent("half body", "hang")),
    ("no-boundary", "form", "no final boundary", body.drop_end),
    ("no-job", "form", "no job part", body.drop_job),
    ("job-last", "form", "the job part last", body.put_job_last),
    ("two-jobs", "form", "the job part first and last", body.repeat_job),
    ("wrong-boundary", "form", "another boundary in `Content-Type` than in the body", body.rename_boundary),
    ("lf", "form", "boundaries and headers of parts end in LF alone", body.end_lines_with_lf),
    ("preamble", "form", "2 KB of text before the first boundary", body.add_preamble),
    ("epilogue", "form", "1 MiB after the final boundary", body.add_epilogue(1024**2, sized=True)),
    ("epilogue-endless", "form", "1 GiB after the final boundary, chunked",
     body.add_epilogue(1024**3, sized=False)),
    ("parts", "outputs", "1,000 parts, small outputs beside the job's own", body.fill_up(1000)),
    ("too-many-parts", "outputs", "1,001 parts", body.fill_up(1001)),
    ("names-hostile", "outputs", "the first output under each of 20 hostile names",
     body.rename(*body.HOSTILE)),
    ("names-repeated", "outputs", "the first output three times under one name", body.repeat_name),
    ("names-missing", "outputs", "the outputs, and one more, without names", body.drop_names),
    ("name-nul", "outputs", "the first output under a name with a NUL", body.rename("a\0b.png")),
    ("bad-json", "result", "half of the job result's JSON", body.break_json),
    ("unknown-state", "result", "a job result in the state `paused`",
     body.set_field(state={"current": "paused", "history": None})),
    ("huge-job", "result", "a job result of 8 MiB", body.set_field(padding="x" * body.HUGE)),
)  # fmt: skip
FAULTS = {fault.name: fault for fault in (Fault(*row) for row in _ROWS)}


class Dice:
    """Says which fault a request meets by chance, the same ones for the same seed. Raises ValueError."""

    def __init__(self, rates: Mapping[str, float], seed: int) -> None:
        for name, rate in rates.items():
            if name not in FAULTS:
                raise ValueError(f"faults= has no {name!r}: there are {', '.join(FAULTS)}")
            if not 0 <= rate <= 1:
                raise ValueError(f"faults= takes chances from 0 to 1, such as 0.01, not {rate!r} for {name}")
        if sum(rates.values()) > 1 + _ROUNDING:
            raise ValueError("faults= takes chances that are at most 1 together")
        self._rates = dict(rates)
        self._chance = random.Random(f"faults {seed}")  # noqa: S311 - repeatable, no secret

    def throw(self) -> Fault | None:
        """Return the fault that the next request meets, or None."""
        if not self._rates:
            return None
        number = self._chance.random()
        for name, rate in self._rates.items():
            number -= rate
            if number < 0:
                return FAULTS[name]
        return None
