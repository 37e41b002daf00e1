from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest
from cli.helpers import PLAIN, echo

from prodia_async.cli.batch import BatchRun, Seen, try_page

FAST = ["--emulator", "--latency", "0"]


def test_the_page_is_written_unless_it_is_not_wanted(invoke, write_manifest, tmp_path):
    manifest = write_manifest(echo("a"))
    without = invoke("batch", manifest, "--out", "out", "--no-report", *FAST)
    assert "report" not in without.stdout
    assert not (tmp_path / "out" / "report.html").exists()
    result = invoke("batch", manifest, "--out", "out", *FAST)
    assert result.stdout.endswith("\nreport: out/report.html\n")
    assert b"a" in (tmp_path / "out" / "report.html").read_bytes()


def test_where_nothing_ended_there_is_nothing_to_show(invoke, write_manifest, tmp_path):
    result = invoke("batch", write_manifest(), "--out", "out", *FAST)
    assert (result.exit_code, result.stderr) == (0, "")
    assert not (tmp_path / "out" / "report.html").exists()


@pytest.mark.parametrize(("orders", "code"), [({}, 0), ({"fail": "no"}, 1)])
def test_a_page_that_cannot_be_written_changes_nothing(invoke, write_manifest, tmp_path, orders, code):
    (tmp_path / "out" / "report.html").mkdir(parents=True)
    result = invoke("batch", write_manifest(echo("a", **orders)), "--out", "out", *FAST)
    assert result.exit_code == code
    assert result.stdout.startswith(f"{1 - code} done, {code} failed\n")
    assert "report:" not in result.stdout
    assert len(result.stderr.splitlines()) == 1
    assert result.stderr.startswith("no report.html: ")
    assert result.stderr.endswith("; to write it: prodia-async results out --report\n")


def test_any_fault_of_the_page_is_a_line_and_with_debug_a_traceback(invoke, write_manifest, tmp_path):
    (tmp_path / "out" / "report.html").mkdir(parents=True)
    result = invoke("batch", write_manifest(echo("a")), "--out", "out", "--debug", *FAST)
    assert result.exit_code == 0
    assert "Traceback" in result.stderr


def test_how_far_the_page_is_is_told():
    seen = Seen()
    assert seen.text() == "report.html: 0 outputs seen"
    seen.update(1200, 4000)
    assert seen.text() == "report.html: 1,200 of 4,000 outputs seen"


async def test_a_page_that_is_interrupted_is_told(capsys):
    page = asyncio.create_task(try_page(Path("out")))
    await asyncio.sleep(0)
    page.cancel()
    assert await page is None
    assert capsys.readouterr().err == (
        "no report.html: it was interrupted; to write it: prodia-async results out --report\n"
    )


@pytest.mark.parametrize("signal", ["first", "second"])
async def test_a_signal_while_the_page_is_written_leaves_it_and_the_summary_follows(capsys, signal):
    run = BatchRun("jobs.jsonl", "out", {}, bench=None, as_json=False, page=True)
    rest = asyncio.create_task(run._write_page(PLAIN))
    for _ in range(3):
        await asyncio.sleep(0)
    if signal == "first":
        run.stop()
    else:
        run.cut()
        rest.cancel()
    assert await rest is None
    assert capsys.readouterr().err.startswith("no report.html: it was interrupted; ")


@pytest.mark.newest
@pytest.mark.parametrize("module", ["PIL"])
def test_without_the_libraries_of_the_page_the_batch_is_done_all_the_same(
    environment, write_manifest, invoke, module
):
    write_manifest(echo("a"))
    assert invoke("batch", "jobs.jsonl", "--out", "out", "--no-report", *FAST).exit_code == 0
    code = f"""
import sys
import prodia_async.cli as cli
from importlib.abc import MetaPathFinder

class Missing(MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name.partition(".")[0] == {module!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Missing())
sys.argv = ["prodia-async", *sys.argv[1:]]
cli.main()
"""
    again = {"PRODIA_TOKEN": "x", "PRODIA_BASE_URL": "http://127.0.0.1:9"}
    for arguments, returned in (
        (["batch", "jobs.jsonl", "--out", "out"], 0),
        (["results", "out", "--report"], 2),
    ):
        ended = subprocess.run(
            [sys.executable, "-c", code, *arguments],
            env=environment | again,
            text=True,
            capture_output=True,
            timeout=60,
            check=False,
        )
        assert ended.returncode == returned
        assert len(ended.stderr.splitlines()) == 1
        assert {"PIL": "Pillow"}[module] in ended.stderr
        assert "pip install" in ended.stderr
    assert ended.stdout == ""
