"""A folder knows the service and the shard that its jobs are of."""

from __future__ import annotations

import asyncio
import io

import pytest
from batch.helpers import echo, read_results
from batch.journals import an_entry, open_journal, query, run_job

from prodia_async import InputError, Prodia, batch
from prodia_async.batch import run_batch
from prodia_async.batch._csv_results import write_csv
from prodia_async.emulator import Emulator

LOCAL = "a service on this computer"
REAL = "https://inference.prodia.invalid"


@pytest.mark.parametrize(
    "url", [REAL, f"{REAL}/v2", "https://another.invalid", "http://10.0.0.1:8080", "https://127.1.example"]
)
async def test_a_rehearsal_is_not_taken_for_the_real_run(prodia, write_manifest, tmp_path, url):
    manifest, out = write_manifest(echo("a")), tmp_path / "out"
    await run_batch(manifest, out, prodia=prodia)
    before = read_results(out)
    async with Prodia(base_url=url, token="t", allow_insecure=True) as real:
        with pytest.raises(InputError, match="choose another folder") as caught:
            await run_batch(manifest, out, prodia=real)
    assert LOCAL in str(caught.value)
    assert url.removesuffix("/v2") in str(caught.value)
    assert read_results(out) == before


async def test_another_emulator_goes_on_where_the_first_was(prodia, write_manifest, tmp_path):
    manifest = write_manifest(echo("a"), echo("b"))
    await run_batch(manifest, tmp_path / "out", prodia=prodia)
    async with Emulator() as another, Prodia(base_url=another.base_url, token=another.token) as client:
        report = await run_batch(manifest, tmp_path / "out", prodia=client)
    assert (report.done, report.skipped) == (2, 2)


async def test_a_folder_in_which_nothing_has_run_belongs_to_nobody(prodia, write_manifest, tmp_path):
    """Such as after a base URL with a slip of the pen."""
    manifest = write_manifest(echo("a"))
    async with Prodia(base_url="https://none.invalid", token="t") as client:
        report = await run_batch(manifest, tmp_path / "out", prodia=client, give_up_after=0.1)
    assert report.ending == "gave_up"
    report = await run_batch(manifest, tmp_path / "out", prodia=prodia)
    assert report.done == 1


async def test_what_an_emulator_made_says_so(prodia, write_manifest, tmp_path):
    """In results.jsonl, in what is read from Python, in the table and in the report."""
    out = tmp_path / "out"
    report = await run_batch(write_manifest(echo("a"), echo("bad", status=400)), out, prodia=prodia)
    told = "a service on this computer (an emulator?)"
    assert report.service == told
    assert [record["service"] for record in read_results(out).values()] == [told, told]
    table = io.StringIO(newline="")
    records = await asyncio.to_thread(lambda: list(batch.read_results([out])))
    assert [record["service"] for record in records] == [told, told]
    write_csv(records, table)
    assert all(line.endswith(f",{told}") for line in table.getvalue().splitlines()[1:])


async def test_what_the_service_made_names_it(tmp_path):
    async with open_journal(tmp_path, about={"service": REAL, "shard": "1/2"}) as journal:
        await run_job(journal, "a")
    [record] = await asyncio.to_thread(lambda: list(batch.read_results([tmp_path])))
    assert record["service"] == REAL


async def test_a_journal_that_does_not_know_says_nothing(tmp_path):
    async with open_journal(tmp_path) as journal:
        await run_job(journal, "a")
    [record] = await asyncio.to_thread(lambda: list(batch.read_results([tmp_path])))
    assert "service" not in record


@pytest.mark.parametrize(("first", "second"), [("1/2", "2/2"), ("1/2", None), (None, "1/2"), ("1/2", "1/3")])
async def test_another_shard_is_refused(tmp_path, prodia, write_manifest, first, second):
    manifest, out = write_manifest(*[echo(str(number)) for number in range(20)]), tmp_path / "out"
    await run_batch(manifest, out, prodia=prodia, shard=first)
    with pytest.raises(InputError, match="choose another folder"):
        await run_batch(manifest, out, prodia=prodia, shard=second)
    report = await run_batch(manifest, out, prodia=prodia, shard=first)
    assert report.requests == 0


async def test_a_journal_that_says_nothing_of_it_belongs_to_who_comes_next(tmp_path):
    async with open_journal(tmp_path) as journal:
        await run_job(journal, "a")
    async with open_journal(tmp_path, about={"service": "one"}) as journal:
        await journal.sent(an_entry("b"), 0)
    with pytest.raises(InputError, match="has jobs of one, and this run is of two"):
        async with open_journal(tmp_path, about={"service": "two"}):
            pass
    assert query(tmp_path, "select * from about") == [("service", "one")]
