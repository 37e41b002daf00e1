"""The spending limit: what is reserved, who waits, and by how much it can be overrun."""

from __future__ import annotations

import asyncio
import random
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prodia_async._errors import BudgetExceededError, InputError
from prodia_async.batch._budget import Till


def totals(dollars=None, uncertain=0.0, uncertain_attempts=0, dearest=None):
    return SimpleNamespace(
        dollars=dollars, uncertain=uncertain, uncertain_attempts=uncertain_attempts, dearest=dearest or {}
    )


def ledger(limit, prices=None, **earlier):
    return Till(limit, prices or {}, totals(**earlier))


def till(limit, prices=None, **earlier):
    return Till(limit, prices or {}, totals(**earlier))


async def asks(purse, *types):
    """Ask for each type at once; return the tasks once all have had their say."""
    tasks = [asyncio.ensure_future(purse.reserve(job_type)) for job_type in types]
    await turns()
    return tasks


async def turns():
    for _ in range(5):
        await asyncio.sleep(0)


def granted(tasks):
    return [task.done() and not task.exception() for task in tasks]


def test_one_and_a_half_times_the_dearest_is_reserved():
    book = ledger(1.0, {"a": 0.02})
    assert book.grant("a") == 0.03
    assert book.settle("a", 0.03, 0.1) == 0.1
    assert book.grant("a") == 0.15
    assert book.settle("a", 0.15, 0.01) == 0.01
    assert book.grant("a") == 0.15
    assert book.dollars == 0.11
    assert book.reserved == 150_000_000


def test_earlier_runs_count():
    book = ledger(1.0, dollars=0.5, uncertain=0.2, uncertain_attempts=3, dearest={"a": 0.1})
    assert (book.dollars, book.uncertain, book.uncertain_attempts) == (0.5, 0.2, 3)
    assert [book.grant("a") for _ in range(3)] == [0.15, 0.15, None]


def test_a_given_price_and_a_dearer_one_of_an_earlier_run():
    assert ledger(9, {"a": 0.1}, dearest={"a": 0.2}).grant("a") == 0.3
    assert ledger(9, {"a": 0.2}, dearest={"a": 0.1}).grant("a") == 0.3


def test_what_did_not_run_costs_nothing():
    book = ledger(0.15, {"a": 0.1})
    book.release("a", book.grant("a"))
    assert (book.spent, book.reserved, book.dollars) == (0, 0, None)
    assert book.grant("a") == 0.15


def test_unknown_outcomes_count_as_reserved():
    book = ledger(0.4, {"a": 0.1})
    assert book.lose("a", book.grant("a")) == 0.15
    assert (book.uncertain, book.uncertain_attempts, book.dollars, book.overrun) == (0.15, 1, None, 0.0)
    assert book.grant("a") == 0.15
    assert book.grant("a") is None


def test_a_given_price_stands_for_one_that_is_not_reported():
    book = ledger(1, {"a": 0.1})
    assert book.settle("a", book.grant("a"), None) == 0.1
    assert book.dollars == 0.1
    assert book.refusal("a") is None


@pytest.mark.parametrize("reported", [None, float("nan"), float("inf"), -1.0])
def test_a_type_that_reports_no_price_is_refused(reported):
    book = ledger(1, dearest={"b": 0.1})
    assert book.settle("a", book.grant("a"), reported) is None
    assert (book.uncertain, book.uncertain_attempts, book.reserved) == (0.15, 1, 0)
    assert "a reports no price" in book.refusal("a")
    assert "--price a=" in book.refusal("a")
    assert book.refusal("b") is None


def test_the_first_of_a_type_reserves_what_others_cost_as_far_as_it_is_there():
    book = ledger(0.4, {"b": 0.1})
    assert book.grant("a") == 0.15
    assert book.is_on_trial("a")
    assert not book.is_on_trial("b")
    assert book.grant("c") == 0.15
    assert book.grant("d") == 0.1
    assert book.grant("e") is None
    assert not book.is_on_trial("e")


def test_attempts_that_vanish_before_any_price_is_known_are_bounded():
    book = ledger(1)
    for _ in range(20):
        assert book.refusal("a") is None
        book.lose("a", book.grant("a"))
    assert "20 attempts had an unknown outcome" in book.refusal("a")
    assert ledger(1, {"a": 0.1}).refusal("a") is None


