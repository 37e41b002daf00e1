"""What `prodia-async batch` says at the end."""

from __future__ import annotations

import contextlib
import itertools
import json
import math
import shlex
from collections import Counter
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias

from msgspec import to_builtins
from msgspec.json import decode

from prodia_async import emulator as emulators
from prodia_async.cli.terminal import Exit, plain, short
from prodia_async.cli.words import count, dollars

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from prodia_async.batch import BatchReport
    from prodia_async.batch.report import ManifestCheck
    from prodia_async.batch.results import Record
    from prodia_async.emulator import EmulatorProcess, EmulatorStats

FreeAt = Literal["headers", "end"]

_NAMES = 5
"""How many custom_ids are named."""
_REASONS = 3
_OF_A_REASON = 160
"""Characters of a reason."""
_MOST_READ = 100_000
"""Failed jobs whose reasons are counted: half a second."""

_CODES = {
    "stopped": Exit.INTERRUPTED,
    "refused": Exit.REFUSED,
    "spent": Exit.SPENT,
    "gave_up": Exit.GAVE_UP,
}
_ENDS = {
    "stopped": "stopped before the end",
    "refused": "ended early: the token was refused",
    "spent": "ended early: the money is spent",
    "gave_up": "ended early: gave up",
}
_NEXT = {
    "stopped": "the same command again",
    "refused": "the same command again, with a token that may run these jobs",
    "spent": "the same command again, with a higher --max-spend",
    "gave_up": "the same command again",
}


class Bench(NamedTuple):
    """What the emulator of a batch is set to."""

    capacity: int
    latency: float
    free_at: FreeAt

    @classmethod
    def of(cls, *, capacity: int | None, latency: float | None, free_at: FreeAt | None) -> Bench:
        """Return these settings, with defaults for those that are None."""
        return cls(capacity or 8, 0.5 if latency is None else latency, free_at or "headers")

    @property
    def ideal(self) -> float:
        """The most jobs a second that it can do where outputs cost nothing."""
        return self.capacity / self.latency if self.latency else math.inf

    def ideal_of(self, account: EmulatorStats) -> float:
        """Return the most jobs a second that it could do: what drawing cost was not the client's."""
        seconds = self.latency + account.drawing_seconds / max(1, account.completed)
        return self.capacity / seconds if seconds else math.inf

    def emulator(self) -> EmulatorProcess:
        """Return the emulator, not yet started."""
        return emulators.EmulatorProcess(capacity=self.capacity, latency=self.latency, free_at=self.free_at)


def exit_code(report: BatchReport) -> Exit:
    """Return the exit code that a batch's end means."""
    if report.ending != "complete":
        return _CODES[report.ending]
    if report.problem_count and not report.done and not report.failed:
        return Exit.USAGE
    return Exit.FAILED if report.failed or report.problem_count else Exit.DONE


Reasons: TypeAlias = "list[tuple[str, int]]"


def reason_of(record: Record) -> str:
    """Return why a job failed, without what names the job and its request."""
    error = record["error"]
    if error is None:
        return ""
    message = error["message"].replace(f", request id {error['request_id']}", "")
    return message.partition(f"(custom_id {record['custom_id']!r}): ")[2] or message


def reasons_of(results: Path) -> Reasons:
    """Return the most frequent reasons of failed jobs in results.jsonl, with their counts. Blocks."""
    found: Counter[str] = Counter()
    with contextlib.suppress(OSError, ValueError), results.open("rb") as lines:
        failed = (record for line in lines if b'"failed"' in line if (record := decode(line))["error"])
        for record in itertools.islice(failed, _MOST_READ):
            found[short(reason_of(record), _OF_A_REASON)] += 1
    return found.most_common(_REASONS)


def as_text(
    report: BatchReport,
    page: Path | None,
    bench: Bench | None,
    account: EmulatorStats | None,
    reasons: Reasons = [],  # noqa: B006 - it is only read
) -> str:
    """Return the summary for people; `page` is the contact sheet, where it was written."""
    lines = [_jobs(report), *(f"{number:>8,} x {plain(reason)}" for reason, number in reasons)]
    if reasons:
        lines.append(f"to see all that failed: prodia-async results {shlex.quote(str(report.out))} --failed")
    lines += _again(report)
    sheds = f"{report.shed:,} of {count(report.requests, 'request')} were shed (429) and tried again"
    speed = f"{_speed(report):,.1f} jobs/s in {report.seconds:,.1f} s"
    if bench is not None and account is not None:
        sheds += f"; the emulator counts {account.shed:,} of {account.requests:,}"
        ideal = bench.ideal_of(account)
        speed += "" if math.isinf(ideal) else f" against the emulator's ideal {ideal:,.1f}"
    if report.shed:
        lines.append(sheds)
    if report.requests:
        lines.append(speed)
    lines += _money(report)
    if report.done:
        lines.append(f"outputs: {report.out / 'outputs'}")
    if report.done or report.failed:
        lines.append(f"results: {report.results}")
    if page is not None:
        lines.append(f"report: {page}")
    return "\n".join([*lines, *_advice(report)])


