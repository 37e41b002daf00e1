"""A run whose attempts are a test's own: its retry loop as it is, on a bench's limiter and clock."""

from __future__ import annotations

import random

from prodia_async import Job
from prodia_async._door import Call
from prodia_async._engine import Engine
from prodia_async._files.sinks import Budget
from prodia_async._http.bearer import Bearer
from prodia_async._run import Run
from prodia_async._settings import Options, Retry, Token

BEARER = Bearer(Token("t"), lambda token: None)


class ScriptedRun(Run):
    """Has `send(turn)` give the verdict of each attempt."""

    def __init__(self, bench, send, *, line="a", priority=0, retry=Retry(), chance=None, **how):  # noqa: B008
        job = Job(line, priority=priority, mode="async")  # which has no outputs before it is collected
        options = Options(url="", redact=str, retry=retry)
        super().__init__(None, Call(job=job, options=options, line=line, **how))
        self.engine = Engine(None, bench.limiter, Budget(0), chance or random.Random(3), BEARER)
        self._target = None
        self.send = send

    def _conversation(self, engine, watch, turn, body):
        watch.turn = turn
        return self.send(turn)

    async def verdict(self):
        """Run the loop, and return the verdict that is final."""
        self.record.begin(self.engine.tally, self.engine.clock)
        with self._watched(self.engine) as watch:
            return await self._attempts(self.engine, watch, None)