def test_without_a_limit_sums_are_counted_and_nothing_is_reserved():
    book = ledger(None)
    assert [book.grant("a") for _ in range(3)] == [0, 0, 0]
    assert book.settle("a", 0.0, 0.1) == 0.1
    assert book.settle("a", 0.0, 0.2) == 0.2
    assert book.settle("a", 0.0, None) is None
    assert book.lose("a", 0.0) == 0.0
    assert (book.dollars, book.uncertain, book.uncertain_attempts, book.overrun) == (0.3, 0.0, 1, 0.0)
    assert book.refusal("a") is None


def test_sums_add_up_exactly():
    book = ledger(1000, {"a": 0.1})
    for _ in range(1000):
        book.settle("a", book.grant("a"), 0.1)
    assert book.dollars == 100.0


def test_the_overrun_is_told():
    book = ledger(0.2, {"a": 0.1})
    book.settle("a", book.grant("a"), 0.5)
    assert book.overrun == 0.3


@pytest.mark.parametrize("bad", [-0.01, float("nan"), float("inf")])
def test_senseless_sums_are_refused(bad):
    with pytest.raises(InputError, match="max_spend cannot be"):
        ledger(bad)
    with pytest.raises(InputError, match="the price of a cannot be"):
        ledger(1, {"a": bad})


def test_nothing_may_be_spent():
    book = ledger(0, {"free": 0})
    assert book.grant("a") is None
    assert book.grant("free") == 0


def test_the_message_says_what_is_spent_and_what_to_do():
    book = ledger(5, dollars=4.9, uncertain=0.06, uncertain_attempts=2, dearest={"a": 0.04})
    text = book.shortage("a")
    assert "$4.96 of max_spend $5.00 is gone, $0.06 of it reckoned for 2 attempts of unknown outcome" in text
    assert "$0.04 is left, and the next job, a, may cost up to $0.06" in text
    assert "higher max_spend" in text
    assert "has no price yet" in book.shortage("b")
    assert "for 1 attempt of" in ledger(1, uncertain=0.000015, uncertain_attempts=1).shortage("b")


async def test_a_reservation_waits_while_others_are_only_reserved():
    purse = till(0.3, {"a": 0.1})
    tasks = await asks(purse, "a", "a", "a")
    assert granted(tasks) == [True, True, False]
    purse.settle("a", 0.15, 0.05)
    await turns()
    assert granted(tasks) == [True, True, False]
    purse.settle("a", 0.15, 0.05)
    assert await tasks[2] == 0.15
    assert purse.dollars == 0.1


async def test_with_nothing_reserved_any_more_it_is_an_error():
    purse = till(0.3, {"a": 0.1})
    tasks = await asks(purse, "a", "a", "a", "a")
    assert purse.lose("a", 0.15) == 0.15
    await turns()
    assert granted(tasks) == [True, True, False, False]
    purse.settle("a", 0.15, 0.2)
    for task in tasks[2:]:
        with pytest.raises(BudgetExceededError, match="money is spent"):
            await task
    with pytest.raises(BudgetExceededError, match="money is spent"):
        await purse.reserve("a")
    assert purse.uncertain == 0.15
    assert purse.uncertain_attempts == 1
    assert purse.overrun == pytest.approx(0.05)


async def test_none_overtakes_one_who_waits_for_money():
    purse = till(1.0, {"dear": 0.5, "cheap": 0.01})
    tasks = await asks(purse, "dear", "dear", "cheap")
    assert granted(tasks) == [True, False, False]
    purse.release("dear", 0.75)
    await turns()
    assert granted(tasks) == [True, True, True]


async def test_one_of_a_type_runs_alone_until_there_is_a_price():
    purse = till(1.0)
    tasks = await asks(purse, "a", "a", "b", "a", "b")
    assert granted(tasks) == [True, False, True, False, False]
    purse.release("a", 0.0)
    await turns()
    assert granted(tasks) == [True, True, True, False, False]
    purse.lose("a", 0.0)
    await turns()
    assert granted(tasks) == [True, True, True, True, False]
    purse.settle("a", 0.0, 0.1)
    assert (await asks(purse, "a"))[0].result() == 0.15
    purse.settle("b", 0.0, 0.2)
    assert await tasks[4] == 0.3


