from __future__ import annotations

import json
import re

import pytest

from prodia_async.emulator import background_emulator

FILM = "inference.wan2-2.lightning.txt2vid.v0"
SMALL = ["-c", "prompt=waves", "-c", "seconds=0.25", "-c", "width=64", "-c", "height=64"]


@pytest.fixture
def service(monkeypatch):
    with background_emulator(latency=0.05) as emulator:
        monkeypatch.setenv("PRODIA_BASE_URL", emulator.base_url)
        monkeypatch.setenv("PRODIA_TOKEN", emulator.token)
        yield emulator


def test_a_job_that_was_not_waited_for_is_collected(invoke, service, tmp_path):
    late = invoke("run", FILM, *SMALL, "-c", 'emulator={"latency":1}', "--mode", "async", "--timeout", "0.2")
    assert late.exit_code == 1
    [job_id] = re.findall("prodia-async collect ([0-9a-f-]{36})\n", late.stderr)
    found = invoke("collect", job_id, "-o", "waves.mp4", "--price")
    assert (found.exit_code, found.stdout) == (0, "waves.mp4\n")
    assert found.stderr == f"{FILM}: done, 1 output, $0.0025\n"
    assert (tmp_path / "waves.mp4").read_bytes()[4:8] == b"ftyp"
    assert service.stats().submitted == 1


def test_run_waits_for_an_asynchronous_job(invoke, tmp_path):
    result = invoke("run", FILM, *SMALL, "--mode", "async", "-o", "waves.mp4", "--json", "--emulator")
    assert json.loads(result.stdout)["status"] == "done"
    assert result.stderr == f"{FILM}: done, 1 output\n"
    assert (tmp_path / "waves.mp4").is_file()


def test_an_unknown_job_says_so(invoke, service):
    result = invoke("collect", "nothing", "--json")
    assert result.exit_code == 1
    assert json.loads(result.stdout)["error"]["status"] == 404
    assert "expired or unknown" in result.stderr
