"""`POST /v2/job`: the answer is the job's result and its outputs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prodia_async.emulator.answer import Answer, error_answer, json_answer, multipart_answer
from prodia_async.emulator.results import failed_answer, job_result, price_part
from prodia_async.emulator.runner import RefusedError
from prodia_async.emulator.sending import drop, send
from prodia_async.emulator.service import JobRoute

if TYPE_CHECKING:
    from aiohttp import web

    from prodia_async.emulator.runner import Finished, Task


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
            answer = _answer(task, finished)
            if task.orders.drop is not None and task.within_times:
                halfway = task.orders.drop == "during"
                return await drop(request, answer, self._account, halfway=halfway)
            on_headers = slot.release if self._settings.free_at == "headers" else None
            return await send(request, answer, self._account, on_headers=on_headers, on_end=slot.release)
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
    if finished.error is not None:
        status = 200 if task.orders.fail_200 else 400
        return failed_answer(job_result(task, "failed", finished), task.accept, status)
    result = job_result(task, "completed", finished)
    if task.priced:
        result |= price_part(task)
    if task.accept.form == "json":
        return json_answer(200, result)
    if task.accept.form == "direct":
        [output] = finished.outputs
        return Answer(200, output.content_type, (output,), sized=task.plan.sized)
    last = task.orders.job_part == "last"
    return multipart_answer(200, result, finished.outputs, job_last=last, sized=task.plan.sized)
