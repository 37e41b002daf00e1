from __future__ import annotations

import csv
import io
import json
import os
import pty

import pytest
from cli.helpers import echo

pytestmark = pytest.mark.newest

HOSTILE = '\x1b[31mred\x9b2J\u202e, "quoted"\nsecond line'


@pytest.fixture
def batch(invoke, write_manifest):
    """Run a batch into a folder on an emulator that is fast."""

    def run(folder: str, *jobs: dict) -> None:
        manifest = write_manifest(*jobs)
        options = ["--emulator", "--latency", "0", "--ask-price", "--no-report"]
        assert invoke("batch", manifest, "--out", folder, *options).exit_code in (0, 1)

    return run


def lines(text: str) -> list[dict]:
    return [json.loads(line) for line in text.splitlines()]


def test_it_prints_what_stands_in_results_jsonl(invoke, batch, tmp_path):
    batch("out", echo("b", fail="no"), echo("a"))
    before = (tmp_path / "out" / "results.jsonl").read_text()
    result = invoke("results", "out")
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout == before == (tmp_path / "out" / "results.jsonl").read_text()
    assert [record["custom_id"] for record in lines(result.stdout)] == ["a", "b"]


def test_of_several_folders_the_paths_begin_with_the_folder(invoke, batch):
    batch("one", echo("a"), echo("b", fail="no"))
    batch("two", echo("c", fail="never"), echo("d"))
    result = invoke("results", "one", "two")
    assert [record["custom_id"] for record in lines(result.stdout)] == ["a", "b", "c", "d"]
    paths = [output["path"] for record in lines(result.stdout) for output in record["outputs"]]
    assert [path.partition("/")[0] for path in paths] == ["one", "two"]
    assert all(os.path.isfile(path) for path in paths)


def test_inputs_of_several_folders_are_where_they_are(invoke, write_manifest, tmp_path):
    (tmp_path / "in.txt").write_text("x")
    for folder in ("one", "sub/two"):
        manifest = write_manifest(echo("a") | {"inputs": ["in.txt"]})
        options = ["--emulator", "--latency", "0", "--no-report"]
        assert invoke("batch", manifest, "--out", folder, *options).exit_code == 0
    records = lines(invoke("results", "one", "sub/two").stdout)
    assert [record["request"]["inputs"] for record in records] == [["in.txt"], ["in.txt"]]
    assert lines(invoke("results", "sub/two").stdout)[0]["request"]["inputs"] == ["../../in.txt"]


def test_shards_have_one_list_and_one_sheet(invoke, write_manifest, tmp_path):
    manifest = write_manifest(*[echo(f"job-{number}") for number in range(12)])
    for number in (1, 2):
        options = ["--shard", f"{number}/2", "--emulator", "--latency", "0", "--no-report"]
        assert invoke("batch", manifest, "--out", f"s{number}", *options).exit_code == 0
    for form in ([], ["--format", "csv"]):
        printed = invoke("results", "s1", "s2", *form).stdout
        assert all(f"job-{number}" in printed for number in range(12))
    for arguments in (["s1", "s2", "--report", "all.html"], ["--report", "all.html", "s1", "s2"]):
        (tmp_path / "all.html").unlink(missing_ok=True)
        result = invoke("results", *arguments)
        assert (result.exit_code, result.stdout) == (0, "all.html\n")
        page = (tmp_path / "all.html").read_text()
        assert all(f"job-{number}" in page for number in range(12))
    assert not (tmp_path / "s1" / "report.html").exists()


@pytest.mark.parametrize("arguments", [["one", "two", "--report"], ["--report", "--debug", "one", "two"]])
def test_without_a_file_each_folder_has_its_sheet(invoke, batch, arguments):
    batch("one", echo("a"))
    batch("two", echo("b"))
    assert invoke("results", *arguments).stdout == "one/report.html\ntwo/report.html\n"
    assert invoke("results", "--report", "one").stdout == "one/report.html\n"


def test_a_folder_is_needed(invoke):
    for arguments in ([], ["--report"], ["--report", "all.html"]):
        result = invoke("results", *arguments)
        assert (result.exit_code, result.stdout) == (2, "")
        assert "Missing argument 'FOLDERS...'" in result.stderr


def test_only_failed_ones(invoke, batch):
    batch("one", echo("a"), echo("b", fail="no"))
    batch("two", echo("c", fail="never"))
    result = invoke("results", "one", "two", "--failed")
    told = [(record["custom_id"], record["status"]) for record in lines(result.stdout)]
    assert (result.exit_code, told) == (0, [("b", "failed"), ("c", "failed")])


