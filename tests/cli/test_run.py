from __future__ import annotations

import contextlib
import json
import os
import pty
import re

import pytest

TXT2IMG = "inference.flux-fast.schnell.txt2img.v2"
SMALL = ["-c", "width=64", "-c", "height=64", "-c", 'emulator={"latency":0}']


def test_outputs_go_where_they_should_and_their_paths_to_stdout(invoke, tmp_path):
    result = invoke(
        "run",
        TXT2IMG,
        "-c",
        "prompt=a cat",
        "-c",
        "steps=7",
        *SMALL,
        "-o",
        "cat.png",
        "--emulator",
        "--price",
    )
    assert (result.exit_code, result.stdout) == (0, "cat.png\n")
    assert (tmp_path / "cat.png").read_bytes().startswith(b"\x89PNG")
    assert result.stderr == f"{TXT2IMG}: done, 1 output, $0.0025\n"


def test_an_absolute_path_is_printed_as_one(invoke, tmp_path):
    out = tmp_path / "out"
    result = invoke("run", TXT2IMG, "-c", "prompt=x", *SMALL, "--emulator", "-o", str(out))
    [path] = result.stdout.splitlines()
    assert path.startswith(f"{out}/")


def test_without_o_outputs_go_to_the_current_folder(invoke, tmp_path):
    result = invoke("run", TXT2IMG, "-c", "prompt=x", *SMALL, "--emulator")
    [path] = result.stdout.splitlines()
    assert re.fullmatch(r"[0-9a-f-]{36}\.jpg", path)
    assert (tmp_path / path).is_file()


def test_several_outputs_and_attempts(invoke, tmp_path):
    config = {
        "size": 3,
        "outputs": 2,
        "content_type": "text/plain",
        "emulator": {"shed": 1, "retry_after": 0.01},
    }
    (tmp_path / "config.json").write_text(json.dumps(config | {"size": 5}))
    result = invoke(
        "run", "emulator.bytes.v1", "--config", "config.json", "-c", "size=3", "-o", "x.txt", "--emulator"
    )
    assert result.stdout == "x.txt\nx-2.txt\n"
    assert (tmp_path / "x-2.txt").stat().st_size == 3
    assert "done, 2 outputs, 2 attempts" in result.stderr


def test_inputs_are_sent_and_values_are_json_where_they_are_json(invoke, tmp_path):
    (tmp_path / "a.txt").write_text("hello")
    values = ["-c", "n=[1, 2.5]", "-c", "t=yes, and = more", "-c", "q=NaN", "-c", 's="7"', "-c", "empty="]
    result = invoke("run", "emulator.echo.v1", *values, "-i", "a.txt", "-o", "out/", "--json", "--emulator")
    record = json.loads(result.stdout)
    assert record["status"] == "done"
    assert {**record["job"]["config"]} == {
        "n": [1, 2.5],
        "t": "yes, and = more",
        "q": "NaN",
        "s": "7",
        "empty": "",
    }
    [output] = record["outputs"]
    assert (tmp_path / output["path"]).read_text() == "hello"
    assert output["content_type"] == "text/plain"
    assert record["attempts"][0]["status"] == 200


def test_a_workflow_has_its_jobs_beside_its_config(invoke, tmp_path):
    jobs = [
        {"type": TXT2IMG, "config": {"prompt": "a pier", "width": 64, "height": 64}},
        {"type": "inference.upscale.v1", "config": {"upscale": 2}},
    ]
    (tmp_path / "jobs.json").write_text(json.dumps(jobs))
    words = ["run", "workflow.serial.v1", *SMALL[-2:], "--emulator", "-o", "pier.png"]
    for n, given in enumerate((["--extra", f"jobs={json.dumps(jobs)}"], ["--extra", "jobs:=@jobs.json"])):
        result = invoke(*words[:-1], f"pier{n}.png", *given)
        assert (result.exit_code, result.stdout) == (0, f"pier{n}.png\n")
        # An IHDR of PNG has the width and the height at 16.
        assert (tmp_path / f"pier{n}.png").read_bytes()[16:24] == (128).to_bytes(4) * 2


@pytest.mark.parametrize(
    ("pair", "said"),
    [("jobs", "is not KEY=VALUE"), ("config={}", "config"), ("jobs=@photo.jpg", "photo.jpg")],
)
def test_a_further_field_that_cannot_be_is_refused_where_it_was_given(invoke, tmp_path, pair, said):
    (tmp_path / "photo.jpg").write_bytes(b"\xff\xd8\xff")
    result = invoke("run", "workflow.serial.v1", "--extra", pair, "--emulator")
    assert result.exit_code == 2
    assert said in result.stderr


def test_a_surprising_type_is_a_warning(invoke):
    config = ["-c", "content_type=text/plain", "-c", "size=3"]
    result = invoke("run", "emulator.bytes.v1", *config, "-o", "x.png", "--emulator")
    assert (result.exit_code, result.stdout) == (0, "x.png\n")
    assert "warning: image/png was asked for, and text/plain came" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["-c", 'emulator={"status":401}'], 3, "status 401"),
        (["-c", 'emulator={"status":403}'], 3, "status 403"),
        (["-c", 'emulator={"fail":"no"}'], 1, "inference.ping.v1: no"),
        (["-c", 'emulator={"latency":60}', "--timeout", "0.2"], 1, "not done within timeout=0.2 s"),
        (["-i", "none.png"], 2, "none.png"),
        (["-c", "novalue"], 2, "'novalue' is not KEY=VALUE"),
        (["--config", "bad.json"], 2, "not JSON"),
        (["--config", "list.json"], 2, "not a JSON object"),
        (["--timeout", "0"], 2, "--timeout"),
    ],
)  # fmt: skip
def test_exit_codes(invoke, tmp_path, arguments, code, said):
    (tmp_path / "bad.json").write_text("{")
    (tmp_path / "list.json").write_text("[]")
    result = invoke("run", "inference.ping.v1", *arguments, "--emulator")
    assert result.exit_code == code
    assert result.stdout == ""
    assert said in result.stderr
    assert "Traceback" not in result.stderr


