"""The options of `prodia-async emulator`, on the running command."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from click.testing import CliRunner

import prodia_async
from prodia_async.cli.emulator import command

TXT2IMG = "inference.flux.txt2img.v1"


@contextlib.contextmanager
def running(*options):
    """Run the command; yield a function that posts a job and returns the status and the result."""
    environment = os.environ | {"PYTHONPATH": str(Path(prodia_async.__file__).parents[1])}
    words = [sys.executable, "-m", "prodia_async", "emulator", "--port", "0", *options]
    with subprocess.Popen(words, env=environment, text=True, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        url = process.stdout.readline().strip().removeprefix("export PRODIA_BASE_URL=")

        def post(job_type, **config):
            headers = {"Authorization": "Bearer emulator-token", "Content-Type": "application/json"}
            headers["Accept"] = "application/json"
            body = json.dumps({"type": job_type, "config": config}).encode()
            request = urllib.request.Request(f"{url}/v2/job?price=true", body, headers)
            try:
                with urllib.request.urlopen(request, timeout=20) as answer:
                    return answer.status, json.load(answer)
            except urllib.error.HTTPError as error:
                return error.code, json.load(error)

        post.url = url
        try:
            yield post
        finally:
            process.send_signal(signal.SIGINT)
            process.communicate(timeout=20)


def test_it_listens_where_it_is_told():
    with running("--host", "0.0.0.0", "--latency", "0") as post:
        assert post.url.startswith("http://0.0.0.0:")
        assert post("inference.ping.v1")[0] == 200


def test_a_seed_makes_it_repeatable():
    seeds = []
    for seed in ("3", "3", "4"):
        with running("--seed", seed, "--latency", "0") as post:
            seeds.append(post(TXT2IMG, prompt="x", width=64, height=64)[1]["config"]["seed"])
    assert seeds[0] == seeds[1] != seeds[2]


@pytest.mark.parametrize(("price", "dollars"), [("0.04", 0.04), ("list", 0.0025), ("none", None)])
def test_a_price(price, dollars):
    with running("--price", price, "--latency", "0") as post:
        told = post("inference.flux-fast.schnell.txt2img.v2", prompt="x", width=64, height=64)[1]["price"]
    assert (told and told["dollars"]) == dollars


def test_a_recording_is_written_and_replayed(tmp_path):
    with running("--record", str(tmp_path / "r"), "--latency", "0.2") as post:
        first = post("emulator.bytes.v1", size=9)[1]
    with running("--replay", str(tmp_path / "r"), "--at-once") as post:
        again = post("emulator.bytes.v1", size=9)[1]
        assert post("emulator.bytes.v1", size=8)[0] == 400
    assert again["config"] == first["config"]
    assert again["metrics"] == first["metrics"]


def test_it_hands_on_to_another(tmp_path):
    with (
        running("--latency", "0") as behind,
        running("--upstream", behind.url, "--record", str(tmp_path)) as post,
    ):
        assert post("inference.ping.v1")[0] == 200
    assert len([*tmp_path.glob("*/reply.json")]) == 1


def test_a_strict_one_refuses():
    with running("--strict", "--latency", "0") as post:
        status, result = post("inference.flux-fast.schnell.txt2img.v1", prompt="abc", new=1)
    assert (status, result["state"]["current"]) == (400, "failed")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--price", "dear"], "'dear' is neither dollars, such as 0.04, nor list nor none"),
        (["--price", "-1"], "price= takes dollars, such as 0.0025"),
        (["--replay", "/no/such"], "replay= takes a folder that was recorded"),
        (["--upstream", "x"], "upstream= takes a URL"),
        (["--host", ""], "host= takes an address of this computer"),
        (["--host", "203.0.113.1"], "203.0.113.1 port 0 cannot be used"),
        (["--seed", "x"], "'x' is not a valid integer"),
    ],
)
def test_what_cannot_be_is_told(options, said):
    result = CliRunner().invoke(command, ["--port", "0", *options])
    assert result.exit_code == 2
    assert said in result.stderr