def test_csv_has_a_row_for_each_output(invoke, batch):
    job = echo("a,b")
    job["config"] |= {"prompt": HOSTILE, "seed": 7, "outputs": 2}
    batch("out", job, echo("c", fail='no "more"'))
    result = invoke("results", "out", "--format", "csv")
    first, second, failed = csv.DictReader(io.StringIO(result.stdout, newline=""))
    assert (first["custom_id"], first["status"], first["type"]) == ("a,b", "done", "emulator.bytes.v1")
    assert (first["prompt"], first["seed"], first["dollars"]) == (HOSTILE, "7", "0.0025")
    assert all(os.path.isfile(os.path.join("out", row["path"])) for row in (first, second))
    assert (failed["custom_id"], failed["status"]) == ("c", "failed")
    assert 'no "more"' in failed["error"]


@pytest.mark.parametrize("form", ["jsonl", "csv"])
def test_on_a_terminal_nothing_is_acted_upon(start, batch, form):
    job = echo("a")
    job["config"]["prompt"] = HOSTILE
    batch("out", job)
    ours, theirs = pty.openpty()
    process = start("results", "out", "--format", form, stdout=theirs)
    os.close(theirs)
    _, stderr = process.communicate(timeout=60)
    shown = os.read(ours, 65536).decode()
    os.close(ours)
    assert (process.returncode, stderr) == (0, "")
    assert "red" in shown
    assert all(char.isprintable() or char in "\r\n" for char in shown)


@pytest.mark.parametrize("width", [60, 100])
def test_on_a_terminal_it_is_a_table(start, batch, environment, width):
    batch("out", echo("猫"), echo("x" * 100), echo("b", fail="no room"))
    ours, theirs = pty.openpty()
    environment["COLUMNS"] = str(width)
    process = start("results", "out", stdout=theirs)
    os.close(theirs)
    assert process.wait(60) == 0
    table = os.read(ours, 65536).decode().splitlines()
    os.close(ours)
    assert [line.split()[-2 if "no room" not in line else -3] for line in table][1:] != []
    rows = {line.split()[0][:3]: line for line in table}
    assert set(rows) == {"猫", "xxx", "b"}
    assert " failed  no room" in rows["b"]
    assert "{" not in "".join(table)
    assert " done    outputs/" in rows["猫"]
    assert all(len(line) < width for line in table)


def test_excel_gets_its_mark(start, batch, invoke):
    job = echo("a")
    job["config"]["prompt"] = "café 猫"
    batch("out", job)
    marked = invoke("results", "out", "--format", "excel").stdout_bytes
    plain = invoke("results", "out", "--format", "csv").stdout_bytes
    assert marked == b"\xef\xbb\xbf" + plain
    assert "café 猫".encode() in plain


@pytest.mark.parametrize("form", ["jsonl", "csv"])
def test_a_reader_that_leaves_ends_it_quietly(start, batch, form):
    jobs = [echo(str(number)) for number in range(20)]
    for job in jobs:
        job["config"]["prompt"] = "x" * 10_000
    batch("out", *jobs)
    reading, writing = os.pipe()
    process = start("results", "out", "--format", form, stdout=writing)
    os.close(writing)
    os.close(reading)
    _, stderr = process.communicate(timeout=60)
    assert (process.returncode, stderr) == (141, "")


def test_results_and_report_are_written_anew(invoke, batch, tmp_path):
    batch("out", echo("a"))
    results, report = tmp_path / "out" / "results.jsonl", tmp_path / "out" / "report.html"
    before = results.read_text()
    results.unlink()
    result = invoke("results", "out", "--report")
    assert (result.exit_code, result.stdout, results.exists()) == (0, "out/report.html\n", False)
    result = invoke("results", "out", "--format", "csv")
    assert result.exit_code == 0
    assert results.read_text() == before
    assert report.stat().st_size > 1000


def test_results_that_cannot_be_written_are_printed_all_the_same(invoke, batch, tmp_path):
    batch("out", echo("a"))
    results = tmp_path / "out" / "results.jsonl"
    results.unlink()
    results.mkdir()
    result = invoke("results", "out")
    assert result.exit_code == 0
    assert json.loads(result.stdout)["custom_id"] == "a"
    assert "results.jsonl' could not be written" in result.stderr


@pytest.mark.parametrize("options", [[], ["--report"], ["--format", "csv"]])
def test_a_folder_without_a_batch_ends_with_2(invoke, tmp_path, options):
    (tmp_path / "other").mkdir()
    result = invoke("results", "other", *options)
    assert (result.exit_code, result.stdout.splitlines()[1:]) == (2, [])
    assert result.stderr.startswith("prodia-async: ")
    assert list((tmp_path / "other").iterdir()) == []


@pytest.mark.parametrize("options", [["--failed", "--report"], ["--format", "csv", "--report"]])
def test_what_is_for_printing_goes_with_no_file(invoke, tmp_path, options):
    (tmp_path / "out").mkdir()
    result = invoke("results", "out", *options)
    assert result.exit_code == 2
    assert "--failed and --format are for printing" in result.stderr
