from __future__ import annotations

import pytest

from prodia_async.batch._journal import Sample
from prodia_async.batch._page.course import course as course_of

HOUR = 3600.0


def sample(at, done=0, *, failed=0, in_flight=0, limit=0, shed=0, requests=0, dollars=None):
    return Sample(at, done, failed, in_flight, limit, shed, requests, dollars)


def test_means_over_equal_spans():
    course = course_of(
        [[sample(100, 0, limit=4), sample(110, 10, failed=10, limit=8), sample(120, 50, failed=10, limit=8)]]
    )

    assert course is not None
    assert (course.seconds, len(course.throughput), course.breaks) == (20, 2, ())
    assert course.throughput == (2.0, 4.0)
    assert course.limit == (6.0, 8.0)


def test_uneven_samples_lose_nothing():
    times = [0, 1, 1.5, 7, 8, 20, 21, 30]
    course = course_of([[sample(at, number * number, shed=number) for number, at in enumerate(times)]])

    assert course is not None
    width = course.seconds / len(course.throughput)
    assert sum(course.throughput) * width == pytest.approx(49)
    assert sum(course.shed) * width == pytest.approx(7)


def test_many_samples_are_thinned_out():
    course = course_of([[sample(at, 2 * at, dollars=at / 100) for at in range(4000)]])

    assert course is not None
    assert len(course.throughput) == 80
    assert course.throughput == pytest.approx([2.0] * 80)
    assert course.dollars is not None
    assert course.dollars[-1] == pytest.approx(39.99)


def test_hours_between_two_runs_are_left_out():
    first = [sample(at, at, requests=at) for at in range(11)]
    second = [sample(9 * HOUR + at, 10 + at, requests=at) for at in range(11)]
    course = course_of([[*second, *first]])

    assert course is not None
    assert course.seconds == 20
    assert course.breaks == (10.0,)
    assert sum(course.throughput) * course.seconds / len(course.throughput) == pytest.approx(20)
    assert course.total_requests == 20  # counted anew by the second run


def test_a_last_sample_after_a_break_counts():
    course = course_of([[*(sample(at, at) for at in range(11)), sample(9 * HOUR, 15)]])

    assert course is not None
    assert (course.seconds, course.breaks) == (10, (10.0,))
    assert sum(course.throughput) * course.seconds / len(course.throughput) == pytest.approx(15)


def test_the_samples_of_a_long_run_lie_further_apart_than_those_of_a_short_one():
    long = [sample(at * 86.0) for at in range(50)]
    short = [sample(100 * HOUR + at) for at in range(500)]
    course = course_of([[*long, *short]])

    assert course is not None
    assert course.breaks == (49 * 86.0,)
    assert course.seconds == 49 * 86.0 + 499


def test_money_is_carried_over_samples_that_know_none():
    course = course_of([[sample(0), sample(1, dollars=2.0), sample(2), sample(3, dollars=3.0)]])

    assert course is not None
    assert course.dollars == (2.0, 2.0, 3.0)


def test_without_a_price_there_is_no_money():
    course = course_of([[sample(0), sample(1)]])

    assert course is not None
    assert course.dollars is None


@pytest.mark.parametrize("samples", [[], [sample(5)], [sample(5), sample(5)]])
def test_samples_without_time_between_them_tell_no_course(samples):
    assert course_of([samples]) is None


def test_shards_that_ran_at_the_same_time_add_up():
    first = [
        sample(at, 2 * at, in_flight=4, limit=8, requests=3 * at, shed=at, dollars=at) for at in range(21)
    ]
    second = [sample(0.5 + at, at, in_flight=2, limit=4, requests=at) for at in range(10, 31)]
    course = course_of([first, second])

    assert course is not None
    width = course.seconds / len(course.throughput)
    assert (course.seconds, course.breaks) == (30.5, ())
    assert sum(course.throughput) * width == pytest.approx(60)
    assert (course.total_shed, course.total_requests) == (20, 90)
    assert (max(course.in_flight), max(course.limit)) == (pytest.approx(6), pytest.approx(12))
    assert course.in_flight[0] == pytest.approx(4)
    assert course.in_flight[-1] == pytest.approx(2)
    assert course.dollars is not None
    assert course.dollars[-1] == 20


def test_shards_that_ran_one_after_another_leave_a_break():
    first = [sample(at, at, in_flight=1) for at in range(11)]
    second = [sample(9 * HOUR + at, at, in_flight=1) for at in range(11)]
    course = course_of([first, second, []])

    assert course is not None
    assert (course.seconds, course.breaks) == (20, (10.0,))
    assert course.in_flight == pytest.approx([1.0] * 21, abs=1)
    assert sum(course.in_flight) == pytest.approx(21)


def test_samples_of_two_shards_at_the_same_moment_make_no_break():
    course = course_of([[sample(at, at) for at in range(5)]] * 2)

    assert course is not None
    assert (course.seconds, course.breaks) == (4, ())
    assert course.throughput == pytest.approx([2.0] * 9, abs=1e-6)
