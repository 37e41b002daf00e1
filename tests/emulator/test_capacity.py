from __future__ import annotations

import pytest

from prodia_async.emulator import Emulator
from prodia_async.emulator._account import Counts, Slots


def test_slots_are_taken_and_given_back_once():
    slots = Slots()
    first, _ = slots.take(), slots.take()
    first.release()
    first.release()
    assert (slots.busy, slots.peak) == (1, 2)


def test_busy_seconds_stand_still_while_nothing_runs():
    slots = Slots()
    slots.take().release()
    passed = slots.busy_seconds
    assert slots.busy_seconds == passed
    slots.take()
    while slots.busy_seconds == passed:  # a clock that does not tick between two calls
        pass
    assert slots.busy_seconds > passed


def test_a_negative_capacity_is_refused():
    said = "capacity= takes a number of jobs, at least 0, such as 8, not -1"
    with pytest.raises(ValueError, match=said):
        Emulator(capacity=-1)
    emulator = Emulator()
    with pytest.raises(ValueError, match=said):
        emulator.capacity = -1
    assert emulator.capacity == 8


def test_attempts_are_counted_by_key_and_the_oldest_key_is_forgotten():
    attempts = Counts(limit=2)
    assert [attempts.count(key) for key in "aabca"] == [1, 2, 1, 1, 1]
