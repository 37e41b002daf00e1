"""A job that was understood, what came of it, and the answer that its client gets."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

from msgspec import Struct, field

from prodia_async.emulator import _answer as answers
from prodia_async.emulator._answer import (
    Answer,
    Form,
    error_answer,
    failed_answer,
    json_answer,
    multipart_answer,
    to_json,
)
from prodia_async.emulator._faults.table import Fault
from prodia_async.emulator._orders import Orders
from prodia_async.emulator._plans import OutputFile, Plan
from prodia_async.emulator._request import Accept, ReceivedInput, ReceivedJob


class Task(Struct):
    """A job that was understood: what to do with it, and what its answer is made of.

    `dollars` is its price; `priced` whether the client asked for it.
    """

    received: ReceivedJob
    orders: Orders
    plan: Plan
    accept: Accept
    attempt: int
    priced: bool
    dollars: float | None
    fault: Fault | None = None
    id: str = field(default_factory=lambda: str(uuid4()))
    created: datetime = field(default_factory=answers.now)

    @property
    def media_type(self) -> str:
        """The type of the first output: the one asked for where it can be made, else its own."""
        if self.accept.media_type in self.plan.choices:
            return self.accept.media_type or ""
        return self.plan.media_types[0] if self.plan.media_types else ""

    @property
    def within_times(self) -> bool:
        """Whether this request is one of the first so many that get the ordered fault."""
        return self.attempt <= self.orders.times

    def result(
        self, state: str, finished: Finished | None = None, lifetime: timedelta | None = None
    ) -> dict[str, Any]:
        """Return the job result in the given state, without its price (API reference, Job Result).

        It expires `lifetime` from now on; by default, five minutes after the job's creation.
        """
        expires = self.created + answers.LIFETIME if lifetime is None else answers.now() + lifetime
        result = self.received.job | answers.times(self.created, expires)
        result |= {"id": self.id, "state": {"current": state, "history": None}, "config": self.plan.config}
        if self.plan.recorded is not None and finished is not None:
            result |= self.plan.recorded.result
        if finished is not None and finished.error is not None:
            result["error"] = finished.error
        elif finished is not None:
            result["metrics"] = finished.metrics
        result["emulator"] = described(self.received, self.attempt)
        return result

    @property
    def price(self) -> dict[str, Any]:
        """What a completed job's result tells of its price, to a client that asked for it."""
        product = self.received.type.rpartition(".")[0].replace(".", "-")
        told = None if self.dollars is None else {"product": product, "dollars": self.dollars}
        return {"price": told}


class Finished(Struct):
    """What came of a job: its outputs and metrics, or the error that it failed with, by which status."""

    outputs: tuple[OutputFile, ...] = ()
    metrics: dict[str, float] = {}
    error: str | None = None
    status: int = 200


def described(received: ReceivedJob, attempt: int) -> dict[str, Any]:
    """Return what a job result tells of the request as it was read."""
    return {"inputs": list(map(ReceivedInput.described, received.inputs)), "attempt": attempt}


def acceptable(task: Task) -> bool:
    """Whether the outputs can be sent as the Accept header asks (API reference, Response Body)."""
    form, wished = task.accept
    types = task.plan.media_types
    if form == "direct" and len(types) != 1:
        return False
    if wished is None or form == "json":
        return True
    if task.plan.choices:
        return wished in task.plan.choices
    return form == "multipart" or wished == types[0]


def answer_of(task: Task, finished: Finished) -> Answer:
    """Return the answer to a job that has run, as its client asked for it, or as a fault has it."""
    if finished.status == 500:  # noqa: PLR2004 - something broke here, which no job result tells
        return error_answer(500, finished.error)
    failed = finished.error is not None
    status = 400 if failed and not task.orders.fail_200 else 200
    result = task.result("failed" if failed else "completed", finished)
    if task.priced and not failed:
        result |= task.price
    last, outputs, fault = task.orders.job_part == "last", finished.outputs, task.fault
    if fault is not None and fault.stage in ("form", "outputs", "result"):
        job = fault.act(result) if fault.stage == "result" else to_json(result)
        outputs = fault.act(outputs) if fault.stage == "outputs" else outputs
        form = Form(status, job, outputs, last, task.plan.sized)
        return fault.act(form) if fault.stage == "form" else form.answer()
    if failed:
        return failed_answer(result, task.accept, status)
    if task.accept.form == "json":
        return json_answer(200, result)
    if task.accept.form == "direct":
        [output] = outputs
        return Answer(200, output.content_type, (output,), sized=task.plan.sized)
    return multipart_answer(200, result, outputs, job_last=last, sized=task.plan.sized)
