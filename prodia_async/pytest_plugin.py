"""Fixtures for the tests of your own program: a local service, and a client of it.

    async def test_thumbnails(prodia):
        result = await prodia.run("inference.flux-fast.schnell.txt2img.v2", {"prompt": "a cat"})

They need the extra `emulator` and come with the package; switch them off with `-p no:prodia_async`. All are
plain fixtures, so that they work with pytest-asyncio in both modes and with anyio's plugin on asyncio.
docs/testing.md tells more.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from prodia_async import Prodia
from prodia_async.emulator import Emulator


@pytest.fixture
def prodia_emulator_options() -> dict[str, Any]:
    """Return options for `Emulator(...)`; override it. Default: 64 jobs at once, 10 ms each."""
    return {}


@pytest.fixture
def prodia_options() -> dict[str, Any]:
    """Return options for `Prodia(...)`; override it. Default: none."""
    return {}


@pytest.fixture
def prodia_offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no client reach another computer: PRODIA_OFFLINE=1 for the test. It raises InputError instead.

    For all tests of a project: a `conftest.py` with an autouse fixture that asks for this one.
    """
    monkeypatch.setenv("PRODIA_OFFLINE", "1")


@pytest.fixture
def prodia_emulator(prodia_emulator_options: dict[str, Any]) -> Iterator[Emulator]:
    """Run an emulator for the test, in a thread: its counts and orders are this test's alone."""
    from prodia_async.emulator import background_emulator  # noqa: PLC0415 - the extra is only needed here

    with background_emulator(**{"capacity": 64, "latency": 0.01} | prodia_emulator_options) as emulator:
        yield emulator


@pytest.fixture
def prodia(prodia_emulator: Emulator, prodia_options: dict[str, Any]) -> Iterator[Prodia]:
    """Return a client of the emulator, and close its connections in the end."""
    from prodia_async import Prodia  # noqa: PLC0415 - importing this plugin costs next to nothing

    where = {"base_url": prodia_emulator.base_url, "token": prodia_emulator.token}
    client = Prodia(**where | prodia_options)
    yield client
    # A loop of the test's own has closed them; one that serves several tests stands still until the next.
    engines = client._engines  # noqa: SLF001 - nobody but tests has loops that stand still
    for loop in tuple(engines._entries):  # noqa: SLF001 - as above
        if not loop.is_closed() and not loop.is_running():
            loop.run_until_complete(client.aclose())
    engines.close_dead()
