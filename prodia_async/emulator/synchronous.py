"""`POST /v2/job`: the answer is the job's result and its outputs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prodia_async.emulator.answer import Answer, Form, error_answer, json_answer, multipart_answer, to_json
from prodia_async.emulator.faults.delivery import deliver
from prodia_async.emulator.faults.kinds import Malformed, Outputs, Result
from prodia_async.emulator.results import failed_answer, job_result, price_part
from prodia_async.emulator.runner import RefusedError
from prodia_async.emulator.sending import drop
from prodia_async.emulator.service import JobRoute

if TYPE_CHECKING:
    from aiohttp import web

    from prodia_async.emulator.tasks import Finished, Task


class SynchronousRoute(JobRoute):
    """Runs a job while its client waits."""

    async def _serve(self, request: web.Request, task: Task) -> web.StreamResponse:
        if not _acceptable(task):
            raise RefusedError(
                error_answer(406, f"the outputs of {task.received.type} cannot be sent like this")
            )
        slot = self._take_slot(task)
        try:
            finished = await self._runner.run(task)
            if isinstance(task.fault, Malformed | Outputs | Result):
                self._account.faulted(task.fault.name)
            answer = _answer(task, finished)
            if task.orders.drop is not None and task.within_times:
                halfway = task.orders.drop == "during"
                return await drop(request, answer, self._account, halfway=halfway)
            on_headers = slot.release if self._settings.free_at == "headers" else None
            terms = task.orders.terms
            return await deliver(
                request, answer, task.fault, terms, self._account, on_headers=on_headers, on_end=slot.release
            )
        finally:
            slot.release()


def _acceptable(task: Task) -> bool:
    """Whether the outputs can be sent as the Accept header asks (API reference, Response Body)."""
    wished, types = task.accept.media_type, task.plan.media_types
    if task.accept.form == "direct" and len(types) != 1:
        return False
    if wished is None or task.accept.form == "json":
        return True
    if task.plan.choices:
        return wished in task.plan.choices
    return task.accept.form == "multipart" or wished == types[0]


def _answer(task: Task, finished: Finished) -> Answer:
    failed = finished.error is not None
    status = 400 if failed and not task.orders.fail_200 else 200
    result = job_result(task, "failed" if failed else "completed", finished)
    if task.priced and not failed:
        result |= price_part(task)
    last = task.orders.job_part == "last"
    if isinstance(task.fault, Malformed | Outputs | Result):
        form = Form(status, to_json(result), finished.outputs, job_last=last, sized=task.plan.sized)
        return task.fault.answer(form)
    if failed:
        return failed_answer(result, task.accept, status)
    if task.accept.form == "json":
        return json_answer(200, result)
    if task.accept.form == "direct":
        [output] = finished.outputs
        return Answer(200, output.content_type, (output,), sized=task.plan.sized)
    return multipart_answer(200, result, finished.outputs, job_last=last, sized=task.plan.sized)