def test_a_failure_is_told_as_json_too(invoke):
    result = invoke("run", "inference.ping.v1", "-c", 'emulator={"fail":"no"}', "--json", "--emulator")
    assert result.exit_code == 1
    record = json.loads(result.stdout)
    assert (record["status"], record["error"]["type"]) == ("failed", "BadRequestError")
    assert record["job"]["error"] == "no"


def test_without_a_token_it_says_what_to_do(invoke):
    result = invoke("run", "inference.ping.v1")
    assert (result.exit_code, result.stderr) == (
        2,
        "prodia-async: no token: set PRODIA_TOKEN (`run` and `batch` do without one with --emulator)\n",
    )


HOSTILE = "\x1b]0;owned\x07\x1b[31mred\x9b2J\u202egnp.exe\r\nsecond line"


@pytest.mark.parametrize("how", [[], ["--json"], ["--debug"]])
def test_hostile_texts_from_the_service_reach_no_terminal(invoke, how):
    orders = json.dumps({"fail": HOSTILE})
    result = invoke("run", "inference.ping.v1", "-c", f"emulator={orders}", "--emulator", *how)
    assert result.exit_code == 1
    shown = result.stdout + result.stderr
    assert "red" in shown
    assert all(char.isprintable() or char == "\n" for char in shown)
    if not how:
        assert len(result.stderr.splitlines()) == 1


@pytest.mark.parametrize("how", [[], ["--debug"]])
@pytest.mark.parametrize("orders", [{}, {"fail": "no"}, {"job_part": "last"}])
def test_hostile_texts_of_the_job_itself_reach_no_terminal(invoke, how, orders):
    """What the service says is made plain before: this is what the command itself does."""
    job = ["run", f"inference.ping.v1{HOSTILE}", "-c", f"emulator={json.dumps(orders)}", "--emulator"]
    shown = invoke(*job, *how).stderr
    assert r"\x1b]0;owned\x07\x1b[31mred\x9b2J\u202egnp.exe\r second line" in shown
    assert all(char.isprintable() or char == "\n" for char in shown)


def test_debug_shows_the_log_and_the_traceback(invoke):
    job = ["run", "inference.ping.v1", "-c", 'emulator={"fail":"no"}', "--emulator"]
    for result in (invoke(*job, "--debug"), invoke(*job, env={"PRODIA_LOG": "debug"})):
        assert "Traceback" in result.stderr
        assert "sent: inference.ping.v1" in result.stderr


@pytest.mark.parametrize(
    ("words", "code", "kind"),
    [
        (["run", "t"], 2, "InputError"),
        (["run", "t", "-i", "none.png", "--emulator"], 2, "InputError"),
        (["run", "t", "-c", "novalue"], 2, "BadParameter"),
        (["run", "t", "--timeout", "soon"], 2, "BadParameter"),
        (["run", "t", "--colour"], 2, "NoSuchOption"),
        (["run"], 2, "MissingParameter"),
        (["run", "t", "--emulator", "-c", 'emulator={"status": 401}'], 3, "AuthenticationError"),
        (["collect", "id"], 2, "InputError"),
        (["batch", "none.jsonl", "--out", "o"], 2, "BadParameter"),
        (["batch", "jobs.jsonl"], 2, "UsageError"),
        (["batch", "jobs.jsonl", "--out", "o"], 2, "InputError"),
        (["batch", "jobs.jsonl", "--out", "o", "--emulator", "--shard", "0/3"], 2, "InputError"),
        (["batch", "jobs.jsonl", "--check", "--shard", "x"], 2, "InputError"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else str(value),
)
def test_every_error_is_json_where_that_is_asked_for(invoke, write_manifest, words, code, kind):
    write_manifest({"type": "inference.ping.v1"})
    result = invoke(*words, "--json")
    told = json.loads(result.stdout)
    assert (result.exit_code, told["exit_code"], told["status"]) == (code, code, "failed")
    assert told["error"]["type"] == kind
    assert told["error"]["message"]
    assert told["error"]["may_have_run"] is False
    assert result.stderr


def test_on_a_terminal_it_tells_what_it_waits_for(start, environment):
    ours, theirs = pty.openpty()
    orders = json.dumps({"shed": 1, "retry_after": 2})
    process = start("run", "inference.ping.v1", "-c", f"emulator={orders}", "--emulator", stderr=theirs)
    os.close(theirs)
    shown = b""
    with contextlib.suppress(OSError):  # the other side has ended
        while piece := os.read(ours, 65536):
            shown += piece
    os.close(ours)
    process.communicate(timeout=60)
    assert process.returncode == 0
    assert b"the service is full: trying again in 2 s" in shown
    assert shown.rpartition(b"\r\x1b[K")[2] == b"inference.ping.v1: done, 0 outputs, 2 attempts\r\n"
