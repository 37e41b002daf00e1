from __future__ import annotations

from batch.page.records import attempt, done, failed

from prodia_async.batch._page.contents import gather


def test_failed_jobs_come_first_and_all_are_counted():
    records = [done("a", dollars=0.5), failed("b"), done("c", dollars=0.25), failed("d", status=None)]
    contents = gather([records])

    assert [row.id for row in contents.rows] == ["b", "d", "a", "c"]
    assert (contents.done, contents.failed) == (2, 2)
    assert contents.dollars == 0.75
    assert [(failure.label, count) for failure, count in contents.reasons] == [
        ("CapacityError 429", 1),
        ("CapacityError", 1),
    ]


def test_without_a_price_the_sum_is_unknown():
    assert gather([[done("a")]]).dollars is None


def test_no_more_jobs_are_kept_than_are_shown():
    records = [*(done(f"d{number}") for number in range(9)), *(failed(f"f{number}") for number in range(3))]
    contents = gather([records], most=5)

    assert [row.id for row in contents.rows] == ["f0", "f1", "f2", "d0", "d1"]
    assert (contents.done, contents.failed) == (9, 3)

    contents = gather([reversed(records)], most=2)
    assert [row.id for row in contents.rows] == ["f2", "f1"]
    assert [count for _, count in contents.reasons] == [3]


def test_the_earliest_and_the_latest_start_are_found():
    starts = ["2026-11-22T13:00:00Z", "2026-11-22T12:00:00Z", "2026-11-22T14:00:00Z"]
    contents = gather([done(start, attempts=[attempt(started_at=start)])] for start in starts)

    assert (contents.first, contents.last) == (starts[1], starts[2])
    assert gather([[done("a", attempts=[])]]).first is None


def test_gathering_ends_when_it_is_told_to():
    seen = []

    def records():
        for number in range(100):
            seen.append(number)
            yield done(str(number))

    contents = gather([records()], stopped=lambda: len(seen) > 3)

    assert contents.done == 3


def test_failures_are_grouped_by_their_message_whatever_numbers_and_ids_are_in_it():
    said = "inference.x.v1 (custom_id '{0}'): image {0} of 9 is too small, request id {1}"
    records = [
        failed(f"{number}", said.format(number, f"{number:08x}-ab"), 400)
        | {
            "error": {"type": "BadRequestError", "message": said.format(number, f"r-{number}"), "status": 400}
            | {"request_id": f"r-{number}", "may_have_run": False}
        }
        for number in range(7)
    ]
    contents = gather([[*records, failed("a", "no idle capacity"), failed("b", "no idle capacity", 503)]])

    assert [(failure.label, failure.message, count) for failure, count in contents.reasons] == [
        ("BadRequestError 400", "image 0 of 9 is too small", 7),
        ("CapacityError 429", "no idle capacity", 1),
        ("CapacityError 503", "no idle capacity", 1),
    ]


def test_reasons_that_are_all_different_are_not_kept_without_end():
    words = ("".join(chr(97 + int(digit)) for digit in f"{number}") for number in range(3000))
    contents = gather([failed("x", word) for word in words] for _ in range(1))

    assert contents.failed == 3000
    assert len(contents.reasons) == 30


def test_jobs_of_several_folders_know_theirs():
    contents = gather([[done("a"), failed("b")], [], [done("a")]])

    assert [(row.id, row.folder) for row in contents.rows] == [("b", 0), ("a", 0), ("a", 2)]


def test_a_record_that_is_none_of_ours_is_a_failure_that_says_so():
    contents = gather([[{"custom_id": "x", "status": "odd"}, {}]])

    assert [row.id for row in contents.rows] == ["x", "None"]
    assert contents.failed == 2
    assert all("cannot be read" in row.error.message for row in contents.rows if row.error)