def as_object(
    report: BatchReport,
    page: Path | None,
    bench: Bench | None,
    account: EmulatorStats | None,
    reasons: Reasons = [],  # noqa: B006 - it is only read
) -> str:
    """Return the summary for programs: one JSON object."""
    summary: dict[str, Any] = to_builtins(report, enc_hook=str)
    summary["seconds"] = round(report.seconds, 3)
    summary["jobs_per_second"] = round(_speed(report), 3)
    summary["outputs"] = str(report.out / "outputs")
    summary["report"] = None if page is None else str(page)
    summary["reasons"] = [{"reason": reason, "jobs": number} for reason, number in reasons]
    summary["exit_code"] = exit_code(report).value
    if bench is not None and account is not None:
        summary["emulator"] = {
            "ideal_jobs_per_second": None if math.isinf(ideal := bench.ideal_of(account)) else ideal,
            "requests": account.requests,
            "completed": account.completed,
            "shed": account.shed,
            "dollars": account.dollars,
        }
    return json.dumps(summary)


def check_as_text(check: ManifestCheck) -> str:
    """Return what is in a manifest, for people: the jobs by type, the most first."""
    types = sorted(check.by_type.items(), key=lambda item: (-item[1], item[0]))
    lines = [f"{count(check.jobs, 'job')}{_bad_lines(check.problem_count)}"]
    return "\n".join([*lines, *(f"{number:>12,}  {plain(short(job_type))}" for job_type, number in types)])


def check_as_object(check: ManifestCheck) -> str:
    """Return what is in a manifest, for programs: one JSON object."""
    return json.dumps(to_builtins(check))


def _jobs(report: BatchReport) -> str:
    text = f"{report.done:,} done, {report.failed:,} failed"
    if report.skipped:
        text += f" ({report.skipped:,} of them earlier)"
    text += _bad_lines(report.problem_count)
    return text if report.ending == "complete" else f"{text}, {_ENDS[report.ending]}"


def _bad_lines(number: int) -> str:
    return f", {count(number, 'bad line')} in the manifest" if number else ""


def _again(report: BatchReport) -> Iterator[str]:
    """Yield what is to be known of jobs that were run again."""
    if report.interrupted:
        jobs = count(report.interrupted, "job was", "jobs were")
        yield f"{jobs} in flight when the last run was cut: they may have been billed, and ran again"
    if report.submitted:
        jobs = count(report.submitted, "job was", "jobs were")
        yield f"{jobs} at the service when the last run was cut, and asked for by id"
    if report.lost_count:
        jobs = count(report.lost_count, "job was", "jobs were")
        names = ", ".join(plain(short(name)) for name in report.lost[:_NAMES])
        more = ", ..." if report.lost_count > _NAMES else ""
        yield f"{jobs} no longer known to the service, and may have been billed: {names}{more}"
    if report.missing:
        jobs = count(report.missing, "job was", "jobs were")
        yield f"{jobs} done, but their outputs were missing or changed: they ran again"


def _money(report: BatchReport) -> Iterator[str]:
    parts = []
    if report.dollars is not None:
        parts.append(f"{dollars(report.dollars)} in all")
    if report.uncertain_attempts:
        attempts = f"{count(report.uncertain_attempts, 'attempt')} of unknown outcome or price"
        if report.uncertain:
            parts.append(f"{dollars(report.uncertain)} reckoned for {attempts}")
        else:
            parts.append(f"{attempts} may have been billed")
    if report.overrun:
        parts.append(f"{dollars(report.overrun)} above --max-spend")
    if parts:
        yield "; ".join(parts)


def _advice(report: BatchReport) -> Iterator[str]:
    """Yield what to do next."""
    if report.ending != "complete":
        yield f"to go on: {_NEXT[report.ending]}"
    if report.problem_count:
        yield "to run corrected lines: correct the manifest, then the same command again"
    if report.failed:
        yield "to run the failed jobs again: the same command with --retry-failed"


def _speed(report: BatchReport) -> float:
    """Return the jobs a second of this run, without those that an earlier one has ended."""
    ended = report.done + report.failed - report.skipped
    return ended / report.seconds if report.seconds else 0.0
