"""How the limits have changed in a batch: in its journal, and on its page."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sqlite3

import msgspec

from prodia_async import LimitChange, Prodia
from prodia_async.batch import _results as results
from prodia_async.batch import _schema as schema
from prodia_async.batch import run_batch
from prodia_async.batch._page.sheet import write_report
from prodia_async.emulator import Emulator


async def run(folder, count):
    manifest = folder / "jobs.jsonl"
    line = '{"custom_id": "%d", "type": "emulator.bytes.<b>v1", "config": {"size": 1}}\n'
    manifest.write_text("".join(line % number for number in range(count)))
    async with (
        Emulator(capacity=2, latency=0.05) as emulator,
        Prodia(base_url=emulator.base_url, token=emulator.token) as prodia,
    ):
        report = await run_batch(manifest, folder / "out", prodia=prodia)
        assert report.done == count
        return prodia.limit_history()


async def test_the_journal_and_the_page_tell_how_the_limits_moved(tmp_path):
    history = await run(tmp_path, 20)
    kept = await asyncio.to_thread(results.limits, tmp_path / "out")
    assert kept == list(history)
    assert "search" in {change.why for change in kept}
    path = await write_report(tmp_path / "out")
    page = await asyncio.to_thread(path.read_text, encoding="utf-8")
    data = json.loads(page.partition('id="data">')[2].partition("</script>")[0])
    assert msgspec.convert(data["limits"], list[LimitChange]) == kept
    assert data["folders"][0]["service"] == "a service on this computer (an emulator?)"
    assert "emulator.bytes.<b>v1" not in page


async def test_the_last_4096_are_kept(tmp_path):
    await run(tmp_path, 3)
    manifest = tmp_path / "jobs.jsonl"

    def prepare():
        rows = [(n, float(n), "t", 1, 1, "shed") for n in range(10_000, 15_000)]
        with (
            contextlib.closing(sqlite3.connect(tmp_path / "out" / schema.FILE_NAME)) as connection,
            connection,
        ):
            connection.executemany("insert into limits values (?, ?, ?, ?, ?, ?)", rows)
        with manifest.open("a") as file:
            for n in range(12):  # more than the service has room for
                file.write(f'{{"custom_id": "more-{n}", "type": "emulator.bytes.v1"}}\n')

    await asyncio.to_thread(prepare)
    async with (
        Emulator(capacity=2, latency=0.05) as emulator,
        Prodia(base_url=emulator.base_url, token=emulator.token) as prodia,
    ):
        await run_batch(manifest, tmp_path / "out", prodia=prodia)
    assert len(await asyncio.to_thread(results.limits, tmp_path / "out")) == 4096
