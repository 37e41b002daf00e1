"""The demo and the examples, as a reader would run them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import prodia_async

pytestmark = pytest.mark.newest

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture
def run(tmp_path):
    """Run Python with the package under test, in an empty folder."""
    place = str(Path(prodia_async.__file__).parents[1])
    settings = {name: value for name, value in os.environ.items() if not name.startswith("PRODIA_")}
    environment = settings | {"PYTHONPATH": place, "PYTHONWARNINGS": "error"}

    def run(*arguments: object) -> subprocess.CompletedProcess[str]:
        words = [sys.executable, *map(str, arguments)]
        return subprocess.run(
            words, env=environment, cwd=tmp_path, text=True, capture_output=True, timeout=120, check=False
        )

    return run


@pytest.fixture(scope="module")
def short_demo(tmp_path_factory) -> Path:
    """A copy of the examples whose manifest has every tenth job, and one of each kind at least."""
    copy = tmp_path_factory.mktemp("copy") / "examples"
    shutil.copytree(EXAMPLES, copy, ignore=shutil.ignore_patterns("__pycache__"))
    jobs = [json.loads(line) for line in (EXAMPLES / "demo.jsonl").read_text(encoding="utf-8").splitlines()]
    chosen = {job["custom_id"].partition("-")[0]: job for job in jobs} | {
        job["custom_id"]: job for job in jobs[::10]
    }
    lines = {job["custom_id"]: json.dumps(job) for job in chosen.values()}
    (copy / "demo.jsonl").write_text("\n".join(lines.values()))
    return copy


def test_the_manifest_of_the_demo():
    jobs = [json.loads(line) for line in (EXAMPLES / "demo.jsonl").read_text(encoding="utf-8").splitlines()]
    assert len({job["custom_id"] for job in jobs}) == len(jobs) == 200
    used = {name for job in jobs for name in job.get("inputs", [])}
    assert used == {
        f"pictures/{path.name}" for path in (EXAMPLES / "pictures").iterdir() if path.suffix != ".md"
    }
    assert all(max(job["config"].get(side, 0) for side in ("width", "height")) <= 512 for job in jobs)


def test_every_picture_has_its_source():
    sources = (EXAMPLES / "pictures" / "SOURCES.md").read_text(encoding="utf-8")
    for path in (EXAMPLES / "pictures").iterdir():
        assert path.name == "SOURCES.md" or path.name in sources


def test_the_demo_and_its_check(run, short_demo, tmp_path):
    options = ["--out", "demo", "--emulator", "--capacity", "4", "--latency", "0.02"]
    ended = run("-m", "prodia_async", "batch", short_demo / "demo.jsonl", *options)
    told = [
        line for line in ended.stderr.splitlines() if " done · " not in line
    ]  # of progress, when it is slow
    assert (ended.returncode, told) == (0, [])
    count = len((short_demo / "demo.jsonl").read_text(encoding="utf-8").splitlines())
    assert ended.stdout.startswith(f"{count} done, 0 failed\n")
    checked = run(short_demo / "check_demo.py", "demo")
    assert (checked.returncode, checked.stderr) == (0, "")
    assert f"in all       {count} of   {count} good, {count} results" in checked.stdout

    spoil(tmp_path / "demo")
    checked = run(short_demo / "check_demo.py", "demo")
    assert checked.returncode == 1
    told = checked.stdout.partition("results\n")[2].splitlines()
    assert len(told) == 4, told


def spoil(out: Path) -> None:
    """Spoil four jobs, each in another way."""
    results = out / "results.jsonl"
    records = [json.loads(line) for line in results.read_text(encoding="utf-8").splitlines()]
    by_kind = {record["custom_id"].partition("-")[0]: record for record in records}
    paths = {kind: out / record["outputs"][0]["path"] for kind, record in by_kind.items()}
    paths["txt2img"].write_bytes(paths["txt2img"].read_bytes()[:-100])
    source = by_kind["img2img"]["job"]["config"]["image"]
    other = EXAMPLES / "pictures" / ("chelsea.png" if source == "rocket.jpg" else "rocket.jpg")
    paths["img2img"].write_bytes(other.read_bytes())
    by_kind["img2img"]["outputs"][0]["bytes"] = other.stat().st_size
    by_kind["edit"]["outputs"].pop()
    records.remove(by_kind["upscale"])
    results.write_text("\n".join(json.dumps(record) for record in records), encoding="utf-8")


@pytest.mark.parametrize(("example", "files"), [("one_job.py", 2), ("many_jobs.py", 24)])
def test_the_short_examples(run, tmp_path, example, files):
    ended = run(EXAMPLES / example, "pictures")
    assert (ended.returncode, ended.stderr) == (0, "")
    made = [path for path in (tmp_path / "pictures").rglob("*") if path.is_file()]
    assert len(made) == files
    assert all(str(path.relative_to(tmp_path)) in ended.stdout for path in made)
