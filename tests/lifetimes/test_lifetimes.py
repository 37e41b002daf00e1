"""Each scenario runs in a Python of its own with `-X dev -W error`: it must end well and say nothing."""

from __future__ import annotations

import os
import pathlib
import ssl
import subprocess
import sys
from collections.abc import Iterator

import pytest
import trustme
from support.processes import complaints

from prodia_async.emulator import background_emulator

SCENARIOS = pathlib.Path(__file__).parent / "scenarios"
FORKS = [("fork.py", busy, ending) for busy in ("idle", "busy") for ending in ("exit", "_exit")]


@pytest.fixture(scope="module", params=["plain", "tls"])
def environment(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, str]]:
    if request.param == "plain":
        with background_emulator(capacity=32, latency=0.01) as emulator:
            yield {"SCENARIO_URL": emulator.base_url, "PRODIA_TOKEN": emulator.token}
        return
    ca = trustme.CA()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    ca.issue_cert("127.0.0.1").configure_cert(context)
    pem = tmp_path_factory.mktemp("ca") / "ca.pem"
    ca.cert_pem.write_to_path(str(pem))
    with background_emulator(capacity=32, latency=0.01, ssl=context) as emulator:
        yield {"SCENARIO_URL": emulator.base_url, "PRODIA_TOKEN": emulator.token, "SCENARIO_CA": str(pem)}


@pytest.mark.parametrize(
    "scenario",
    [
        ("three_runs.py",),
        ("killed_loop.py",),
        ("closed_bare.py",),
        ("two_threads.py",),
        ("dropped.py",),
        ("pickled.py",),
        *FORKS,
    ],
    ids=" ".join,
)
def test_scenario(scenario: tuple[str, ...], environment: dict[str, str]) -> None:
    if scenario[0] == "fork.py" and not hasattr(os, "fork"):
        pytest.skip("this system cannot fork")
    name, *arguments = scenario
    ended = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error", str(SCENARIOS / name), *arguments],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (ended.returncode, ended.stdout, complaints(ended.stderr)) == (0, "", "")
