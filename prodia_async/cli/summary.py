"""What `prodia-async batch` says at the end."""

from __future__ import annotations

import contextlib
import itertools
import json
import math
import shlex
from collections import Counter
from typing import TYPE_CHECKING, Any, NamedTuple

from msgspec import to_builtins
from msgspec.json import decode

from prodia_async.cli.terminal import Exit, about, count, dollars, plain, short

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from prodia_async.batch import BatchReport
    from prodia_async.batch._records import Record
    from prodia_async.batch._report import ManifestCheck
    from prodia_async.emulator import EmulatorStats

_NAMES = 5
"""How many custom_ids are named."""
_REASONS = 3
_OF_A_REASON = 160
"""Characters of a reason."""
_MOST_READ = 100_000
"""Failed jobs whose reasons are counted: half a second."""

_ENDS = {
    "stopped": (Exit.INTERRUPTED, "stopped before the end", ""),
    "refused": (
        Exit.REFUSED,
        "ended early: the token was refused",
        ", with a token that may run these jobs",
    ),
    "spent": (Exit.SPENT, "ended early: the money is spent", ", with a higher --max-spend"),
    "gave_up": (Exit.GAVE_UP, "ended early: gave up", ""),
}
"""The ends of a batch before its end: the exit code, what is said, and what goes on needs."""
_AGAIN = {
    "interrupted": "in flight when the last run was cut: they may have been billed, and ran again",
    "submitted": "at the service when the last run was cut, and asked for by id",
    "lost_count": "no longer known to the service, and may have been billed: {lost}",
    "missing": "done, but their outputs were missing or changed: they ran again",
}
"""What is to be known of jobs that were run again, by the fields that count them."""


def reason_of(record: Record) -> str:
    """Return why a job failed, without what names the job and its request."""
    error = record["error"]
    if error is None:
        return ""
    message = error["message"].replace(f", request id {error['request_id']}", "")
    return message.partition(f"(custom_id {record['custom_id']!r}): ")[2] or message


def reasons_of(results: Path) -> list[tuple[str, int]]:
    """Return the most frequent reasons of failed jobs in results.jsonl, with their counts. Blocks."""
    found: Counter[str] = Counter()
    with contextlib.suppress(OSError, ValueError), results.open("rb") as lines:
        failed = (record for line in lines if b'"failed"' in line if (record := decode(line))["error"])
        for record in itertools.islice(failed, _MOST_READ):
            found[short(reason_of(record), _OF_A_REASON)] += 1
    return found.most_common(_REASONS)


def check_as_text(check: ManifestCheck) -> str:
    """Return what is in a manifest, for people: the jobs by type, the most first."""
    types = sorted(check.by_type.items(), key=lambda item: (-item[1], item[0]))
    lines = [f"{count(check.jobs, 'job')}{_bad_lines(check.problem_count)}"]
    lines += [f"{number:>12,}  {plain(short(job_type))}" for job_type, number in types]
    if check.dollars is not None:
        unpriced = f"; {count(check.unpriced, 'job has', 'jobs have')} no --price" if check.unpriced else ""
        lines.append(f"{dollars(check.dollars)} in all{unpriced}")
    return "\n".join(lines)


def check_as_object(check: ManifestCheck) -> str:
    """Return what is in a manifest, for programs: one JSON object."""
    return json.dumps(to_builtins(check))


def _bad_lines(number: int) -> str:
    return f", {count(number, 'bad line')} in the manifest" if number else ""


