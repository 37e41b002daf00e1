"""When failures are the service's, and when a job's own: the rules, case by case."""

from __future__ import annotations

import random
from datetime import UTC, datetime

import pytest

from prodia_async._models import Attempt
from prodia_async.batch._health import Health, Pause


def attempt(verdict, at=0.0, *, status=None, reason=""):
    started = datetime.fromtimestamp(at, UTC)
    return Attempt(1, started, 0.0, 0.1, verdict, may_have_run=False, status=status, reason=reason)


def health(*jobs):
    made = Health()
    for job in jobs:
        made.begin(job)
        made.set_out(job, out=True)
    return made


def fail(made, count, verdict="not_sent", at=0.0):
    """Note failures of different jobs; return whether each began a pause."""
    return [made.note(f"other-{number}", attempt(verdict, at)) for number in range(count)]


@pytest.mark.parametrize("verdict", ["not_sent", "server_error", "unknown"])
def test_twenty_in_a_row_are_a_pause(verdict):
    made = health()
    assert fail(made, 19, verdict) == [False] * 19
    assert not made.paused
    assert made.note("x", attempt(verdict))
    assert made.paused
    assert not made.note("y", attempt(verdict))


@pytest.mark.parametrize(
    "verdict", ["shed", "refused", "malformed", "timed_out", "bad_input", "not_kept", "cancelled"]
)
def test_other_verdicts_neither_count_nor_end_it(verdict):
    made = health()
    fail(made, 19)
    for _ in range(30):
        assert not made.note("x", attempt(verdict, 5.0))
    assert made.note("x", attempt("unknown", 5.0))


def test_a_job_that_the_service_fails_on_counts_once():
    made = health()
    for number in range(100):
        assert not made.note("poison", attempt("server_error" if number % 2 else "unknown"))
    assert made.streak == 1
    assert fail(made, 19, "server_error")[-1]


def test_one_job_that_cannot_be_sent_counts_each_time():
    made = health()
    assert [made.note("only", attempt("not_sent")) for _ in range(20)] == [False] * 19 + [True]


@pytest.mark.parametrize("verdict", ["done", "failed"])
@pytest.mark.parametrize(("begun", "ends"), [(9.9, False), (10.0, False), (10.1, True)])
def test_only_what_was_begun_after_the_first_failure_ends_the_row(verdict, begun, ends):
    made = health()
    fail(made, 19, at=10.0)
    made.note("x", attempt(verdict, begun))
    assert made.streak == (0 if ends else 19)
    assert made.note("y", attempt("not_sent", 20.0)) is not ends


def test_jobs_that_have_failed_while_others_succeeded_count_no_more():
    poison = [f"poison-{number}" for number in range(30)]
    made = health(*poison)
    for job in poison[:19]:
        made.note(job, attempt("server_error", 1.0))
    made.note("good", attempt("done", 2.0))
    for verdict in ("server_error", "unknown"):
        assert not any(made.note(job, attempt(verdict, 3.0)) for job in poison[:19])
    assert made.streak == 0
    assert fail(made, 20, "server_error", 4.0)[-1]


def test_a_failure_that_ended_after_the_success_began_counts():
    made = health("a")
    made.note("good", attempt("done", 2.0))
    made.note("a", attempt("unknown", 1.95))
    assert fail(made, 19, at=3.0)[-1]


def test_after_a_pause_the_row_begins_anew():
    made = health()
    fail(made, 20)
    made.resume(100.0)
    assert not made.paused
    assert fail(made, 20, at=101.0) == [False] * 19 + [True]


def test_the_last_reason_is_kept():
    made = health()
    for verdict, status, reason, told in [
        ("server_error", 502, "", "status 502"),
        ("unknown", None, "reset", "reset"),
        ("not_sent", None, "", "not sent"),
    ]:
        made.note("x", attempt(verdict, status=status, reason=reason))
        assert made.reason == told
    made.note("x", attempt("refused", reason="no"))
    assert made.reason == "not sent"


