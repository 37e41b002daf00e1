from __future__ import annotations

import pytest

from prodia_async.emulator.account import Counts
from prodia_async.emulator.capacity import Slots


def test_slots_are_taken_up_to_the_capacity_and_given_back_once():
    slots = Slots(2)
    first, second = slots.take(), slots.take()
    assert None not in (first, second)
    assert slots.take() is None
    first.release()
    first.release()
    assert (slots.busy, slots.peak, slots.idle) == (1, 2, True)


def test_a_cut_keeps_what_runs_and_takes_nothing_new():
    slots = Slots(3)
    taken = [slots.take() for _ in range(3)]
    slots.capacity = 1
    taken[0].release()
    assert slots.take() is None
    taken[1].release()
    taken[2].release()
    assert slots.take() is not None


def test_busy_seconds_stand_still_while_nothing_runs():
    slots = Slots(1)
    slots.take().release()
    passed = slots.busy_seconds
    assert slots.busy_seconds == passed
    slots.take()
    while slots.busy_seconds == passed:  # a clock that does not tick between two calls
        pass
    assert slots.busy_seconds > passed


def test_a_negative_capacity_is_refused():
    with pytest.raises(ValueError, match="capacity cannot be -1"):
        Slots(-1)


def test_attempts_are_counted_by_key_and_the_oldest_key_is_forgotten():
    attempts = Counts(limit=2)
    assert [attempts.count(key) for key in "aabca"] == [1, 2, 1, 1, 1]
