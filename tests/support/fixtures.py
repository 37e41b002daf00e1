"""Fixtures of the tests that run a client over real sockets."""

from __future__ import annotations

import pytest
from support.leaks import Census


@pytest.fixture
async def nothing_left(tmp_path):
    """Check that a test leaves no descriptor, task or temporary file. Ask for it before anything else."""
    census = Census(tmp_path)
    yield
    await census.assert_nothing_left()


@pytest.fixture(autouse=True)
def no_environment(monkeypatch):
    """The environment of whoever runs the tests decides nothing."""
    for name in ("TOKEN", "BASE_URL", "ALLOW_INSECURE"):
        monkeypatch.delenv(f"PRODIA_{name}", raising=False)
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
