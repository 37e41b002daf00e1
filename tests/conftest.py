"""What every test runs under: a call in the package that blocks the event loop is an error."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from blockbuster import BlockBuster


@pytest.fixture(autouse=True)
def blocking_calls_fail() -> Iterator[None]:
    guard = BlockBuster("prodia_async", excluded_modules=["prodia_async.emulator", "prodia_async.cli"])
    for function in guard.functions.values():  # our list of the process's own descriptors; coverage
        function.can_block_in("_http/descriptors.py", "_open_descriptors")
        function.can_block_in("coverage/collector.py", "lock_data")
    guard.activate()
    try:
        yield
    finally:
        guard.deactivate()
