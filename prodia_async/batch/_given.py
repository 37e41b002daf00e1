"""Jobs that a program hands over one by one, in place of a manifest: each `Job` or dict becomes a draft."""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
import uuid
from collections.abc import AsyncIterable, Iterable, Mapping, Sized
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import msgspec

from prodia_async._arguments import checked
from prodia_async._errors import InputError, quoted, reason_of
from prodia_async._files.inputs import listed
from prodia_async._files.landing import leaf_of
from prodia_async._models import Job
from prodia_async._wire.job import job_json
from prodia_async.batch._drafts import Draft, Own

if TYPE_CHECKING:
    from prodia_async.batch._drafts import Numbered

GivenJobs: TypeAlias = Iterable[Job | Mapping[str, Any]] | AsyncIterable[Job | Mapping[str, Any]]

_FIELDS = "type", "config", "accept", "custom_id", "priority", "mode"
_AT_ONCE = 32
"""How many are taken at a time, before the event loop has a turn."""


class Jobs:
    """Drafts of an iterable, read in the event loop as they are wanted: at most 64 are held.

    A job is what it was when it was taken. The rules of lines hold for a dict; the inputs of a `Job` may be
    anything that `Prodia.run` takes, and lie anywhere.
    """

    def __init__(self, jobs: GivenJobs) -> None:
        self._jobs = jobs
        self._drafts: asyncio.Queue[Numbered | BaseException | None] = asyncio.Queue(_AT_ONCE)
        self._taking: asyncio.Task[None] | None = None

    def count(self) -> int | None:
        """Return how many there are, where that can be told."""
        return len(self._jobs) if isinstance(self._jobs, Sized) else None

    async def read(self) -> list[Numbered] | None:
        """Return the drafts that are there, or the next one; None at the end, again and again.

        Raises InputError where the iterable fails.
        """
        if self._taking is None:
            self._taking = asyncio.create_task(self._take())
        found: list[Numbered] = []
        while len(found) < _AT_ONCE and not (found and self._drafts.empty()):
            item = await self._drafts.get()
            if not isinstance(item, tuple):
                self._drafts.put_nowait(item)  # for the next reading
                if found:
                    break
                if item is None:
                    return None
                is_cut = isinstance(item, asyncio.CancelledError)
                said = "they met a cancellation of something else" if is_cut else reason_of(item)
                raise InputError(f"the jobs cannot be read on: {said}") from item
            found.append(item)
        return found

    async def aclose(self) -> None:
        """Take no more, and close a generator that was not read to its end."""
        if self._taking is not None:
            self._taking.cancel()
            await asyncio.wait([self._taking])

    async def _take(self) -> None:
        number, failure = 0, None
        taking = asyncio.current_task()
        try:
            async with contextlib.AsyncExitStack() as stack:
                jobs = aiter(self._jobs) if isinstance(self._jobs, AsyncIterable) else _each(self._jobs)
                if hasattr(jobs, "aclose"):
                    stack.push_async_callback(jobs.aclose)
                async for item in jobs:
                    number += 1
                    await self._drafts.put((number, _draft(item)))
        except (Exception, asyncio.CancelledError, GeneratorExit) as error:
            if taking is not None and taking.cancelling():
                raise
            failure = error  # whatever the iterable raises by itself is told to who reads
        await self._drafts.put(failure)


async def _each(jobs: Iterable[Any]) -> Any:
    for number, job in enumerate(jobs, 1):
        yield job
        if number % _AT_ONCE == 0:  # a plain iterable never waits: others may run meanwhile
            await asyncio.sleep(0)


def _draft(item: Any) -> Draft | InputError:
    try:
        return _of_job(item) if isinstance(item, Job) else _of_dict(item)
    except InputError as error:
        return error
    except Exception as error:  # noqa: BLE001 - objects of the caller's own may raise anything when looked at
        return InputError(f"the job cannot be read: {quoted(error, str)}")


def _of_job(given: Job) -> Own:
    plain = checked(
        {name: getattr(given, name) for name in _FIELDS}, needed=("type", "config", "priority", "mode")
    )
    listed(given.inputs)  # for its checks
    if plain["mode"] == "sync":
        plain["mode"] = None  # what a Job has that says nothing
    return Own(**plain, extra=_extra(given.extra), files=tuple(map(_fixed, given.inputs)))


def _of_dict(given: Any) -> Draft:
    if not isinstance(given, Mapping):
        raise InputError(f"expected a Job or a dict, not {type(given).__name__}")
    inputs = given.get("inputs")
    if isinstance(inputs, list | tuple):
        names = [os.fspath(each) if isinstance(each, os.PathLike) else each for each in inputs]
        given = {**given, "inputs": names}
    custom_id = given.get("custom_id")
    if isinstance(custom_id, uuid.UUID):
        given = {**given, "custom_id": str(custom_id)}
    elif isinstance(custom_id, float) and math.isnan(custom_id):
        raise InputError("custom_id is nan: leave it out of a job that has none")
    try:
        draft = msgspec.convert(dict(given), Draft)
    except msgspec.ValidationError as error:
        raise InputError(quoted(error, str)) from None
    draft.config, draft.extra = checked({"config": draft.config})["config"], _extra(draft.extra)
    return draft


def _extra(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return further fields as they are at this moment. Raises InputError for what cannot be sent."""
    extra: dict[str, Any] = msgspec.json.decode(job_json(Job("any", extra=given)))
    del extra["type"]
    return extra


def _fixed(item: Any) -> Any:
    """Return an input whose path, if it has one, is absolute: the current folder may be another one later."""
    if isinstance(item, tuple):
        name, content, *kind = item
        return (name, _fixed(content), *kind) if isinstance(content, os.PathLike) else item
    if isinstance(item, os.PathLike) or (isinstance(item, str) and leaf_of(item) is None):
        # Not Path.cwd(): what watches event loops takes os.getcwd for a call that blocks.
        return Path(os.path.normpath(Path(os.fsdecode(os.getcwdb()), item)))  # noqa: PTH109
    return item
