from __future__ import annotations

import json
import signal
import socket
import urllib.request

import pytest


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_serves_until_a_signal_and_prints_its_account(start, number):
    process = start("emulator", "--port", 0, "--capacity", 3, "--token", "my token'", "--latency", 0)
    greeting, url, token = (process.stdout.readline() for _ in range(3))
    base_url = url.strip().removeprefix("export PRODIA_BASE_URL=")
    assert greeting == f"The emulator listens on {base_url}; its token is my token'. Ctrl-C stops it.\n"
    assert token == """export PRODIA_TOKEN='my token'"'"''\n"""
    with urllib.request.urlopen(f"{base_url}/stats", timeout=10) as answer:
        assert json.load(answer)["capacity"] == 3
    process.send_signal(number)
    stdout, stderr = process.communicate(timeout=60)
    assert (process.returncode, stderr) == (0, "")
    assert stdout == (
        "0 requests: 0 completed, 0 shed, 0 refused, 0 failed; $0 billed; at most 0 of 3 slots busy\n"
    )


def test_a_port_in_use_is_told(invoke):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        result = invoke("emulator", "--port", str(port))
    assert result.exit_code == 2
    assert result.stderr.startswith(f"prodia-async: port {port} cannot be used: ")
