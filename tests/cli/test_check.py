from __future__ import annotations

import json

import pytest

BAD = '{"type": "a", "colour": 1}'


def test_it_tells_what_is_in_a_manifest_and_needs_no_token_and_no_folder(invoke, write_manifest, tmp_path):
    manifest = write_manifest(
        {"type": "b"}, *[{"type": "a", "custom_id": str(number)} for number in range(3)]
    )
    result = invoke("batch", manifest, "--check")
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.splitlines() == ["4 jobs", "           3  a", "           1  b"]
    assert list(tmp_path.iterdir()) == [manifest]


def test_bad_lines_are_told_and_end_with_2(invoke, write_manifest):
    result = invoke(
        "batch", write_manifest({"type": "a"}, BAD, "{"), "--check", "--out", "out", "--max-spend", 5
    )
    assert result.exit_code == 2
    assert result.stdout.splitlines()[0] == "1 job, 2 bad lines in the manifest"
    lines = result.stderr.splitlines()
    assert [line.partition(": ")[0].rpartition(" ")[2] for line in lines] == ["2", "3"]
    assert "colour" in lines[0]


def test_json_gives_one_object(invoke, write_manifest):
    result = invoke("batch", write_manifest({"type": "a"}, BAD), "--check", "--json")
    told = json.loads(result.stdout)
    assert (told["jobs"], told["by_type"], told["problem_count"]) == (1, {"a": 1}, 1)
    assert told["problems"][0]["line"] == 2


def test_defaults_of_the_command_hold(invoke, write_manifest):
    manifest = write_manifest({"config": {"prompt": "x"}}, {"type": "b"})
    result = invoke("batch", manifest, "--check", "--type", "a", "-c", "steps=4", "--accept", "image/png")
    assert (result.exit_code, result.stdout.splitlines()[0]) == (0, "2 jobs")
    assert invoke("batch", manifest, "--check").exit_code == 2


def test_shards_share_the_jobs(invoke, write_manifest):
    manifest = write_manifest(*[{"type": "a", "custom_id": str(number)} for number in range(100)])
    numbers = [
        json.loads(invoke("batch", manifest, "--check", "--json", "--shard", f"{number}/3").stdout)["jobs"]
        for number in (1, 2, 3)
    ]
    assert sum(numbers) == 100
    assert min(numbers) > 15


def test_inputs_outside_of_the_folder_need_a_word(invoke, tmp_path):
    (tmp_path / "inner").mkdir()
    (tmp_path / "a.txt").write_text("x")
    manifest = tmp_path / "inner" / "jobs.jsonl"
    manifest.write_text('{"type": "a", "inputs": ["../a.txt"]}\n')
    assert invoke("batch", manifest, "--check").exit_code == 2
    assert invoke("batch", manifest, "--check", "--allow-outside").exit_code == 0


def test_standard_input_is_checked_too(start):
    process = start("batch", "-", "--check", stdin=-1)
    stdout, stderr = process.communicate('{"type": "a"}\n{', timeout=60)
    assert (process.returncode, stdout.splitlines()[0]) == (2, "1 job, 1 bad line in the manifest")
    assert stderr.startswith("standard input line 2: ")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "Missing option '--out'"),
        (["--out", "out", "--retry-failed", "--only-failed"], "exclude each other"),
        (["--check", "--shard", "3"], "'3/10'"),
        (["--check", "--shard", "4/3"], "4/3"),
        (["--check", "-c", "steps"], "'steps' is not KEY=VALUE"),
        (["--out", "out", "--max-spend", "five"], "invalid amount of dollars 'five': use 5.00"),
        (["--out", "out", "--price", "0.04"], "'0.04' is not TYPE=DOLLARS"),
        (["--out", "out", "--give-up-after", "soon"], "invalid time 'soon': use 90, 30m or 3h"),
    ],
)
def test_senseless_options_end_with_2(invoke, write_manifest, arguments, said):
    result = invoke("batch", write_manifest({"type": "a"}), *arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert said in result.stderr
    assert "Traceback" not in result.stderr
