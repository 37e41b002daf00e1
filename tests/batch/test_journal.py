from __future__ import annotations

import asyncio
import contextlib
import itertools
import sqlite3
from functools import partial

import pytest
from batch.journals import KIND, a_record, an_entry, open_journal, query, run_job
from support.expect import until
from support.leaks import Census

from prodia_async import InputError, OutputError
from prodia_async._files.threads import hop
from prodia_async.batch import _schema as schema
from prodia_async.batch._journal import Journal, Row, Sample, Totals


def row(state, attempts=1, outputs=()):
    return Row(state, attempts, b"f" * 16, b"m" * 8, outputs)


async def test_a_new_journal_is_empty_and_durable(tmp_path):
    async with open_journal(tmp_path / "new" / "out") as journal:
        assert journal.totals == Totals()
        assert await journal.find(["a"]) == {}
        assert await journal.find([]) == {}
        files = {path.name for path in (tmp_path / "new" / "out").iterdir()}
        assert files == {"journal.lock", "journal.sqlite", "journal.sqlite-shm", "journal.sqlite-wal"}
    assert query(tmp_path / "new" / "out", "pragma journal_mode") == [("wal",)]
    assert {path.name for path in (tmp_path / "new" / "out").iterdir()} == {"journal.lock", "journal.sqlite"}


async def test_each_state_is_found_as_it_was_said(tmp_path):
    async with open_journal(tmp_path) as journal:
        for custom_id in ("sent", "shed", "lost", "done", "failed", "ünï \0 'x'"):
            await journal.sent(an_entry(custom_id), 0.25)
        journal.waiting("shed", uncertain=None)
        journal.waiting("lost", uncertain=0.25)
        await journal.done("done", a_record("done"), [("outputs/a.png", 3), ("outputs/a-2.txt", 0)], 0.1)
        journal.failed("failed", a_record("failed", "failed"), None, uncertain=0.5)
        await journal.flush()
        ids = ["sent", "shed", "lost", "done", "failed", "ünï \0 'x'", "unknown"]
        assert await journal.find(ids) == {
            "sent": row("sent"),
            "shed": row("waiting"),
            "lost": row("waiting"),
            "done": row("done", outputs=(("outputs/a.png", 3), ("outputs/a-2.txt", 0))),
            "failed": row("failed"),
            "ünï \0 'x'": row("sent"),
        }


async def test_a_sent_row_is_committed_when_it_is_acknowledged(tmp_path):
    async with open_journal(tmp_path) as journal:
        await journal.sent(an_entry("a"), 0.25)
        assert query(tmp_path, "select custom_id, state, reserved from jobs") == [("a", "sent", 0.25)]


async def test_more_ids_than_one_select_takes(tmp_path):
    ids = [f"job-{number}" for number in range(1201)]
    async with open_journal(tmp_path) as journal:
        await asyncio.gather(*(journal.sent(an_entry(custom_id), 0) for custom_id in ids))
        assert set(await journal.find(ids)) == set(ids)


async def test_what_is_not_awaited_is_written_all_the_same(tmp_path):
    async with open_journal(tmp_path) as journal:
        await journal.sent(an_entry("a"), 0)
        journal.done("a", a_record("a"), [], None)
    assert query(tmp_path, "select state, reserved from jobs") == [("done", None)]


async def test_totals_add_up_over_runs(tmp_path):
    async with open_journal(tmp_path) as journal:
        await run_job(journal, "a", 0.1)
        await run_job(journal, "b", 0.3)
        await run_job(journal, "unpriced")
        await journal.sent(an_entry("other", "inference.other.v1"), 0)
        journal.failed("other", a_record("other", "failed"), 2.0, uncertain=None)
        await journal.sent(an_entry("lost"), 0)
        journal.waiting("lost", uncertain=0.5)
        await journal.sent(an_entry("lost"), 0)
        journal.failed("lost", a_record("lost", "failed"), None, uncertain=0.25)
    expected = Totals(
        done=3,
        failed=2,
        dollars=pytest.approx(2.4),
        uncertain=0.75,
        uncertain_attempts=2,
        dearest={KIND: 0.3, "inference.other.v1": 2.0},
    )
    for _ in range(2):
        async with open_journal(tmp_path) as journal:
            assert journal.totals == expected


