"""Batches without a manifest, from the command line."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

PNG = b"\x89PNG\r\n\x1a\n" + bytes(20)
BYTES = ["--type", "emulator.bytes.v1", "-c", "size=3"]
RUN = ["--emulator", "--latency", 0, "--no-report", "--out", "out"]


@pytest.fixture
def photos(tmp_path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in (1, 2, 10):
        (folder / f"cat{number}.png").write_bytes(PNG)
    return folder


def written(invoke, *arguments) -> list[dict]:
    result = invoke("batch", *arguments, "--write-manifest", "all.jsonl")
    assert (result.exit_code, result.stderr) == (0, "written: all.jsonl\n")
    return [json.loads(line) for line in Path("all.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("place", ["photos", "photos/", "photos/*.png", "photos/**", "./photos/cat*"])
def test_each_picture_is_a_job(invoke, photos, place):
    lines = written(
        invoke, place, "--type", "t", "-c", "prompt=in oil", "-c", "image={name}", "-c", "n={{1}}"
    )
    assert [line["custom_id"] for line in lines] == ["cat1.png", "cat2.png", "cat10.png"]
    assert lines[2] == {
        "custom_id": "cat10.png",
        "type": "t",
        "config": {"prompt": "in oil", "image": "cat10.png", "n": "{1}"},
        "inputs": ["photos/cat10.png"],
    }


def test_a_home_is_meant_in_quotes_too(invoke, photos, monkeypatch):
    monkeypatch.setenv("HOME", str(photos.parent))
    assert len(written(invoke, "~/photos/*2*", "--type", "t")) == 1


def test_a_sample_of_a_folder_runs_and_the_rest_follows(invoke, photos):
    arguments = [photos, *BYTES, "-c", "name={stem}", *RUN]
    first = invoke("batch", *arguments, "--first", 2, "--ask-price").stdout.splitlines()
    assert first[0] == "2 done, 0 failed"
    assert "$0.005 in all; about $0.0075 for all 3 jobs" in first
    assert first[-1] == "to run the other jobs, too: the same command without --first"
    (photos / "cat0.png").write_bytes(PNG)
    assert invoke("batch", *arguments).stdout.splitlines()[0] == "4 done, 0 failed (2 of them earlier)"
    changed = invoke("batch", *arguments[:-5], "-c", "name=x", *RUN)
    assert changed.exit_code == 2
    assert "photos: custom_id 'cat0.png' was another job when it was sent" in changed.stderr
    assert " line " not in changed.stderr


def test_what_is_no_picture_is_told(invoke, photos):
    (photos / "a.jpg").write_bytes(b"<html>")
    result = invoke("batch", photos, "--type", "t", "--check")
    assert (result.exit_code, result.stdout.splitlines()[0]) == (2, "3 jobs, 1 bad line in the manifest")
    assert result.stderr == f"{photos}: 'a.jpg' is called a picture, and does not begin as one\n"


def test_prompts_seeds_and_values_multiply(invoke, tmp_path):
    (tmp_path / "prompts.txt").write_text("a fox\na cat\n")
    options = ["--repeat", 2, "--vary", "steps=2,4", "--vary", 'style="oil, thick",ink', "--vary", "x:=[[1]]"]
    lines = written(invoke, "prompts.txt", "--type", "t", "-c", "prompt={prompt} in {style}", *options)
    assert len(lines) == 16
    assert lines[0]["config"] == {"prompt": "a fox in oil, thick", "steps": 2, "x": [1], "seed": 1}
    assert lines[-1]["config"] == {"prompt": "a cat in ink", "steps": 4, "x": [1], "seed": 2}
    assert lines[-1]["custom_id"].endswith("_steps-4_style-ink_x-[1]_seed-2")


def test_a_written_manifest_goes_on_where_the_pictures_were_begun(invoke, photos):
    invoke("batch", photos, *BYTES, *RUN, "--first", 1)
    written(invoke, photos, *BYTES)
    lines = invoke("batch", "all.jsonl", *RUN).stdout.splitlines()
    assert lines[0] == "3 done, 0 failed (1 of them earlier)"


def test_a_check_tells_the_price_of_all_of_it(invoke, photos):
    arguments = ["batch", photos, "--type", "t", "--check", "--repeat", 100]
    assert invoke(*arguments, "--price", "t=0.0025").stdout.splitlines()[-1] == "$0.75 in all"
    assert (
        invoke(*arguments, "--price", "u=1").stdout.splitlines()[-1]
        == "$0.00 in all; 300 jobs have no --price"
    )
    told = json.loads(invoke(*arguments, "--price", "t=0.0025", "--json").stdout)
    assert (told["dollars"], told["unpriced"]) == (0.75, 0)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["photos/cat1.png", "photos/cat2.png"], "a folder or a pattern in quotes: 'in/*.png'"),
        (["photos/cat1.png"], "or its folder in place of a manifest"),
        (["photos/*.gif"], "no file matches 'photos/*.gif'"),
        (["gone/"], "Path 'gone/' does not exist"),
        (["photos", "-c", "image={nmae}"], "nothing is called {nmae} here, only {folder}, {name}, {stem}"),
        (["photos", "-c", "image={"], "has a brace alone: a brace that is meant is written twice, {{"),
        (["photos", "--vary", "steps"], "'steps' is not KEY=A,B or KEY:=[...]"),
        (["photos", "--vary", "steps="], "'steps=' is not KEY=A,B or KEY:=[...]"),
        (["photos", "--vary", "steps:=4"], "'steps:=4' is not KEY=A,B or KEY:=[...]"),
        (["photos", "--vary", "steps:=[4"], "is not JSON"),
        (["photos", "--vary", 'steps="4'], "unexpected end of data"),
        (["photos", "--vary", "=1"], "'=1' is not KEY=VALUE"),
        (["photos", "--vary", "steps=4,4"], "vary has the value '4' of 'steps' twice"),
        (["photos", "--vary", "seed=4", "--repeat", "2"], "makes seeds, and so does vary"),
        (["photos", "--repeat", "0"], "Invalid value for '--repeat'"),
        (["photos", "--first", "0"], "Invalid value for '--first'"),
        (["photos", "--write-manifest", "none/x.jsonl"], "cannot be written: No such file"),
        (["photos", "--write-manifest", "-"], "takes the name of a file, such as jobs.jsonl, not -"),
        (["photos", "--write-manifest", "pipe"], "'pipe' cannot be written: it is no regular file"),
        (["photos", "--write-manifest", "photos/cat1.png"], "would replace"),
        (["photos/*.png", "--write-manifest", "photos/cat1.png"], "would replace"),
        (
            ["p.txt", "--write-manifest", "./p.txt"],
            "would replace 'p.txt', which it is made of: name another",
        ),
    ],
)
def test_what_makes_no_sense_is_told(invoke, photos, tmp_path, arguments, said):
    (tmp_path / "p.txt").write_text("a fox")
    os.mkfifo(tmp_path / "pipe")
    before = {path: path.is_file() and path.read_bytes() for path in tmp_path.rglob("*")}
    result = invoke(
        "batch", *arguments, "--type", "t", *([] if "--write-manifest" in arguments else ["--check"])
    )
    assert (result.exit_code, result.stdout) == (2, "")
    assert said in result.stderr
    assert {path: path.is_file() and path.read_bytes() for path in tmp_path.rglob("*")} == before


def test_outputs_do_not_go_where_they_end_with_the_command(invoke, photos, tmp_path):
    result = invoke("batch", "photos", "--type", "t", "--out", "out", "--to", "memory:///x/", "--emulator")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "what is in memory ends with this command: use s3://bucket/prefix/, or file:///" in result.stderr
    assert not (tmp_path / "out").exists()
