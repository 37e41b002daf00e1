"""`run_batch` and `check_manifest`: what a user asks of a batch, checked."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from prodia_async._arguments import checked
from prodia_async._client import Prodia
from prodia_async._errors import InputError, OutputError, ProdiaError, quoted
from prodia_async._files.outputs import Sink
from prodia_async._files.threads import hop
from prodia_async._lifetime import rooms_of
from prodia_async._loops import OnExit
from prodia_async._models import Job, Mode
from prodia_async._settings import Retry
from prodia_async._wire.address import parse
from prodia_async.batch._arming import Arming
from prodia_async.batch._budget import Till
from prodia_async.batch._feed import Feed, Retrying
from prodia_async.batch._gate import Gate
from prodia_async.batch._inputs import refuse_address
from prodia_async.batch._journal import Journal
from prodia_async.batch._manifest import Defaults, Entry, Manifest, Problem, Shard, Source
from prodia_async.batch._report import BatchReport, ManifestCheck, Progress
from prodia_async.batch._results import write_unlocked
from prodia_async.batch._rooms import Rooms
from prodia_async.batch._running import Running
from prodia_async.batch._schema import Totals
from prodia_async.batch._scout import Scout
from prodia_async.batch._stored import check_place, outputs_of
from prodia_async.batch._tally import Tally
from prodia_async.batch._telling import Problems, say
from prodia_async.batch._variations import Variations
from prodia_async.batch._written import Written

_LONGEST_RETRY_AFTER = 3600.0
"""Seconds that a job of a batch waits as it is told to, even where a single call would rather fail."""

_NEEDED = ("manifest", "out", "mode", "resend_unknown")
"""Arguments that cannot be None."""

_PATIENCE = 150.0
"""Seconds, for each of `Retry.max_errors`, that a few jobs are tried in which nothing succeeds."""

_NO_JOB = "00000000-0000-0000-0000-000000000000"
"""The id of a job that there is not: who asks for it learns whether the service answers, and pays nothing."""

_ASKING = 10.0


async def run_batch(
    manifest: Source,
    out: str | os.PathLike[str],
    *,
    prodia: Prodia,
    to: str | Callable[[Job], Sink] | None = None,
    type: str | None = None,  # noqa: A002 - the manifest's own word
    config: Mapping[str, Any] | None = None,
    accept: str | None = None,
    mode: Mode = "sync",
    repeat: int | None = None,
    vary: Mapping[str, Sequence[Any]] | None = None,
    first: int | None = None,
    shard: str | Shard | None = None,
    allow_outside: bool = False,
    retry_failed: bool = False,
    only_failed: bool = False,
    price: bool | None = None,
    max_spend: float | None = None,
    prices: Mapping[str, float] | None = None,
    timeout: float | None = None,
    resend_unknown: int = 1,
    give_up_after: float | None = None,
    stop: asyncio.Event | None = None,
    on_progress: Callable[[Progress], object] | None = None,
    on_problem: Callable[[Problem], object] | None = None,
) -> BatchReport:
    """Run all jobs of a manifest and return what became of them; the same call again goes on where it ended.

    `manifest`: the path of a file of JSON lines or CSV, of prompts (.txt), a folder of pictures or a pattern
    such as `photos/*.jpg`; a binary stream; or an iterable or async iterable of `Job` or dict (a line's
    fields). It is read lazily, and a bad line does not sink the rest. `type`, `config`, `accept` and `mode`
    hold for lines that say nothing else; of pictures and prompts `config` may have {name}, {stem}, {folder}
    or {prompt} in its texts. Each line becomes `repeat` jobs with a seed of their own, from 1 upward, and one
    for each combination of `vary`, such as {"steps": [2, 4]}. `first`: run so many jobs of the manifest
    alone; without it the same call goes on. `shard`, such as "3/10", takes one line in ten, by custom_id.
    `allow_outside` allows inputs outside of the manifest's folder; those of a `Job` may lie anywhere.

    `out` gets journal.sqlite, outputs/<first byte of the SHA-256 of the custom_id>/<custom_id>.<ext>, and in
    the end results.jsonl with a line for each job. With `to`, the URL of a prefix of an object store or a
    `Store`, outputs go on to <to><custom_id>.<ext>, in place of what is there. A job that is done is not run
    again while its outputs stand; one that failed is with `retry_failed`, and with `only_failed` nothing but
    these and those that were cut. A job that the service has already (`mode` "async") is asked for by its
    id, and sent again only if the service no longer knows it.

    `price`: ask for prices; default: as the client does. `max_spend`: dollars for all runs of this batch: the
    attempt that might exceed it is not sent, and the batch ends. `prices`: dollars by job type, where they
    are known beforehand. `timeout`: seconds for each job, from its first attempt on. `resend_unknown`: how
    often a job is sent again after an attempt that may have run and been billed.

    A service that is gone, and a full disk, pause the batch; `give_up_after` seconds of that end it, and so
    many in which the service accepts nothing (429); default: never. Setting `stop` starts no more jobs, and
    lets those in flight finish. `on_progress` hears of each change, `on_problem` of each bad line.

    Raises InputError if the manifest cannot be read, if another batch is at work in `out`, if jobs of another
    service or shard have run there, or if its journal cannot be used; OutputError if the journal or the
    outputs cannot be written any more. A cancelled batch has written down what stands.
    """
    given = checked(locals(), needed=_NEEDED)
    named = Path(given["out"])
    folder = Path(os.fsdecode(os.getcwdb()), named)  # noqa: PTH109 - as of an input: it stays the same
    problems = Problems(on_problem)
    refuse_address("out", out)
    check_place(given["to"])
    engines, client = rooms_of(prodia)
    engine = await engines.get()
    retry = replace(
        client.retry,
        resend_unknown=given["resend_unknown"],
        max_retry_after=max(client.retry.max_retry_after, _LONGEST_RETRY_AFTER),
    )
    client = replace(client, retry=retry)
    patience = _PATIENCE * client.retry.max_errors
    gate = Gate(engine.clock, engine.random, give_up_after=given["give_up_after"], patience=patience)
    lines = _lines(given)
    async with OnExit(lines.aclose):
        await lines.open()
        await hop(_refuse_foreign, folder)
        about = {"service": _service(client.url), "shard": _part(shard)}
        journal = await Journal.open(folder, wall=engine.clock.wall, about=about, on_full=gate.disk_full)
        async with OnExit(partial(_finish, journal, folder, gate)):
            _tell_of_what_was_cut(journal.totals)
            outputs = outputs_of(
                given["to"],
                out=folder,
                budget=engine.budget,
                gate=gate,
                journal=journal,
                chance=engine.random,
                give_up_after=given["give_up_after"],
            )
            await outputs.settle()
            retrying: Retrying = "only" if only_failed else "too" if retry_failed else "no"
            tally = Tally(engine.clock)
            feed = Feed(
                *(lines, journal, folder, engine.limiter, tally),
                retrying=retrying,
                stand=outputs.stand,
                on_problem=problems.add,
            )
            till = Till(given["max_spend"], given["prices"] or {}, journal.totals)
            arming = Arming(engine.limiter)
            ask = partial(_ask, prodia.with_options(retry=Retry(max_errors=0)))
            rooms = (journal, gate, till, arming, Scout(ask), outputs, tally, feed, problems)
            batch = Running(
                Rooms(folder, about["service"], engines, engine, client, *rooms),
                price=True if max_spend is not None else price,
                timeout=given["timeout"],
                give_up_after=given["give_up_after"],
                on_progress=on_progress,
            )
            async with OnExit(feed.aclose):
                await batch.run(stop)
    return batch.report(named)


def _service(url: str) -> str:
    """Name the service that jobs belong to: one of this computer, such as the emulator, by no port."""
    address = parse(url)
    return (
        "a service on this computer (an emulator?)"
        if address.is_loopback
        else address.url.removesuffix("/v2/job")
    )


def _part(shard: str | Shard | None) -> str:
    part = None if shard is None else Shard.parse(shard)
    return "the whole manifest" if part is None else f"shard {part.number}/{part.of}"


async def _ask(prodia: Prodia) -> ProdiaError | None:
    """Ask the service for a job that there is not, which is free, and return what that raises."""
    try:
        await prodia.handle(_NO_JOB).outputs(timeout=_ASKING)
    except ProdiaError as error:
        error.message = error.message.removeprefix(f"the job (job {_NO_JOB}): ")
        return error
    except Exception:  # noqa: BLE001 - a transport of the user's own may raise anything
        return None
    return None


async def _finish(journal: Journal, folder: Path, gate: Gate) -> None:
    """Close the journal and write results.jsonl from it, whatever has ended the batch but the journal."""
    try:
        await journal.aclose(partial(write_unlocked, folder))
    except OutputError as error:
        if gate.gave_up is None:
            raise
        say(logging.ERROR, "%s", error.message)  # the batch has ended for want of room, as it will tell


def _tell_of_what_was_cut(totals: Totals) -> None:
    """Say at the beginning what an earlier run, which was killed, has left: the summary comes hours later."""
    if totals.sent:
        jobs = "1 job was" if totals.sent == 1 else f"{totals.sent:,} jobs were"
        billed = "it may" if totals.sent == 1 else "they may"
        say(
            logging.WARNING,
            "%s in flight when the last run was cut: %s have run and been billed",
            jobs,
            billed,
        )
    if totals.submitted:
        one = totals.submitted == 1
        jobs = "1 job is" if one else f"{totals.submitted:,} jobs are"
        asked = "it is asked for by its id" if one else "they are asked for by their ids"
        say(logging.WARNING, "%s at the service since the last run was cut: %s", jobs, asked)


def _refuse_foreign(folder: Path) -> None:
    """Raise InputError where results, or a page, would be replaced that no journal of ours has."""
    if (folder / "journal.sqlite").exists():
        return
    for name in ("results.jsonl", "report.html"):
        if (folder / name).is_file():
            raise InputError(
                f"{quoted(str(folder))} holds a {name}, but no journal of a batch: choose another folder, "
                "or move that file away"
            )


async def check_manifest(
    manifest: Source,
    *,
    type: str | None = None,  # noqa: A002 - the manifest's own word
    config: Mapping[str, Any] | None = None,
    accept: str | None = None,
    mode: Mode = "sync",
    repeat: int | None = None,
    vary: Mapping[str, Sequence[Any]] | None = None,
    first: int | None = None,
    shard: str | Shard | None = None,
    allow_outside: bool = False,
    prices: Mapping[str, float] | None = None,
    write_to: str | os.PathLike[str] | None = None,
    on_problem: Callable[[Problem], object] | None = None,
) -> ManifestCheck:
    """Read all of a manifest as `run_batch` would, and send nothing.

    `prices`: dollars by job type, for their sum. `write_to`: the path of a file that gets the jobs as JSON
    lines, with all that they were given: a manifest for `run_batch`. An older one is replaced when they all
    stand in it. Raises InputError if the manifest cannot be read, or that file not written.
    """
    given = checked(locals(), needed=_NEEDED)
    problems, prices = Problems(on_problem), given["prices"] or {}
    by_type: Counter[str] = Counter()
    lines = _lines(given)
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(lines.aclose)
        await lines.open()
        written = None
        if write_to is not None:
            written = await hop(Written, Path(given["write_to"]), given["manifest"])
            stack.push_async_callback(hop, written.close)
        while (items := await lines.read()) is not None:
            found = [item if isinstance(item, Problem) else item.problem or item for item in items]
            jobs = [item.job for item in found if isinstance(item, Entry)]
            for problem in found:
                if isinstance(problem, Problem):
                    problems.add(problem)
            by_type.update(job.type for job in jobs)
            if written is not None:
                await hop(written.add, jobs)
        if written is not None:
            await hop(written.keep)
    known = [number * prices[kind] for kind, number in by_type.items() if kind in prices]
    unpriced = sum(number for kind, number in by_type.items() if kind not in prices) if prices else 0
    dollars = sum(known) if prices else None
    return ManifestCheck(
        by_type.total(), dict(by_type), problems.count, tuple(problems.first), dollars, unpriced
    )


def _lines(given: Mapping[str, Any]) -> Manifest:
    return Manifest(
        given["manifest"],
        defaults=Defaults(given["type"], given["config"] or {}, given["accept"], given["mode"]),
        variations=Variations(given["repeat"], given["vary"] or {}),
        shard=None if given["shard"] is None else Shard.parse(given["shard"]),
        allow_outside=given["allow_outside"],
        first=given["first"],
    )