async def test_a_job_that_runs_again_keeps_what_it_cost_and_loses_what_it_was(tmp_path):
    async with open_journal(tmp_path) as journal:
        await journal.sent(an_entry("a"), 0)
        journal.failed("a", a_record("a", "failed"), 0.4, uncertain=None)
        await journal.sent(an_entry("a"), 0)
        assert await journal.find(["a"]) == {"a": row("sent", 2)}
        assert query(tmp_path, "select record from jobs") == [(None,)]
        await journal.done("a", a_record("a"), [], 0.1)
    async with open_journal(tmp_path) as journal:
        assert journal.totals == Totals(done=1, dollars=0.5, dearest={KIND: 0.4})


async def test_a_row_tells_of_files_until_others_take_their_places(tmp_path):
    async with open_journal(tmp_path) as journal:
        await journal.sent(an_entry("a"), 0)
        await journal.done("a", a_record("a"), [("outputs/a.png", 3)], None, parts=["outputs/x.part"])
        assert await hop(journal.reader.parts) == [("a", (("outputs/x.part", "outputs/a.png", 3),))]
        await journal.sent(an_entry("a"), 0)
        assert await journal.find(["a"]) == {"a": row("sent", 2, (("outputs/a.png", 3),))}
        assert await hop(journal.reader.parts) == []
        journal.failed("a", a_record("a", "failed"), None, uncertain=None)
        await journal.flush()
        assert await journal.find(["a"]) == {"a": row("failed", 2, (("outputs/a.png", 3),))}
        assert await hop(journal.reader.tells_of, "outputs/a.png")
        assert not await hop(journal.reader.tells_of, "a.png")
        await journal.sent(an_entry("a"), 0)
        await journal.done("a", a_record("a"), [("outputs/a.jpg", 4)], None)
        assert await journal.find(["a"]) == {"a": row("done", 3, (("outputs/a.jpg", 4),))}


@pytest.mark.parametrize("error", [OSError(28, "full"), ValueError("no"), OutputError("no"), KeyError(1)])
async def test_what_follows_a_commit_comes_after_it_and_harms_its_own_job_alone(tmp_path, error):
    seen = []

    def follow(name: str) -> None:
        seen.append((name, query(tmp_path, f"select state from jobs where custom_id = '{name}'")))
        if name == "b":
            raise error

    async with open_journal(tmp_path) as journal:
        for name in "abc":
            await journal.sent(an_entry(name), 0)
        rows = [journal.done(name, a_record(name), [], None, then=partial(follow, name)) for name in "abc"]
        results = await asyncio.gather(*rows, return_exceptions=True)
        assert results == [None, error, None]
        await journal.flush()  # it is not broken
    assert seen == [(name, [("done",)]) for name in "abc"]


async def test_a_journal_of_the_first_version_is_brought_up_to_date(tmp_path):
    with contextlib.closing(sqlite3.connect(tmp_path / "journal.sqlite")) as journal, journal:
        for statement in schema.MIGRATIONS[0]:
            journal.execute(statement)
        journal.execute(f"pragma application_id = {schema.APPLICATION_ID}")
        journal.execute("pragma user_version = 1")
        journal.execute(
            "insert into jobs (custom_id, type, state, attempts, fingerprint, inputs_mark, outputs, record) "
            "values ('a', 't', 'done', 1, ?, ?, '[[\"outputs/a.png\", 3]]', ?)",
            (b"f" * 16, b"m" * 8, a_record("a")),
        )
    async with open_journal(tmp_path) as journal:
        assert await journal.find(["a"]) == {"a": row("done", 1, (("outputs/a.png", 3),))}
        assert await hop(journal.reader.parts) == []
        await run_job(journal, "b")


async def test_attempts_cut_in_flight_are_settled_once_and_named_until_they_are_sent_again(tmp_path):
    async with open_journal(tmp_path) as journal:
        await journal.sent(an_entry("a"), 0.25)
        await journal.sent(an_entry("b"), 0.5)
    for _ in range(2):
        async with open_journal(tmp_path) as journal:
            assert journal.totals == Totals(sent=2, uncertain=0.75, uncertain_attempts=2)
            assert (await journal.find(["a"]))["a"].state == "sent"
    async with open_journal(tmp_path) as journal:
        await run_job(journal, "a", 0.1)
    async with open_journal(tmp_path) as journal:
        totals = Totals(1, 0, 1, 0.1, uncertain=0.75, uncertain_attempts=2, dearest={KIND: 0.1})
        assert journal.totals == totals