async def test_who_waits_for_the_price_of_a_type_without_one_is_refused():
    purse = till(1.0)
    tasks = await asks(purse, "a", "a", "a")
    purse.settle("a", 0.0, None)
    for task in tasks[1:]:
        with pytest.raises(BudgetExceededError, match="a reports no price"):
            await task


async def test_without_a_limit_none_waits():
    purse = till(None)
    assert [await purse.reserve("a") for _ in range(3)] == [0, 0, 0]


@pytest.mark.parametrize("first", ["cancel", "release"])
async def test_a_cancelled_wait_takes_nothing_and_wakes_the_next(first):
    purse = till(0.15, {"a": 0.1})
    tasks = await asks(purse, "a", "a", "a")
    if first == "cancel":
        tasks[1].cancel()
        purse.release("a", 0.15)
    else:
        purse.release("a", 0.15)
        tasks[1].cancel()
    await turns()
    assert tasks[1].cancelled()
    assert await tasks[2] == 0.15
    purse.release("a", 0.15)
    assert await purse.reserve("a") == 0.15


async def test_cancelling_the_one_who_waits_for_money_lets_cheaper_ones_by():
    purse = till(1.0, {"dear": 0.5, "cheap": 0.01})
    tasks = await asks(purse, "dear", "dear", "cheap")
    tasks[1].cancel()
    assert await tasks[2] == 0.015


async def test_an_error_that_nobody_hears_is_no_noise():
    purse = till(0.15, {"a": 0.1})
    tasks = await asks(purse, "a", "a")
    purse.settle("a", 0.15, 0.1)
    tasks[1].cancel()
    await turns()
    assert tasks[1].cancelled()


PRICES = st.dictionaries(st.sampled_from("abc"), st.floats(0.001, 0.5))


@settings(max_examples=100, deadline=None)
@given(st.floats(0, 3), PRICES, st.integers(0, 2**32), st.integers(1, 12))
def test_the_limit_holds_at_each_grant_and_the_overrun_is_bounded(limit, prices, seed, concurrency):
    chance = random.Random(seed)
    costs = {job_type: chance.uniform(0.001, 0.5) for job_type in "abc"}
    book, out, bound = ledger(limit, prices), [], 0.0

    def end_one():
        job_type, reserved, cost = out.pop(chance.randrange(len(out)))
        way = chance.choice(["settle", "settle", "lose", "release"])
        if way == "settle":
            book.settle(job_type, reserved, cost)
        else:
            getattr(book, way)(job_type, reserved)

    for _ in range(300):
        job_type = chance.choice("abc")
        if len(out) < concurrency and not book.is_on_trial(job_type):
            reserved = book.grant(job_type)
            if reserved is not None:
                assert book.spent + book.reserved <= book.limit
                cost = costs[job_type] * chance.choice([0.1, 1, 1, 10])
                out.append((job_type, reserved, cost))
                bound = sum(max(0.0, cost - reserved) for _, reserved, cost in out)
        if out and chance.random() < 0.5:
            end_one()
    while out:
        end_one()
    assert book.reserved == 0
    assert book.overrun <= bound + 1e-6


@pytest.mark.parametrize("seed", range(20))
async def test_every_wait_ends_whatever_is_cancelled(seed):
    chance = random.Random(seed)
    purse, open_now = till(chance.uniform(0.1, 2.0), {"a": 0.05}), 0

    async def job(job_type):
        nonlocal open_now
        reserved = await purse.reserve(job_type)
        open_now += 1
        try:
            for _ in range(chance.randrange(5)):
                await asyncio.sleep(0)
        finally:
            open_now -= 1
            way = chance.choice(["settle", "lose", "release"])
            getattr(purse, way)(job_type, reserved, *([chance.uniform(0, 0.1)] if way == "settle" else []))

    tasks = [asyncio.ensure_future(job(chance.choice("abc"))) for _ in range(40)]
    for task in chance.sample(tasks, 15):
        await asyncio.sleep(0)
        task.cancel()
    ended = await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 5)
    assert all(isinstance(end, BudgetExceededError | asyncio.CancelledError | None) for end in ended)
    assert open_now == 0
    assert not purse._line
    assert purse.reserved == 0
