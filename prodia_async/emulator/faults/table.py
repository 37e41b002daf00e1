"""All faults by name, and the chance with which each is met."""

from __future__ import annotations

import random
import re
from typing import TYPE_CHECKING

from prodia_async.emulator.faults import answers, forms, wire
from prodia_async.emulator.faults.kinds import (
    Altered,
    Fault,
    Lost,
    Malformed,
    Outputs,
    Refusal,
    Result,
    Upload,
    Wire,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

_PAST = "Wed, 21 Oct 2015 07:28:00 GMT"
_ROUNDING = 1e-9
_SUFFIX = re.compile(r"\.fault-([^.]*)$")

_ALL: tuple[Fault, ...] = (
    Upload("hang-upload", "the body is read no further, and no answer comes", wire.hang_upload),
    Upload("reset-upload", "reset (RST) while the body is sent", wire.reset_upload),
    Upload("early-429", "429 while the body is sent", wire.early_429),
    Upload("early-429-reset", "429 while the body is sent, then a reset", wire.early_429_reset),
    Refusal("shed", "429 with `Retry-After`", answers.refuse(429)),
    Refusal("500", "500 with JSON", answers.refuse(500)),
    Refusal("502", "502 with HTML", answers.refuse(502)),
    Refusal("503", "503 with `Retry-After`", answers.refuse(503)),
    Refusal("413", "413 with JSON", answers.refuse(413)),
    Refusal("redirect", "307 to `https://elsewhere.invalid/`", answers.redirect),
    Refusal("retry-after-negative", "429 with `Retry-After: -5`", answers.refuse_with("-5")),
    Refusal("retry-after-huge", "429 with `Retry-After: 86400000`", answers.refuse_with("86400000")),
    Refusal("retry-after-nan", "429 with `Retry-After: nan`", answers.refuse_with("nan")),
    Refusal("retry-after-past", "429 with a date of 2015 as `Retry-After`", answers.refuse_with(_PAST)),
    Refusal("retry-after-missing", "429 without `Retry-After`", answers.refuse_with(None)),
    Lost("500-after", "500 with JSON", answers.lose(500)),
    Lost("502-after", "502 with HTML", answers.lose(502)),
    Lost("html", "200 with a page of HTML", answers.be_html),
    Lost("empty", "an empty body, with `Content-Length: 0`", answers.be_empty),
    Altered("header-64k", "a header of 64 KiB", answers.add_header),
    Altered("gzip", "`Content-Encoding: gzip`", answers.be_gzip),
    Altered("gzip-bomb", "gzip, 1 MiB that expands to 1 GiB in the last part", answers.be_bomb),
    Altered("gzip-bad", "`Content-Encoding: gzip` on a body that is not compressed", answers.mislabel),
    Wire("reset", "reset before the headers", wire.reset),
    Wire("reset-headers", "reset when half of the headers was sent", wire.reset_headers),
    Wire("reset-body", "reset when half of the body was sent", wire.reset_body),
    Wire("cut", "closed when half of the body was sent, with `Content-Length`", wire.cut),
    Wire("cut-chunked", "the same, chunked", wire.cut_chunked),
    Wire("cut-close", "the same, a body that ends with the connection", wire.cut_close),
    Wire("bad-chunk", "half of the body in chunks, then one whose size is no number", wire.bad_chunk),
    Wire("garbage", "bytes that are no HTTP", wire.garbage),
    Wire("drip", "the body a byte at a time, one every 10 ms; cut at the time limit", wire.drip),
    Wire("hang", "nothing comes", wire.hang),
    Wire("hang-headers", "nothing comes after half of the headers", wire.hang_headers),
    Wire("hang-body", "nothing comes after half of the body", wire.hang_body),
    Malformed("no-boundary", "no final boundary", forms.drop_end),
    Malformed("no-job", "no job part", forms.drop_job),
    Malformed("job-last", "the job part last", forms.put_job_last),
    Malformed("two-jobs", "the job part first and last", forms.repeat_job),
    Malformed("wrong-boundary", "another boundary in `Content-Type` than in the body", forms.rename_boundary),
    Malformed("lf", "boundaries and headers of parts end in LF alone", forms.end_lines_with_lf),
    Malformed("preamble", "2 KB of text before the first boundary", forms.add_preamble),
    Malformed("epilogue", "1 MiB after the final boundary", forms.add_epilogue(forms.EPILOGUE, sized=True)),
    Malformed(
        "epilogue-endless",
        "1 GiB after the final boundary, chunked",
        forms.add_epilogue(forms.ENDLESS, sized=False),
    ),
    Outputs("parts", "1,000 parts, small outputs beside the job's own", forms.fill_up(1000)),
    Outputs("too-many-parts", "1,001 parts", forms.fill_up(1001)),
    Outputs("names-hostile", "the first output under each of 20 hostile names", forms.rename(*forms.HOSTILE)),
    Outputs("names-repeated", "the first output three times under one name", forms.repeat_name),
    Outputs("names-missing", "the outputs, and one more, without names", forms.drop_names),
    Outputs("name-nul", "the first output under a name with a NUL", forms.rename("a\0b.png")),
    Result("bad-json", "half of the job result's JSON", forms.break_json),
    Result("unknown-state", "a job result in the state `paused`", forms.change_state),
    Result("huge-job", "a job result of 8 MiB", forms.pad_result),
)
FAULTS = {fault.name: fault for fault in _ALL}


def fault_of_type(job_type: str) -> str | None:
    """Return what stands after `.fault-` at the end of a job type: a fault's name, or what should be one."""
    found = _SUFFIX.search(job_type)
    return None if found is None else found[1]


def check_rates(rates: Mapping[str, float]) -> None:
    """Check the chances of faults. Raises ValueError."""
    for name, rate in rates.items():
        if name not in FAULTS:
            raise ValueError(f"there is no fault {name!r}; there are {', '.join(FAULTS)}")
        if not 0 <= rate <= 1:
            raise ValueError(f"the rate of {name} cannot be {rate!r}: from 0 to 1")
    if sum(rates.values()) > 1 + _ROUNDING:
        raise ValueError("the rates of faults cannot exceed 1 together")


class Dice:
    """Says which fault a request meets by chance, the same ones for the same seed."""

    def __init__(self, rates: Mapping[str, float], seed: int) -> None:
        self._rates = rates
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