async def test_an_attempt_that_was_cancelled_before_it_left_does_not_count(tmp_path):
    async with open_journal(tmp_path) as journal:
        sending = asyncio.create_task(journal.sent(an_entry("a"), 0.25))
        await asyncio.sleep(0)
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending
        await journal.flush()
        assert await journal.find(["a"]) == {"a": row("waiting", 0)}
        await journal.sent(an_entry("a"), 0.25)
        assert (await journal.find(["a"]))["a"].attempts == 1
    async with open_journal(tmp_path) as journal:
        assert journal.totals == Totals(sent=1, uncertain=0.25, uncertain_attempts=1)


async def test_a_job_that_could_not_be_sent_at_all_fails_without_an_attempt(tmp_path):
    async with open_journal(tmp_path) as journal:
        journal.unsent(an_entry("new"))
        journal.failed("new", a_record("new", "failed"), None, uncertain=None)
        await journal.sent(an_entry("old"), 0.25)
        journal.waiting("old", uncertain=0.25)
        journal.unsent(an_entry("old"))
        journal.failed("old", a_record("old", "failed"), None, uncertain=None)
        await journal.flush()
        assert await journal.find(["new", "old"]) == {"new": row("failed", 0), "old": row("failed", 1)}
    async with open_journal(tmp_path) as journal:
        assert journal.totals == Totals(failed=2, uncertain=0.25, uncertain_attempts=1)


async def test_samples_are_kept_few_and_evenly_spread(tmp_path):
    async with open_journal(tmp_path) as journal:
        journal.sample(Sample(0.0, 1, 2, 3, 4, 5, 6, None))
        for number in range(10_000):
            pause = 1e6 * (number >= 5000)
            journal.sample(Sample(number + pause, number, 0, 0, 0, 0, 0, 0.5))
    times = [at for (at,) in query(tmp_path, "select at from samples order by id")]
    assert 1500 < len(times) <= 4096
    distances = [later - earlier for earlier, later in itertools.pairwise(times)]
    assert max(distance for distance in distances if distance < 1e5) <= 8
    assert times[-1] == 9999 + 1e6


async def test_a_closed_journal_refuses(tmp_path):
    async with open_journal(tmp_path) as journal:
        pass
    await journal.aclose()
    with pytest.raises(OutputError, match="is closed"):
        await journal.find(["a"])
    with pytest.raises(OutputError, match="is closed"):
        journal.waiting("a", uncertain=None)
    with pytest.raises(OutputError, match="is closed"):
        await journal.flush()


async def test_closing_commits_and_lets_go_also_when_cancelled(tmp_path):
    journal = await Journal.open(tmp_path, wall=lambda: 0.0)
    await journal.sent(an_entry("a"), 0)
    journal.done("a", a_record("a"), [], None)
    closing = asyncio.create_task(journal.aclose())
    await asyncio.sleep(0)
    closing.cancel()
    with contextlib.suppress(asyncio.CancelledError):  # it may have been quicker
        await closing
    async with open_journal(tmp_path) as journal:
        assert journal.totals.done == 1


async def test_opening_that_is_cancelled_lets_go(tmp_path):
    census = Census(tmp_path)
    for number in range(3):
        folder = tmp_path / str(number)
        opening = asyncio.create_task(Journal.open(folder, wall=lambda: 0.0))
        await until(folder.exists if number else lambda: True)
        if opening.cancel():
            with pytest.raises(asyncio.CancelledError):
                await opening
        else:  # it was quicker
            await (await opening).aclose()
        async with open_journal(folder) as journal:
            await run_job(journal, "a")
    await census.assert_nothing_left()


async def test_a_second_batch_in_a_folder_is_refused_and_told_whose_it_is(tmp_path):
    async with open_journal(tmp_path):
        with pytest.raises(
            InputError, match=r"^another batch is at work in .*: process \d+ on host .*, since 2001-09-09"
        ):
            await Journal.open(tmp_path, wall=lambda: 0.0)
    async with open_journal(tmp_path):
        pass


async def test_leftovers_of_a_killed_process_are_removed(tmp_path):
    (tmp_path / "results.jsonl.0a1b2c3d.part").write_text("half a li")
    async with open_journal(tmp_path):
        assert list(tmp_path.glob("*.part")) == []
