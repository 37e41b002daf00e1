"""curl: one process for each job; the figures are those of curl's processes, not of this one."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time

import measure

LONGEST = "300"  # seconds for one job


def main() -> None:
    given = measure.options()
    for number in range(given.warm):
        _run(given, given.job(number))
    before, wall = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    for number in range(given.warm, given.warm + given.jobs):
        _run(given, given.job(number))
    wall = time.perf_counter() - wall
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    peak = after.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    print(json.dumps({"cpu": cpu, "wall": wall, "jobs": given.jobs, "rss": peak}))


def _run(given: measure.Options, task: measure.Task) -> None:
    command = ["curl", "--silent", "--show-error", "--fail", "--max-time", LONGEST, "-o", str(task.output)]
    for name, value in measure.HEADERS.items():
        command += ["-H", f"{name}: {value}"]
    if task.input is None:
        command += ["--data-binary", task.json.decode(), "-H", "Content-Type: application/json"]
    else:
        command += ["-F", "job=@-;filename=job.json;type=application/json", "-F", f"input=@{task.input}"]
    subprocess.run([*command, given.url], input=task.json, check=True)


if __name__ == "__main__":
    main()
