"""The kinds of faults: each acts at one place of a request's way, and so knows whether the job ran."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from prodia_async.emulator.answer import Answer, Form, RetryAfter
    from prodia_async.emulator.faults.line import Line
    from prodia_async.emulator.jobs import OutputFile


@dataclass(frozen=True)
class Fault:
    """One fault: `does` says what a client meets.

    `ran` tells whether a job that meets it has run, or will, and is billed; `stage` where it acts; `asked`
    which requests of the asynchronous API can meet it.
    """

    name: str
    does: str

    ran: ClassVar[bool] = True
    stage: ClassVar[str] = "answer"
    asked: ClassVar[str] = "all"


@dataclass(frozen=True)
class Upload(Fault):
    """Acts while the request is sent; gives an answer, or None where it has closed the connection."""

    act: Callable[[Line], Awaitable[Answer | None]]

    ran: ClassVar[bool] = False
    stage: ClassVar[str] = "upload"
    asked: ClassVar[str] = "submission"


@dataclass(frozen=True)
class Refusal(Fault):
    """Answers in place of running the job."""

    answer: Callable[[RetryAfter], Answer]

    ran: ClassVar[bool] = False
    stage: ClassVar[str] = "refusal"


@dataclass(frozen=True)
class Altered(Fault):
    """Sends another answer than the one that was made."""

    change: Callable[[Answer], Answer]


@dataclass(frozen=True)
class Lost(Altered):
    """Sends something else: what the answer held is lost."""


@dataclass(frozen=True)
class Wire(Fault):
    """Sends the answer in its own way, and closes the connection."""

    act: Callable[[Line, Answer], Awaitable[None]]

    stage: ClassVar[str] = "wire"


@dataclass(frozen=True)
class Malformed(Fault):
    """Writes the multipart form of the answer in another way."""

    change: Callable[[Form], Answer]

    stage: ClassVar[str] = "form"
    asked: ClassVar[str] = "none"

    def answer(self, form: Form) -> Answer:
        """Return the answer that is sent for a form."""
        return self.change(form)


@dataclass(frozen=True)
class Outputs(Fault):
    """Gives the job other outputs, or other names for them."""

    change: Callable[[tuple[OutputFile, ...]], tuple[OutputFile, ...]]

    stage: ClassVar[str] = "outputs"
    asked: ClassVar[str] = "outputs"

    def answer(self, form: Form) -> Answer:
        """Return the answer that is sent for a form."""
        return replace(form, outputs=self.change(form.outputs)).answer()


@dataclass(frozen=True)
class Result(Fault):
    """Writes the job result in another way."""

    change: Callable[[dict[str, Any]], bytes]

    stage: ClassVar[str] = "result"
    asked: ClassVar[str] = "job.json"

    def answer(self, form: Form) -> Answer:
        """Return the answer that is sent for a form."""
        return replace(form, job=self.change(json.loads(form.job))).answer()

    def alone(self, answer: Answer) -> Answer:
        """Return the answer that is sent for one that holds the job result alone."""
        return replace(answer, pieces=(self.change(json.loads(b"".join(answer.blocks()))),))
