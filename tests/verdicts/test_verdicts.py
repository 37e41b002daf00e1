"""Each fault of the wire has one true verdict and a clear error, and leaves nothing: plain, TLS, uvloop."""

from __future__ import annotations

import asyncio
import pathlib
import sys
from collections.abc import Iterator

import pytest
from verdicts.rows import HEAD, ROWS, Row
from verdicts.trials import Service, ask, certified, meet, serving

from prodia_async.emulator._faults.table import FAULTS

DOCS = pathlib.Path(__file__).parents[2] / "docs" / "verdicts.md"
QUICK = [row for row in ROWS if row.fault != "drip"]  # it takes some seconds, and once will do
# Over TLS a reset may be noticed only when all of an upload was handed over: then nobody knows what was read.
OVER_TLS = [row for row in QUICK if row.fault not in ("reset-upload", "early-429-reset")]
pytestmark = pytest.mark.newest


@pytest.fixture(scope="module")
def plain() -> Iterator[Service]:
    with serving() as service:
        yield service


@pytest.fixture(scope="module")
def over_tls(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with serving(*certified(tmp_path_factory.mktemp("tls"))) as service:
        yield service


def folder_in(tmp_path: pathlib.Path) -> pathlib.Path:
    folder = tmp_path / "here" / "outputs"
    folder.mkdir(parents=True)
    return folder


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.fault)
async def test_plain(row: Row, plain: Service, tmp_path: pathlib.Path) -> None:
    seen = await meet(row, plain, folder_in(tmp_path))
    assert seen.surprises(row) == []


@pytest.mark.parametrize("row", OVER_TLS, ids=lambda row: row.fault)
async def test_over_tls(row: Row, over_tls: Service, tmp_path: pathlib.Path) -> None:
    seen = await meet(row, over_tls, folder_in(tmp_path))
    assert seen.surprises(row) == []


@pytest.mark.skipif(sys.platform == "win32", reason="uvloop does not run on Windows")
@pytest.mark.parametrize("row", QUICK, ids=lambda row: row.fault)
def test_with_uvloop(row: Row, plain: Service, tmp_path: pathlib.Path) -> None:
    import uvloop

    async def main() -> list[str]:
        asyncio.get_running_loop().set_debug(True)
        await ask(plain)  # with its first connection uvloop opens descriptors of its own
        return (await meet(row, plain, folder_in(tmp_path))).surprises(row)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert runner.run(main()) == []


def test_the_table_has_every_fault() -> None:
    assert sorted(row.fault for row in ROWS) == sorted(FAULTS)


def test_the_page_has_this_table() -> None:
    page = DOCS.read_text(encoding="utf-8")
    assert "\n".join([HEAD, *(row.line for row in ROWS)]) in page
