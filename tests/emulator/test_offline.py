"""PRODIA_OFFLINE: no client reaches another computer, and every way in says so before anything is sent."""

from __future__ import annotations

import asyncio
import subprocess
import sys

import pytest

from prodia_async import InputError, Job, Prodia
from prodia_async.batch import run_batch
from prodia_async.emulator import Emulator

PING = "inference.ping.v1"
SAID = "PRODIA_OFFLINE is set: https://inference.prodia.com is on another computer, and is not reached"


@pytest.fixture
def prodia():
    return Prodia(token="any", base_url="https://inference.prodia.com")


async def run(prodia, _folder):
    await prodia.run(PING)


async def asynchronous(prodia, _folder):
    await prodia.run(PING, mode="async")


async def submit(prodia, _folder):
    await prodia.submit(PING)


async def handle(prodia, _folder):
    await prodia.handle("an-id").state()


async def stream(prodia, _folder):
    async with prodia.stream(PING):
        pass


async def many(prodia, _folder):
    async with prodia.as_completed([Job(PING)]) as outcomes:
        async for outcome in outcomes:
            raise outcome.error


async def copy(prodia, _folder):
    await prodia.with_options(price=True).run(PING)


async def batch(prodia, folder):
    (folder / "jobs.jsonl").write_text('{"type": "t"}\n')
    await run_batch(folder / "jobs.jsonl", folder / "out", prodia=prodia)


@pytest.mark.parametrize("way", [run, asynchronous, submit, handle, stream, many, copy, batch])
def test_nothing_is_reached(monkeypatch, tmp_path, prodia, way):
    monkeypatch.setenv("PRODIA_OFFLINE", "1")
    with pytest.raises(InputError, match=SAID):
        asyncio.run(way(prodia, tmp_path))


@pytest.mark.parametrize("value", ["1", "true", "yes"])
@pytest.mark.parametrize("host", ["http://10.0.0.1:1", "https://example.com", "http://[2001:db8::1]:1"])
def test_a_client_can_be_made_and_not_used(monkeypatch, host, value):
    monkeypatch.setenv("PRODIA_OFFLINE", value)
    prodia = Prodia(token="any", base_url=host, allow_insecure=True)
    with pytest.raises(InputError, match="is on another computer"):
        asyncio.run(prodia.run(PING))


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0", "localhost"])
async def test_this_computer_is_reached(monkeypatch, host):
    monkeypatch.setenv("PRODIA_OFFLINE", "1")
    async with Emulator(latency=0, host="0.0.0.0") as emulator:
        assert emulator.base_url.startswith("http://0.0.0.0:")
        url = emulator.base_url.replace("0.0.0.0", host)
        async with Prodia(base_url=url, token=emulator.token) as prodia:
            assert (await prodia.run(PING)).id


@pytest.mark.parametrize("value", ["", "0"])
async def test_it_can_be_switched_off(monkeypatch, value):
    monkeypatch.setenv("PRODIA_OFFLINE", value)
    async with Prodia(token="any", base_url="https://127.0.0.1.invalid") as prodia:
        with pytest.raises(Exception, match="invalid"):
            await prodia.run(PING, timeout=5)


def test_the_fixture_holds_for_a_projects_tests(tmp_path):
    (tmp_path / "conftest.py").write_text(
        "import pytest\n\n@pytest.fixture(autouse=True)\ndef offline(prodia_offline):\n    pass\n"
    )
    (tmp_path / "test_it.py").write_text(
        "import asyncio, os, pytest\nfrom prodia_async import InputError, Prodia\n\n"
        "def test_it(prodia):\n"
        "    assert os.environ['PRODIA_OFFLINE'] == '1'\n"
        "    with pytest.raises(InputError, match='PRODIA_OFFLINE'):\n"
        "        asyncio.run(Prodia(token='x').run('inference.ping.v1'))\n"
        "    assert asyncio.run(prodia.run('inference.ping.v1')).id\n"
    )
    (tmp_path / "pytest.ini").write_text(
        "[pytest]\n"
    )  # else a folder above may have our own, without the plugin
    words = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path)]
    done = subprocess.run(words, check=False, timeout=120, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stdout
