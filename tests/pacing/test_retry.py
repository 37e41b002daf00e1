from __future__ import annotations

import random
from statistics import fmean

import pytest

from prodia_async._models import Verdict
from prodia_async._pacing.retry import Retries, backoff
from prodia_async._settings import Retry

SERVER_ERROR = Verdict("server_error", may_have_run=True, status=500)
NOT_SENT = Verdict("not_sent", may_have_run=False)


def shed(retry_after=None):
    return Verdict("shed", may_have_run=False, status=429, retry_after=retry_after)


def retries(**settings):
    return Retries(Retry(**settings), random.Random(7))


@pytest.mark.parametrize(
    ("failures", "most"), [(0, 0.5), (1, 1.0), (2, 2.0), (5, 16.0), (6, 30.0), (64, 30.0), (10**6, 30.0)]
)
def test_backoff_is_any_time_up_to_a_bound_that_doubles_up_to_a_cap(failures, most):
    chance = random.Random(1)
    waits = [backoff(failures, Retry(), chance) for _ in range(2000)]
    assert 0 <= min(waits) < 0.02 * most
    assert 0.98 * most < max(waits) <= most
    assert fmean(waits) == pytest.approx(most / 2, rel=0.05)


def test_backoff_of_zero_is_none_at_all():
    assert backoff(3, Retry(backoff=0.0), random.Random(1)) == 0.0
    assert backoff(3, Retry(max_backoff=0.0), random.Random(1)) == 0.0


def test_the_same_chance_gives_the_same_waits():
    waits = [[backoff(n, Retry(), random.Random(5)) for n in range(5)] for _ in range(2)]
    assert waits[0] == waits[1]


@pytest.mark.parametrize("kind", ["done", "failed", "timed_out", "refused", "bad_input", "not_kept"])
def test_what_sending_again_cannot_help_is_final(kind):
    assert retries(resend_unknown=9).wait_after(Verdict(kind, may_have_run=True), 0.0) is None


class TestErrors:
    def test_as_many_as_max_errors_are_survived(self):
        way = retries(max_errors=4)
        verdicts = [NOT_SENT, SERVER_ERROR, NOT_SENT, SERVER_ERROR]
        waits = [way.wait_after(verdict, 0.0) for verdict in verdicts]
        assert all(0 <= wait <= 0.5 * 2**n for n, wait in enumerate(waits))
        assert way.wait_after(NOT_SENT, 0.0) is None

    def test_none_is_survived_with_max_errors_0(self):
        assert retries(max_errors=0).wait_after(NOT_SENT, 0.0) is None

    def test_sheds_and_resends_between_them_are_not_counted(self):
        way = retries(max_errors=2, resend_unknown=1)
        verdicts = [NOT_SENT, shed(1.0), Verdict("unknown", may_have_run=True), shed(1.0), NOT_SENT]
        assert None not in [way.wait_after(verdict, 0.0) for verdict in verdicts]
        assert way.wait_after(NOT_SENT, 0.0) is None

    def test_a_503_waits_at_least_for_its_retry_after(self):
        busy = Verdict("server_error", may_have_run=False, status=503, retry_after=7.0)
        assert retries().wait_after(busy, 0.0) == 7.0

    def test_a_short_retry_after_does_not_shorten_the_backoff(self):
        busy = Verdict("server_error", may_have_run=False, status=503, retry_after=0.001)
        assert retries().wait_after(busy, 0.0) > 0.001

    @pytest.mark.parametrize(("told", "final"), [(120.0, False), (120.5, True)])
    def test_a_retry_after_above_the_cap_is_final(self, told, final):
        busy = Verdict("server_error", may_have_run=False, status=503, retry_after=told)
        assert (retries(max_retry_after=120).wait_after(busy, 0.0) is None) is final


class TestSheds:
    def test_any_number_is_survived_and_the_limiter_does_the_waiting(self):
        way = retries()
        assert {way.wait_after(shed(100.0), 100.0 * n) for n in range(1000)} == {0.0}

    def test_patience_is_counted_from_the_first_429_only(self):
        way = retries(patience=10.0, max_errors=9)
        assert way.wait_after(NOT_SENT, 500.0) is not None
        assert way.wait_after(shed(1.0), 1000.0) == 0.0
        assert way.wait_after(shed(1.0), 1009.0) == 0.0
        assert way.wait_after(shed(1.0), 1009.1) is None

    def test_patience_that_the_retry_after_would_outlast_ends_at_once(self):
        assert retries(patience=10.0).wait_after(shed(10.5), 0.0) is None
        assert retries(patience=10.0).wait_after(shed(10.0), 0.0) == 0.0

    def test_no_patience_means_one_attempt(self):
        assert retries(patience=0.0).wait_after(shed(0.5), 3.0) is None

    @pytest.mark.parametrize(("told", "after"), [(120.0, 0.0), (120.1, None), (None, 0.0)])
    def test_a_retry_after_above_the_cap_is_final(self, told, after):
        assert retries(max_retry_after=120.0).wait_after(shed(told), 0.0) == after


class TestUnknown:
    @pytest.mark.parametrize("kind", ["unknown", "malformed"])
    def test_it_is_final_by_default(self, kind):
        assert retries().wait_after(Verdict(kind, may_have_run=True), 0.0) is None

    def test_it_is_sent_again_as_often_as_was_asked_for(self):
        way = retries(resend_unknown=2)
        waits = [way.wait_after(Verdict(kind, may_have_run=True), 0.0) for kind in ("unknown", "malformed")]
        assert 0 <= waits[0] <= 0.5
        assert 0 <= waits[1] <= 1.0
        assert way.wait_after(Verdict("unknown", may_have_run=True), 0.0) is None
