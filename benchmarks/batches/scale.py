"""A batch of a million jobs: speed, memory, and running it again."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

MiB = 1024 * 1024
FEW = 1000


def measure(lines: int) -> None:
    shm = Path("/dev/shm")
    place = shm if shm.is_dir() and os.access(shm, os.W_OK) else None
    where = "a RAM disk" if place else "an ordinary disk, whose own time counts"
    with tempfile.TemporaryDirectory(prefix="prodia-batches-", dir=place) as name:
        folder = Path(name)
        print(f"A null transport with 1 KiB outputs, journal and all, on {where}")
        print(f"{'':<28}{'jobs':>10}{'seconds':>10}{'jobs/s':>9}{'CPU us/job':>12}{'peak MiB':>10}")
        few = _row("small manifest", folder / "few", FEW)
        counted = _row("its frames counted", folder / "counted", FEW, "frames")
        many = _row("large manifest", folder / "many", lines)
        again = _row("the same command again", folder / "many", lines)
        results = (folder / "many" / "out" / "results.jsonl").stat().st_size
        journal = (folder / "many" / "out" / "journal.sqlite").stat().st_size
    print(f"peak memory of the large one above the small one: {(many['peak'] - few['peak']) / MiB:.1f} MiB")
    print(f"Python frames a job on the loop's thread: {counted['frames'] / FEW:.0f}")
    print(f"journal {journal / MiB:.0f} MiB, results.jsonl {results / MiB:.0f} MiB")
    if many["done"] != lines or again["requests"] or again["done"] != lines:
        sys.exit("not every job was done exactly once")


def _row(name: str, folder: Path, lines: int, *what: str) -> dict:
    manifest = folder / "jobs.jsonl"
    if not manifest.exists():
        folder.mkdir()
        _write(manifest, lines)
    here = Path(__file__).parent
    ended = subprocess.run(
        [sys.executable, str(here / "one.py"), str(manifest), str(folder / "out"), *what],
        capture_output=True,
        text=True,
        check=False,
    )
    if ended.returncode:
        sys.exit(ended.stderr)
    cost = json.loads(ended.stdout)
    rate, cpu = lines / cost["seconds"], cost["cpu"] / lines * 1e6
    print(
        f"{name:<28}{lines:>10,}{cost['seconds']:>10.1f}{rate:>9,.0f}{cpu:>12.0f}{cost['peak'] / MiB:>10.1f}",
        flush=True,
    )
    return cost


def _write(manifest: Path, lines: int) -> None:
    with manifest.open("w", encoding="utf-8") as file:
        for number in range(lines):
            job = {"custom_id": f"job-{number:07}", "type": "inference.null.v1"}
            file.write(
                json.dumps(job | {"config": {"prompt": f"nothing, number {number}", "steps": 4}}) + "\n"
            )
