import os
import pathlib
import subprocess
import sys

import pytest

TESTS = """
async def test_a_job_runs(prodia, prodia_emulator):
    result = await prodia.run("inference.flux-fast.schnell.txt2img.v2", {"prompt": "a cat"})
    assert result.outputs[0].data[:3] == bytes([0xFF, 0xD8, 0xFF])
    assert prodia_emulator.stats().completed == 1

async def test_each_test_has_its_own_loop(prodia):
    assert (await prodia.run("inference.ping.v1")).id
"""


@pytest.mark.newest
def test_the_fixtures_serve_another_project(tmp_path: pathlib.Path) -> None:
    (tmp_path / "test_it.py").write_text(TESTS)
    command = [sys.executable, "-m", "pytest", "-q", "-W", "error"]
    options = [
        "-o",
        "asyncio_mode=auto",
        "-o",
        "asyncio_default_fixture_loop_scope=function",
        "-p",
        "no:cacheprovider",
        "-c",  # not the settings of a folder above
        os.devnull,
    ]
    ended = subprocess.run(
        [*command, *options, "test_it.py"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert "2 passed" in ended.stdout, ended.stdout + ended.stderr
