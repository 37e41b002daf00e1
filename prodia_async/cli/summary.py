"""What `prodia-async batch` says at the end."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from prodia_async import emulator as emulators
from prodia_async.cli.terminal import Exit

if TYPE_CHECKING:
    from prodia_async.batch import BatchReport
    from prodia_async.emulator import Emulator, EmulatorStats


class Bench(NamedTuple):
    """What the emulator of a batch is set to."""

    capacity: int
    latency: float
    free_at: Literal["headers", "end"]

    @property
    def ideal(self) -> float:
        """The most jobs a second that it can do."""
        return self.capacity / self.latency if self.latency else math.inf

    def emulator(self) -> Emulator:
        """Return the emulator, not yet started."""
        return emulators.Emulator(capacity=self.capacity, latency=self.latency, free_at=self.free_at)


def exit_code(report: BatchReport) -> Exit:
    """Return the exit code that a batch's end means."""
    if report.ending != "complete":
        return Exit.INTERRUPTED if report.ending == "stopped" else Exit.REFUSED
    if report.problem_count:
        return Exit.USAGE
    return Exit.FAILED if report.failed else Exit.DONE


def as_text(report: BatchReport, bench: Bench | None, account: EmulatorStats | None) -> str:
    """Return the summary for people."""
    jobs = [f"{report.done} done", f"{report.failed} failed"]
    if report.problem_count:
        jobs.append(f"{report.problem_count} bad lines in the manifest")
    if report.ending == "stopped":
        jobs.append("stopped before the end")
    sheds = f"{report.shed} of {report.requests} requests were shed (429) and tried again"
    speed = f"{_speed(report):.1f} jobs/s in {report.seconds:.1f} s"
    if bench is not None and account is not None:
        sheds += f"; the emulator counts {account.shed} of {account.requests}"
        speed += f" against the emulator's ideal {bench.ideal:.1f}"
    lines = [", ".join(jobs), sheds, speed]
    if report.dollars is not None:
        lines.append(f"${report.dollars:.4f} in all")
    if report.done:
        lines.append(f"outputs: {report.out / 'outputs'}")
    if report.done or report.failed:
        lines.append(f"results: {report.results}")
    return "\n".join(lines)


def as_object(report: BatchReport, bench: Bench | None, account: EmulatorStats | None) -> str:
    """Return the summary for programs: one JSON object."""
    summary: dict[str, Any] = {
        "ending": report.ending,
        "done": report.done,
        "failed": report.failed,
        "problems": report.problem_count,
        "requests": report.requests,
        "shed": report.shed,
        "seconds": round(report.seconds, 3),
        "jobs_per_second": round(_speed(report), 3),
        "dollars": report.dollars,
        "reason": report.reason,
        "outputs": str(report.out / "outputs"),
        "results": str(report.results),
    }
    if bench is not None and account is not None:
        ideal = None if math.isinf(bench.ideal) else bench.ideal
        summary["emulator"] = {
            "ideal_jobs_per_second": ideal,
            "requests": account.requests,
            "completed": account.completed,
            "shed": account.shed,
        }
    return json.dumps(summary)


def _speed(report: BatchReport) -> float:
    return report.done / report.seconds if report.seconds else 0.0
