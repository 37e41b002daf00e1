from __future__ import annotations

import json
from pathlib import Path

import pytest

from prodia_async import Prodia
from prodia_async.emulator import Emulator


@pytest.fixture
async def emulator():
    async with Emulator(capacity=4, latency=0.01, retry_after=0.05) as server:
        yield server


@pytest.fixture
async def prodia(emulator):
    async with Prodia(base_url=emulator.base_url, token=emulator.token, max_concurrency=4) as client:
        yield client


@pytest.fixture
def write_manifest(tmp_path):
    """Write lines, given as text or as objects, to a manifest; return its path."""

    def write(*lines: str | dict) -> Path:
        path = tmp_path / "jobs.jsonl"
        texts = [line if isinstance(line, str) else json.dumps(line) for line in lines]
        path.write_text("".join(f"{text}\n" for text in texts), encoding="utf-8")
        return path

    return write
