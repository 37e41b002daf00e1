"""Fixtures for the tests of your own program: a local service, and a client of it.

    async def test_thumbnails(prodia):
        result = await prodia.run("inference.flux-fast.schnell.txt2img.v2", {"prompt": "a cat"})

They need the extra `emulator` and come with the package; switch them off with `-p no:prodia_async`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prodia_async import Prodia
    from prodia_async.emulator import Emulator


@pytest.fixture(scope="session")
def prodia_emulator() -> Iterator[Emulator]:
    """Run an emulator for the whole test session: 64 jobs at once, 10 ms each."""
    from prodia_async.emulator import background_emulator  # noqa: PLC0415 - the extra is only needed here

    with background_emulator(capacity=64, latency=0.01) as emulator:
        yield emulator


@pytest.fixture
def prodia(prodia_emulator: Emulator) -> Prodia:
    """Return a client of the emulator; its connections are closed with the test's event loop."""
    from prodia_async import Prodia  # noqa: PLC0415 - importing this plugin costs next to nothing

    return Prodia(base_url=prodia_emulator.base_url, token=prodia_emulator.token)