class Summary(NamedTuple):
    """How a batch has ended, and where its page is; what the emulator was set to, and its account.

    `to` is the URL that outputs went to, if that is not the folder of the batch.
    """

    report: BatchReport
    page: Path | None = None
    bench: Mapping[str, Any] = {}
    account: EmulatorStats | None = None
    reasons: Sequence[tuple[str, int]] = ()
    first: int | None = None
    to: str | None = None

    @property
    def exit_code(self) -> Exit:
        """The exit code that this end means."""
        report = self.report
        if report.ending != "complete":
            return _ENDS[report.ending][0]
        if report.problem_count and not report.done and not report.failed:
            return Exit.USAGE
        return Exit.FAILED if report.failed or report.problem_count else Exit.DONE

    @property
    def speed(self) -> float:
        """The jobs a second of this run, without those that an earlier one has ended."""
        ended = self.report.done + self.report.failed - self.report.skipped
        return ended / self.report.seconds if self.report.seconds else 0.0

    @property
    def ideal(self) -> float:
        """The most jobs a second that the emulator could do: what drawing cost was not the client's."""
        account = self.account
        drawing = 0.0 if account is None else account.drawing_seconds / max(1, account.completed)
        seconds = self.bench["latency"] + drawing
        return self.bench["capacity"] / seconds if seconds else math.inf

    def text(self) -> str:
        """Return it for people."""
        report, account = self.report, self.account
        earlier = f" ({report.skipped:,} of them earlier)" if report.skipped else ""
        _, end, go_on = _ENDS.get(report.ending, (None, "", ""))
        bad = _bad_lines(report.problem_count)
        sheds = f"{report.shed:,} of {count(report.requests, 'request')} were shed (429) and tried again"
        a_minute = f" and {about(report.dollars_a_minute)} a minute" if report.dollars_a_minute else ""
        speed = f"{self.speed:,.1f} jobs/s in {report.seconds:,.1f} s{a_minute}"
        if account is not None:
            sheds += f"; the emulator counts {account.shed:,} of {account.requests:,}"
            speed += "" if math.isinf(self.ideal) else f" against the emulator's ideal {self.ideal:,.1f}"
        failed = f"prodia-async results {shlex.quote(str(report.out))} --failed"
        return _join(
            "\n",
            f"{report.done:,} done, {report.failed:,} failed{earlier}{bad}{end and f', {end}'}",
            *(f"{number:>8,} x {plain(reason)}" for reason, number in self.reasons),
            self.reasons and f"to see all that failed: {failed}",
            *_again(report),
            report.shed and sheds,
            report.requests and speed,
            "computer" in report.service and f"these ran on {report.service}",
            _money(report),
            report.done and f"outputs: {self.to or report.out / 'outputs'}",
            (report.done or report.failed) and f"results: {report.results}",
            self.page and f"report: {self.page}",
            end and f"to go on: the same command again{go_on}",
            self.first and not end and "to run the other jobs, too: the same command without --first",
            bad and "to run corrected lines: correct the manifest, then the same command again",
            report.failed and "to run the failed jobs again: the same command with --retry-failed",
        )

    def json(self) -> str:
        """Return it for programs: one JSON object."""
        summary: dict[str, Any] = to_builtins(self.report, enc_hook=str)
        summary["seconds"] = round(self.report.seconds, 3)
        summary["jobs_per_second"] = round(self.speed, 3)
        summary["outputs"] = self.to or str(self.report.out / "outputs")
        summary["report"] = None if self.page is None else str(self.page)
        summary["reasons"] = [{"reason": reason, "jobs": number} for reason, number in self.reasons]
        summary["exit_code"] = self.exit_code.value
        if self.account is not None:
            names = "requests", "completed", "shed", "dollars"
            ideal = None if math.isinf(self.ideal) else self.ideal
            counts = {name: getattr(self.account, name) for name in names}
            summary["emulator"] = {"ideal_jobs_per_second": ideal} | counts
        return json.dumps(summary)


def _again(report: BatchReport) -> Iterator[str]:
    lost = ", ".join(plain(short(name)) for name in report.lost[:_NAMES])
    lost += ", ..." if report.lost_count > _NAMES else ""
    for field, text in _AGAIN.items():
        if number := getattr(report, field):
            yield f"{count(number, 'job was', 'jobs were')} {text.format(lost=lost)}"


def _money(report: BatchReport) -> str:
    attempts = f"{count(report.uncertain_attempts, 'attempt')} of unknown outcome or price"
    ended = report.done + report.failed + report.problem_count
    is_more = report.expected is not None and ended < (report.jobs or 0)
    reckoned = f"{dollars(report.uncertain)} reckoned for {attempts}"
    return _join(
        "; ",
        report.dollars is not None and f"{dollars(report.dollars)} in all",
        is_more and f"about {about(report.expected or 0.0)} for all {count(report.jobs or 0, 'job')}",
        report.uncertain_attempts and (reckoned if report.uncertain else f"{attempts} may have been billed"),
        report.overrun and f"{dollars(report.overrun)} above --max-spend",
    )


def _join(separator: str, *parts: object) -> str:
    """Join what is to be said; a part that says nothing is false."""
    return separator.join(str(part) for part in parts if part)
