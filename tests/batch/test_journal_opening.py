"""What the journal says of a folder or a file that is not as it should be."""

from __future__ import annotations

import contextlib
import os
import sqlite3

import pytest
from batch.journals import an_entry, open_journal, query, run_job
from support.leaks import Census

from prodia_async import InputError
from prodia_async.batch import _schema as schema
from prodia_async.batch._journal import Journal, Totals


async def refusal(folder) -> str:
    with pytest.raises(InputError) as caught:
        await Journal.open(folder, wall=lambda: 0.0)
    return str(caught.value)


def change(folder, *statements):
    with contextlib.closing(sqlite3.connect(folder / "journal.sqlite", isolation_level=None)) as connection:
        for statement in statements:
            connection.execute(statement)


async def a_journal(folder, jobs=300):
    async with open_journal(folder) as journal:
        for number in range(jobs):
            await run_job(journal, f"job-{number}")
    return folder / "journal.sqlite"


async def test_a_file_says_whose_it_is_and_which_version(tmp_path):
    await a_journal(tmp_path, 0)
    assert query(tmp_path, "pragma application_id") == [(schema.APPLICATION_ID,)]
    assert query(tmp_path, "pragma user_version") == [(schema.VERSION,)]


async def test_a_newer_version_is_refused_untouched(tmp_path):
    path = await a_journal(tmp_path, 1)
    change(tmp_path, "pragma user_version = 99")
    before = path.read_bytes()
    assert (
        f"written by a newer prodia-async (journal version 99; this one knows {schema.VERSION}): upgrade it"
        in await refusal(tmp_path)
    )
    assert path.read_bytes() == before


async def test_another_programs_database_is_refused_untouched(tmp_path):
    change(tmp_path, "create table theirs (x)")
    path = tmp_path / "journal.sqlite"
    before = path.read_bytes()
    assert "is no journal of a batch" in await refusal(tmp_path)
    assert path.read_bytes() == before


async def test_another_kind_of_file_is_refused(tmp_path):
    (tmp_path / "journal.sqlite").write_text("dear diary, " * 1000)
    assert "is no journal of a batch" in await refusal(tmp_path)


@pytest.mark.parametrize("size", [50, 5000, 20_000, 0.5, 0.99])
async def test_a_truncated_journal_is_refused_with_advice(tmp_path, size):
    path = await a_journal(tmp_path)
    whole = path.stat().st_size
    os.truncate(path, size if size > 1 else int(whole * size))
    text = await refusal(tmp_path)
    assert "is damaged" in text
    assert "run, and are paid, again" in text


async def test_a_journal_cut_to_nothing_beside_outputs_is_damaged(tmp_path):
    path = await a_journal(tmp_path, 1)
    os.truncate(path, 0)
    (tmp_path / "outputs").mkdir()
    assert "it is empty, but there are outputs" in await refusal(tmp_path)


async def test_a_page_of_garbage_is_found(tmp_path):
    path = await a_journal(tmp_path)
    with path.open("r+b") as file:
        file.seek(4096 * 5)
        file.write(b"\xff" * 4096)
    assert "is damaged" in await refusal(tmp_path)


async def test_a_process_killed_before_the_first_commit_leaves_a_new_journal(tmp_path):
    (tmp_path / "journal.sqlite").touch()
    async with open_journal(tmp_path) as journal:
        assert journal.totals == Totals()
    for path in tmp_path.iterdir():
        path.unlink()
    change(tmp_path, "pragma journal_mode = wal")
    async with open_journal(tmp_path) as journal:
        assert journal.totals == Totals()


async def test_a_journal_that_another_program_holds_is_named(tmp_path):
    census = Census(tmp_path)
    await a_journal(tmp_path, 1)
    with contextlib.closing(sqlite3.connect(tmp_path / "journal.sqlite", isolation_level=None)) as other:
        other.execute("begin immediate")
        assert "is held by another program (database is locked): close it there" in await refusal(tmp_path)
    async with open_journal(tmp_path):
        pass
    await census.assert_nothing_left()


async def test_a_place_that_cannot_be_a_folder(tmp_path):
    (tmp_path / "file").write_text("")
    assert "cannot be written" in await refusal(tmp_path / "file")
    assert "cannot be written (Not a directory)" in await refusal(tmp_path / "file" / "below")


async def test_a_journal_that_is_a_folder(tmp_path):
    (tmp_path / "journal.sqlite").mkdir()
    assert "cannot be opened (Is a directory)" in await refusal(tmp_path)


async def test_without_shared_memory_it_works_and_warns(tmp_path, caplog):
    await a_journal(tmp_path, 2)
    (tmp_path / "journal.sqlite-shm").mkdir()  # nobody can map it
    async with open_journal(tmp_path) as journal:
        assert "write-ahead logging does not hold here" in caplog.text
        assert journal.totals.done == 2
        await run_job(journal, "later")
        await journal.flush()
        assert (await journal.find(["later"]))["later"].state == "done"
        assert query(tmp_path, "pragma journal_mode") == [("delete",)]
        await journal.sent(an_entry("sent"), 0)
    (tmp_path / "journal.sqlite-shm").rmdir()
    caplog.clear()
    async with open_journal(tmp_path) as journal:
        assert (journal.totals.done, journal.totals.sent) == (3, 1)
        assert query(tmp_path, "pragma journal_mode") == [("wal",)]
    assert caplog.text == ""
