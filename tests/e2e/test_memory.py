"""Memory stays flat for large inputs and outputs: 128 MiB each way, in a process of its own."""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys

import pytest

from prodia_async.emulator import background_emulator

CLIENT = pathlib.Path(__file__).with_name("memory_client.py")
CLEAR_REFS = pathlib.Path("/proc/self/clear_refs")
MIB = 1024 * 1024


@pytest.mark.newest
@pytest.mark.skipif(not CLEAR_REFS.exists(), reason="peak RSS is read from Linux's /proc")
@pytest.mark.parametrize("direction", ["in", "out"])
def test_128_mib_streamed(direction: str, tmp_path: pathlib.Path) -> None:
    with (tmp_path / "input.bin").open("wb") as file:
        file.truncate(128 * MIB)
    with background_emulator(latency=0.0) as emulator:
        command = [sys.executable, str(CLIENT), direction, "128", str(tmp_path)]
        environment = {**os.environ, "PRODIA_BASE_URL": emulator.base_url, "PRODIA_TOKEN": emulator.token}
        ended = subprocess.run(command, env=environment, stdout=subprocess.PIPE, timeout=120, check=True)
    assert int(ended.stdout) <= 48 * MIB
