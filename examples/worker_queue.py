"""The queue of worker.py: a SQLite table, which the workers of one machine share.

A claimed row is leased: its worker renews the lease while it lives, and when it has died the row comes back.
A row that was cut or lost may have run, and been billed: it is run again once. When that, too, ends without a
result, it is `unsure`, and waits for a person: a second payment is cheaper than a look at it, a third is not.
"""

from __future__ import annotations

import os
import sqlite3
import sys
import time
import uuid
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import anyio
import msgspec

from prodia_async import InputError, Job, JobResult

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

TABLE = """create table if not exists jobs (
    id integer primary key, job text not null, error text, result text,
    state text not null default 'ready',      -- ready, claimed, done, failed or unsure
    due real not null default 0,              -- ready: not before then; claimed: when the lease ends
    owner text, attempts integer not null default 0,
    may_have_run integer not null default 0,  -- how often it may have run and been billed without a result
    job_id text                               -- of an asynchronous job: its result is fetched by it
); create index if not exists jobs_by_state on jobs (state, due, id);"""
ADD = "insert into jobs (job) values (:job)"
LOST = """update jobs set due = 0, error = 'its worker died', may_have_run = may_have_run + (job_id is null),
    state = iif(may_have_run + (job_id is null) > 1, 'unsure', 'ready')
    where state = 'claimed' and due < :now"""
CLAIM = """update jobs set state = 'claimed', owner = :owner, due = :now + :lease, attempts = attempts + 1
    where id in (select id from jobs where state = 'ready' and due <= :now order by due, id limit :room)
    returning id, job, may_have_run, job_id"""
RENEW = "update jobs set due = :now + :lease where state = 'claimed' and owner = :owner"
SUBMITTED = "update jobs set job_id = :job_id where id = :id and owner = :owner"
SETTLE = """update jobs set state = :state, error = :error, result = :result, due = :now + :pause,
    job_id = :job_id, may_have_run = :may_have_run
    where id = :id and state <> 'done' and (owner = :owner or :state = 'done') returning id"""
COUNT = "select state, count(*) from jobs group by state"
LIST = """select id, state, attempts, may_have_run, job_id, error, result from jobs where id > :id
    order by id limit 1000"""


class Line(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """A job in a file and in the table: the fields of `Job`, with inputs as paths."""

    type: str
    config: dict[str, Any] = {}
    inputs: tuple[str, ...] = ()
    accept: str | None = None
    custom_id: str | None = None
    priority: int = 0
    mode: Literal["sync", "async"] = "sync"


class Row(msgspec.Struct):
    """A row that this worker has claimed."""

    id: int
    text: str
    may_have_run: int
    job_id: str | None

    def job(self) -> Job:
        """Return its job. Raises InputError: a row may hold anything."""
        try:
            fields = msgspec.structs.asdict(msgspec.json.decode(self.text, type=Line))
        except (msgspec.MsgspecError, ValueError, TypeError, RecursionError) as error:
            raise InputError(f"the row holds no job: {error}") from error
        return Job(**{**fields, "custom_id": fields["custom_id"] or f"row-{self.id}"})


class Queue:
    """The table. Only its coroutines suit an event loop: SQLite blocks, so they work in a thread."""

    def __init__(self, path: str, lease: float) -> None:
        self._mine = {"owner": uuid.uuid4().hex, "lease": lease}
        self._db = sqlite3.connect(path, timeout=30, isolation_level=None, check_same_thread=False)
        self._db.execute("pragma journal_mode = wal")
        self._db.executescript(TABLE)
        self._one = anyio.CapacityLimiter(1)  # a connection does one thing at a time
        self.close = self._db.close

    def add(self, lines: Iterable[bytes]) -> Iterator[str]:
        """Add a job for each good line, and tell of each bad one; inputs are paths from this folder."""
        with self._db:
            self._db.execute("begin immediate")
            for number, text in enumerate(lines, 1):
                problem = self._add(text)
                if problem:
                    yield f"line {number}: {problem}"

    def _add(self, text: bytes) -> str | None:
        try:
            line = msgspec.json.decode(text, type=Line)
            line.inputs = tuple(os.path.abspath(path) for path in line.inputs)  # noqa: PTH100 - keeps links
            self._db.execute(ADD, {"job": msgspec.json.encode(line).decode()})
        except (msgspec.MsgspecError, ValueError, RecursionError) as error:
            return str(error)
        return None

    def rows(self) -> Iterator[dict[str, Any]]:
        """Return what stands in the table, row by row."""
        names = ("id", "state", "attempts", "may_have_run", "job_id", "error", "result")
        last = 0
        while rows := self._do(LIST, id=last):
            for row in rows:
                told = dict(zip(names, row, strict=True))
                yield told | {"result": msgspec.Raw((told["result"] or "null").encode())}
            last = rows[-1][0]

    async def claim(self, room: int) -> list[Row]:
        """Claim up to so many rows, the longest due first, and let those of dead workers come back."""
        return [Row(*values) for values in await self._ask(LOST, CLAIM, room=room)]

    async def renew(self) -> None:
        """Keep this worker's rows for another lease."""
        await self._ask(RENEW)

    async def submitted(self, row: Row) -> None:
        """Keep the id of an asynchronous job."""
        await self._ask(SUBMITTED, id=row.id, job_id=row.job_id)

    async def settle(
        self, row: Row, state: str, *, result: JobResult | None, error: Exception | None, pause: float
    ) -> bool:
        """Write down what came of a row, which may not be claimed for `pause` seconds. False: it was lost."""
        told = {
            "result": None if result is None else summary(result),
            "error": None if error is None else plain(error),
            **msgspec.structs.asdict(row),
        }
        return bool(await self._ask(SETTLE, state=state, pause=pause, **told))

    async def counts(self) -> dict[str, int]:
        """Return how many rows are in each state."""
        return dict(await self._ask(COUNT))

    async def is_open(self) -> bool:
        """Tell whether any row is ready or claimed."""
        return not {"ready", "claimed"}.isdisjoint(await self.counts())

    async def _ask(self, *statements: str, **values: Any) -> list[Any]:
        # A cancellation waits for the thread: the next statement must not find the connection in use.
        return await anyio.to_thread.run_sync(partial(self._do, *statements, **values), limiter=self._one)

    def _do(self, *statements: str, **values: Any) -> list[Any]:
        """Carry statements out in one transaction, and return the rows of the last."""
        rows: list[Any] = []
        with self._db:
            self._db.execute("begin immediate")
            for statement in statements:
                rows = self._db.execute(statement, {"now": time.time(), **self._mine, **values}).fetchall()
        return rows


def summary(result: JobResult) -> str:
    """Return what is kept of a result, as JSON."""
    outputs = [plain(output.path) for output in result.outputs]
    kept = {"id": result.id, "outputs": outputs, "price": result.price, "metrics": result.metrics}
    return msgspec.json.encode(kept).decode()


def plain(value: object) -> str:
    """Return text that can be stored: a file's name may hold bytes that are no UTF-8."""
    return str(value).encode(errors="replace").decode()


def add(queue: Queue, _: object) -> int:
    """Add the jobs of standard input, a JSON object a line, and return the exit code."""
    code = 0
    for problem in queue.add(sys.stdin.buffer):
        print(problem, file=sys.stderr)
        code = os.EX_DATAERR
    return code


def show(queue: Queue, _: object) -> int:
    """Print each row as a JSON object."""
    for row in queue.rows():
        print(msgspec.json.encode(row).decode())
    return 0