def test_what_was_not_sent_has_another_chance_whatever_else():
    made = health("a")
    made.note("b", attempt("done", 50.0))
    for _ in range(3):
        assert made.second_chance("a", [attempt("server_error", 1.0), attempt("not_sent", 2.0)]) is True


@pytest.mark.parametrize("verdict", ["failed", "refused", "malformed", "timed_out", "not_kept", "shed"])
def test_what_is_no_failure_of_the_service_has_none(verdict):
    made = health("a")
    fail(made, 20)
    assert made.second_chance("a", [attempt("not_sent"), attempt(verdict)]) is False


def test_no_attempts_have_no_second_chance():
    assert health("a").second_chance("a", []) is False


def test_a_job_that_meets_a_pause_is_run_again():
    made = health("a")
    tried = [attempt("server_error", 10.0), attempt("server_error", 200.0)]
    fail(made, 20)
    assert made.second_chance("a", tried) is True
    made.resume(100.0)
    assert made.second_chance("a", tried) is True
    assert made.second_chance("a", [attempt("server_error", 100.5)]) is None


def test_a_job_fails_when_another_was_begun_later_and_succeeded():
    made = health("a")
    tried = [attempt("shed", 1.0), attempt("server_error", 10.0), attempt("unknown", 20.0)]
    made.note("b", attempt("done", 9.0))
    made.note("b", attempt("done", 10.0))
    assert made.second_chance("a", tried) is None
    made.note("b", attempt("failed", 10.5))
    made.note("b", attempt("failed", 3.0))
    assert made.second_chance("a", tried) is False


def test_a_job_has_one_second_chance_until_a_pause_comes():
    made = health("a", "b")
    made.grant("a")
    assert made.second_chance("a", [attempt("server_error", 1.0)]) is False
    assert made.second_chance("b", [attempt("server_error", 1.0)]) is None
    fail(made, 20)
    made.resume(5.0)
    assert made.second_chance("a", [attempt("server_error", 6.0)]) is None


def test_after_a_last_chance_there_is_none_until_another_pause():
    made = health("a", "b")
    made.pause()
    assert made.second_chance("a", [attempt("server_error", 1.0)]) is True
    made.last_chance()
    assert not made.paused
    assert made.second_chance("a", [attempt("server_error", 1.0)]) is False
    assert made.second_chance("a", [attempt("not_sent", 1.0)]) is True
    assert made.few_left
    made.begin("c")
    assert made.second_chance("c", [attempt("server_error", 1.0)]) is None


def test_who_is_on_its_way():
    made = Health()
    for job in "ab":
        made.begin(job)
    assert made.idle
    made.set_out("a", out=True)
    made.set_out("a", out=True)
    made.set_out("b", out=True)
    made.leave("a")
    assert not made.idle
    made.set_out("b", out=False)
    assert made.idle
    made.leave("b")
    made.leave("b")
    assert made.idle


def test_what_is_remembered_is_bounded():
    made = health()
    for number in range(10_000):
        job = str(number)
        made.begin(job)
        made.set_out(job, out=True)
        made.note(job, attempt("server_error", number))
        if number % 19 == 18:
            made.note(job, attempt("done", number + 0.5))
        made.leave(job)
    assert not made.paused
    assert not made.jobs
    assert len(made._answered) < 20


def test_the_wait_doubles_up_to_a_minute_and_is_never_short():
    chance = random.Random(1)
    for grown, longest in enumerate([1, 2, 4, 8, 16, 32, 60, 60]):
        waits = []
        for _ in range(200):
            pause = Pause("out", 100.0, chance)
            for _ in range(grown):
                pause.postpone(150.0, grows=True)
            pause.postpone(200.0, grows=False)
            waits.append(pause.next_trial - 200.0)
        assert longest / 2 <= min(waits) < 0.6 * longest
        assert 0.9 * longest < max(waits) <= longest


def test_the_first_wait_is_short():
    waits = [Pause("out", 100.0, random.Random(seed)).next_trial - 100.0 for seed in range(100)]
    assert 0.5 <= min(waits) < max(waits) <= 1.0
