"""What every test runs under: a call in the package that blocks the event loop is an error.

Tests marked `nightly` run with `--nightly` only.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from blockbuster import BlockBuster


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--nightly", action="store_true", help="run the tests that take minutes, too")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not config.getoption("--nightly"):
        nightly = [item for item in items if item.get_closest_marker("nightly")]
        config.hook.pytest_deselected(items=nightly)
        items[:] = [item for item in items if item not in set(nightly)]


@pytest.fixture(autouse=True)
def blocking_calls_fail() -> Iterator[None]:
    guard = BlockBuster("prodia_async", excluded_modules=["prodia_async.emulator", "prodia_async.cli"])
    for function in guard.functions.values():  # our list of the process's own descriptors; coverage
        function.can_block_in("_settings.py", "allowed_concurrency")
        function.can_block_in("coverage/collector.py", "lock_data")
        function.can_block_in("_files/outputs.py", "fixed")  # a microsecond, see there
        function.can_block_in("_files/landing.py", "is_file_at")  # the same
    guard.activate()
    try:
        yield
    finally:
        guard.deactivate()
