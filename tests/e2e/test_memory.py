"""Memory stays flat for large inputs and outputs: 128 MiB each way, in a process of its own."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys

import pytest

from prodia_async.emulator import background_emulator

BENCHMARK = pathlib.Path(__file__).parents[2] / "benchmarks" / "streaming.py"
CLEAR_REFS = pathlib.Path("/proc/self/clear_refs")


@pytest.mark.newest
@pytest.mark.skipif(not CLEAR_REFS.exists(), reason="peak RSS is read from Linux's /proc")
@pytest.mark.parametrize("direction", ["in", "out"])
def test_128_mib_streamed(direction: str, tmp_path: pathlib.Path) -> None:
    with (tmp_path / "input.bin").open("wb") as file:
        file.truncate(128 << 20)
    with background_emulator(latency=0.0) as emulator:
        options = ["--client", direction, "--mib", "128", "--out", str(tmp_path)]
        command = [sys.executable, str(BENCHMARK), *options]
        environment = {**os.environ, "PRODIA_BASE_URL": emulator.base_url, "PRODIA_TOKEN": emulator.token}
        ended = subprocess.run(command, env=environment, stdout=subprocess.PIPE, timeout=120, check=True)
    assert json.loads(ended.stdout)["rss_mib"] <= 48
