"""The option `--fault` of the command."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
from click.testing import CliRunner

import prodia_async
from prodia_async.cli.emulator import command


def test_faults_are_met_and_stand_in_the_account():
    environment = os.environ | {"PYTHONPATH": str(Path(prodia_async.__file__).parents[1])}
    words = [sys.executable, "-m", "prodia_async", "emulator", "--port", "0", "--latency", "0"]
    words += ["--fault", "no-job=1", "--fault", "cut=0"]
    with subprocess.Popen(words, env=environment, text=True, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        url = process.stdout.readline().strip().removeprefix("export PRODIA_BASE_URL=")
        headers = {"Authorization": "Bearer emulator-token", "Content-Type": "application/json"}
        body = json.dumps({"type": "inference.ping.v1"}).encode()
        request = urllib.request.Request(f"{url}/v2/job", body, headers)
        with urllib.request.urlopen(request, timeout=10) as answer:
            assert b"job.json" not in answer.read()
        with urllib.request.urlopen(f"{url}/stats", timeout=10) as answer:
            assert json.load(answer)["faults"] == {"no-job": 1}
        process.send_signal(signal.SIGINT)
        stdout, _ = process.communicate(timeout=20)
    assert stdout.splitlines()[-1] == "faults: 1 no-job"


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("speed=0.1", "faults= has no 'speed': there are hang-upload, "),
        ("cut=2", "faults= takes chances from 0 to 1, such as 0.01, not 2.0 for cut"),
        ("cut", "'cut' is not NAME=RATE: --fault reset=0.01"),
        ("cut=often", "'cut=often' is not NAME=RATE: --fault reset=0.01"),
    ],
)
def test_a_senseless_fault_is_told(fault, said):
    result = CliRunner().invoke(command, ["--port", "0", "--fault", fault])
    assert result.exit_code == 2
    assert said in result.stderr
