from __future__ import annotations

import random
from statistics import fmean

import pytest

from prodia_async._models import Verdict
from prodia_async._pacing.retry import Waits
from prodia_async._settings import Polling, Retry

UNKNOWN = Verdict("unknown", may_have_run=True)
MALFORMED = Verdict("malformed", may_have_run=True)


class Unshortened(random.Random):
    """Chance that takes nothing away."""

    def uniform(self, a, b):
        return b


def waits(polling=None, *, is_poll=True, chance=None, **retry):
    return Waits(polling or Polling(), Retry(**retry), chance or Unshortened(), is_poll=is_poll)


def busy(retry_after=None, kind="shed"):
    return Verdict(kind, may_have_run=True, retry_after=retry_after)


def test_each_wait_grows_up_to_a_cap():
    polling = waits(Polling(interval=1.0, max_interval=5.0, growth=2.0))
    assert [polling.after_answer() for _ in range(5)] == [1.0, 2.0, 4.0, 5.0, 5.0]


def test_a_growth_of_one_is_a_steady_interval():
    polling = waits(Polling(interval=3.0, growth=1.0))
    assert [polling.after_answer() for _ in range(3)] == [3.0, 3.0, 3.0]


def test_chance_takes_up_to_a_fifth_away():
    chance = random.Random(3)
    first = [waits(Polling(interval=10.0), chance=chance).after_answer() for _ in range(2000)]
    assert 8.0 <= min(first) < 8.05
    assert 9.95 < max(first) <= 10.0
    assert fmean(first) == pytest.approx(9.0, rel=0.01)


@pytest.mark.parametrize("kind", ["shed", "server_error"])
@pytest.mark.parametrize("is_poll", [True, False])
def test_a_busy_service_is_waited_out_for_ever_ever_more_seldom(kind, is_poll):
    asking = waits(is_poll=is_poll, max_errors=0)
    found = [asking.after_failure(busy(kind=kind)) for _ in range(50)]
    assert found[:4] == [1.0, 1.5, 2.25, 3.375]
    assert set(found[10:]) == {10.0}


@pytest.mark.parametrize(
    ("told", "wait"), [(None, 1.0), (0.2, 1.0), (7.0, 7.0), (120.0, 120.0), (9e9, 120.0)]
)
def test_a_retry_after_is_kept_to_and_cut_where_it_is_longer_than_we_wait(told, wait):
    assert waits(max_retry_after=120.0).after_failure(busy(told)) == wait


def test_a_poll_survives_any_number_of_broken_connections():
    polling = waits(max_errors=0)
    assert None not in [polling.after_failure(UNKNOWN) for _ in range(100)]


def test_what_is_fetched_survives_as_many_breaks_as_max_errors():
    fetching = waits(is_poll=False, max_errors=2)
    found = [fetching.after_failure(verdict) for verdict in (UNKNOWN, busy(), MALFORMED, busy(), UNKNOWN)]
    assert found == [1.0, 1.5, 2.25, 3.375, None]


def test_malformed_answers_to_polls_count_until_one_makes_sense():
    polling = waits(max_errors=2)
    assert None not in [polling.after_failure(verdict) for verdict in (MALFORMED, UNKNOWN, MALFORMED)]
    polling.after_answer()
    assert None not in [polling.after_failure(verdict) for verdict in (MALFORMED, MALFORMED)]
    assert polling.after_failure(MALFORMED) is None


@pytest.mark.parametrize("kind", ["lost", "refused", "not_kept", "failed"])
@pytest.mark.parametrize("is_poll", [True, False])
def test_what_asking_again_cannot_help_is_final(kind, is_poll):
    assert waits(is_poll=is_poll).after_failure(Verdict(kind, may_have_run=True)) is None
