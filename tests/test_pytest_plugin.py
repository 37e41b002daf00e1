"""The fixtures in a project of their own, with each plugin that runs async tests."""

from __future__ import annotations

import os
import pathlib
import re
import subprocess
import sys

import pytest

pytestmark = pytest.mark.newest

DOCUMENTATION = pathlib.Path(__file__).parents[1] / "docs" / "testing.md"

TESTS = '''
import asyncio
import gc
import os
import pathlib

import pytest

from prodia_async import Job, Retry


def connections():
    """Return this process's TCP sockets, the emulator's included."""
    table = pathlib.Path("/proc/net/tcp")
    known = {line.split()[9] for line in table.read_text().splitlines()[1:]} if table.exists() else set()
    found = set()
    for entry in pathlib.Path("/proc/self/fd").iterdir() if known else ():
        try:
            target = os.readlink(entry)
        except OSError:
            continue
        if target.startswith("socket:[") and target[8:-1] in known:
            found.add((entry.name, target))
    return found


@pytest.fixture(autouse=True)
def nothing_stays_open():
    before = connections()
    yield
    gc.collect()
    assert connections() <= before


@mark
async def test_a_job_runs(prodia, prodia_emulator):
    result = await prodia.run("inference.flux-fast.schnell.txt2img.v2", {"prompt": "a cat"})
    assert result.outputs[0].data[:3] == bytes([0xFF, 0xD8, 0xFF])
    assert prodia_emulator.stats().completed == 1


@mark
@pytest.mark.parametrize("time", [1, 2])
async def test_each_test_has_its_own_counts_and_orders(prodia, prodia_emulator, time):
    result = await prodia.run("inference.ping.v1", {"emulator": {"shed": 1, "retry_after": 0}})
    assert [attempt.verdict for attempt in result.attempts] == ["shed", "done"]
    assert (prodia_emulator.stats().shed, prodia_emulator.stats().completed) == (1, 1)


@mark
async def test_many_connections(prodia):
    async with prodia.as_completed(Job("inference.ping.v1") for _ in range(20)) as outcomes:
        assert len([outcome async for outcome in outcomes if outcome.result]) == 20


@mark
async def test_the_test_may_close_the_client(prodia):
    async with prodia:
        await prodia.run("inference.ping.v1")


@mark
async def test_the_client_need_not_be_used(prodia):
    pass


def test_a_test_may_run_loops_of_its_own(prodia):
    assert asyncio.run(prodia.run("inference.ping.v1")).id
    assert asyncio.run(prodia.run("inference.ping.v1")).id


def test_a_test_may_kill_its_loop(prodia):
    loop = asyncio.new_event_loop()
    assert loop.run_until_complete(prodia.run("inference.ping.v1")).id
    loop.close()


class TestOptions:
    @pytest.fixture
    def prodia_emulator_options(self):
        return {"capacity": 1, "price": 0.5}

    @pytest.fixture
    def prodia_options(self):
        return {"retry": Retry(max_errors=0), "price": True}

    @mark
    async def test_they_reach_the_emulator_and_the_client(self, prodia, prodia_emulator):
        assert prodia_emulator.capacity == 1
        assert (await prodia.run("inference.ping.v1")).price.dollars == 0.5
        with pytest.raises(Exception, match="1 attempt|status 503"):
            await prodia.run("inference.ping.v1", {"emulator": {"status": 503}})
        assert prodia_emulator.stats().requests == 2
'''
TESTS_IN_ALL = 9

PLAIN = "def mark(test):\n    return test\n"
ANYIO = """
import pytest

mark = pytest.mark.anyio

@pytest.fixture(scope="module")
def anyio_backend():
    return {!r}
"""
HELD = "@pytest.fixture(scope='module', autouse=True)\nasync def one_loop(anyio_backend):\n    yield\n"


def asyncio_mode(mode):
    return ["-o", f"asyncio_mode={mode}", "-o", "asyncio_default_fixture_loop_scope=function"]


def run_pytest(folder, tests, options):
    """Run pytest as another project would, with every warning an error, and return what it printed."""
    (folder / "test_it.py").write_text(tests)
    command = [sys.executable, "-m", "pytest", "-q", "-W", "error", "-p", "no:cacheprovider"]
    command += [*options, "-c", os.devnull, "."]  # not the settings of a folder above
    ended = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120, check=False)
    return ended.stdout + ended.stderr


@pytest.mark.parametrize(
    ("options", "head"),
    [
        pytest.param(asyncio_mode("auto"), PLAIN, id="auto"),
        pytest.param(asyncio_mode("strict"), "import pytest\nmark = pytest.mark.asyncio\n", id="strict"),
        pytest.param(
            asyncio_mode("strict"),
            "import pytest\nmark = pytest.mark.asyncio(loop_scope='module')\n",
            id="one loop for all",
            marks=pytest.mark.nightly,
        ),
        pytest.param(asyncio_mode("strict"), ANYIO.format("asyncio"), id="anyio"),
        pytest.param(
            ["-p", "no:asyncio"],
            ANYIO.format("asyncio") + HELD,
            id="anyio, one loop for all",
            marks=pytest.mark.nightly,
        ),
    ],
)
def test_the_fixtures_serve_another_project(tmp_path, options, head):
    printed = run_pytest(tmp_path, head + TESTS, options)
    assert f"{TESTS_IN_ALL} passed in" in printed, printed


def test_the_plugin_can_be_switched_off(tmp_path):
    test = "def test_it(prodia):\n    pass\n"
    assert "fixture 'prodia' not found" in run_pytest(
        tmp_path, test, ["-p", "no:asyncio", "-p", "no:prodia_async"]
    )


def test_the_examples_of_the_documentation_run(tmp_path):
    blocks = re.findall(r"^```python\n(.*?)^```$", DOCUMENTATION.read_text(), flags=re.DOTALL | re.MULTILINE)
    for number, block in enumerate(blocks):
        (tmp_path / f"test_example_{number}.py").write_text(block)
    printed = run_pytest(tmp_path, "def test_nothing():\n    pass\n", asyncio_mode("auto"))
    assert "16 passed in" in printed, printed
