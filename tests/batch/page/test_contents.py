from __future__ import annotations

from batch.page.records import attempt, done, failed

from prodia_async.batch.page.contents import gather


def test_failed_jobs_come_first_and_all_are_counted():
    records = [done("a", dollars=0.5), failed("b"), done("c", dollars=0.25), failed("d", status=None)]
    contents = gather(records)

    assert [row.id for row in contents.rows] == ["b", "d", "a", "c"]
    assert (contents.done, contents.failed, contents.hidden) == (2, 2, 0)
    assert contents.dollars == 0.75
    assert dict(contents.reasons) == {"CapacityError 429": 1, "CapacityError": 1}


def test_without_a_price_the_sum_is_unknown():
    assert gather([done("a")]).dollars is None


def test_no_more_jobs_are_kept_than_are_shown():
    records = [*(done(f"d{number}") for number in range(9)), *(failed(f"f{number}") for number in range(3))]
    contents = gather(records, most=5)

    assert [row.id for row in contents.rows] == ["f0", "f1", "f2", "d0", "d1"]
    assert (contents.done, contents.failed, contents.hidden) == (9, 3, 7)

    contents = gather(reversed(records), most=2)
    assert [row.id for row in contents.rows] == ["f2", "f1"]
    assert contents.reasons == (("CapacityError 429", 3),)


def test_the_earliest_and_the_latest_start_are_found():
    starts = ["2026-11-22T13:00:00Z", "2026-11-22T12:00:00Z", "2026-11-22T14:00:00Z"]
    contents = gather(done(start, attempts=[attempt(started_at=start)]) for start in starts)

    assert (contents.first, contents.last) == (starts[1], starts[2])
    assert gather([done("a", attempts=[])]).first is None


def test_gathering_ends_when_it_is_told_to():
    seen = []

    def records():
        for number in range(100):
            seen.append(number)
            yield done(str(number))

    contents = gather(records(), stopped=lambda: len(seen) > 3)

    assert contents.done == 3
