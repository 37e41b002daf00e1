"""Lines that wait, in memory and on disk."""

from __future__ import annotations

import errno
import random
import tempfile
from pathlib import Path

import pytest
from batch.journals import an_entry
from msgspec.structs import replace

from prodia_async.batch._aside import Aside
from prodia_async.batch._entries import Submitted


@pytest.fixture
def aside(tmp_path):
    made = Aside(tmp_path)
    yield made
    made.close()


def an_input(number: int, kind: str):
    entry = an_entry(f"{kind}-{number}", kind, config={"seed": number, "names": ["a", "b"]})
    return entry if number % 3 else _with_more(entry)


def _with_more(entry):
    job = replace(
        entry.job, inputs=(Path("/somewhere/cat.jpg"),), priority=2, accept="image/png", mode="async"
    )
    return replace(entry, job=job, outputs=("outputs/00/a.png",), submitted=Submitted("id", 0.5))


@pytest.mark.parametrize("seed", range(5))
def test_each_type_comes_back_in_order_wherever_it_waited(aside, tmp_path, seed):
    chance = random.Random(seed)
    put, taken = {"a": [], "b": [], "c": []}, {"a": [], "b": [], "c": []}
    for number in range(3000):
        kind = chance.choice("abc")
        what = chance.random()
        if what < 0.6:
            put[kind].append(an_input(number, kind))
            aside.put(put[kind][-1])
        elif what < 0.98 and kind in aside.pieces:
            taken[kind].append(aside.next(kind))
        elif what >= 0.98:
            kinds = set(chance.sample("abc", chance.randint(1, 3)))
            aside.spill(kinds)
            assert aside.count == 0 or kinds != {"a", "b", "c"}
    for kind in "abc":
        while kind in aside.pieces:
            taken[kind].append(aside.next(kind))
    assert taken == put
    assert aside.count == 0
    assert not aside.pieces
    assert list(tmp_path.iterdir()) == []


def test_memory_holds_none_of_what_is_on_disk(aside):
    for number in range(10_000):
        aside.put(an_input(number, "a"))
        if aside.count >= 500:
            aside.spill({"a"})
    aside.spill({"a"})
    assert aside.count == 0
    assert not aside.is_at_hand("a")
    aside.next("a")
    assert aside.is_at_hand("a")
    assert aside.count < 256


def test_the_room_on_disk_is_used_again(aside):
    for _ in range(20):
        for number in range(300):
            aside.put(an_input(number, "a"))
        aside.spill({"a"})
        while "a" in aside.pieces:
            aside.next("a")
    assert aside._file.seek(0, 2) < 300 * 500


def test_without_room_on_disk_lines_stay_in_memory(aside, monkeypatch):
    def full(**_):
        raise OSError(errno.ENOSPC, "No space left on device")

    aside.put(an_input(1, "a"))
    monkeypatch.setattr(tempfile, "TemporaryFile", full)
    with pytest.raises(OSError, match="No space"):
        aside.spill({"a"})
    assert aside.count == 1
    assert aside.next("a") == an_input(1, "a")


def test_an_input_that_cannot_be_written_down_stays_in_memory(aside, tmp_path):
    with (tmp_path / "file").open("wb") as file:
        entry = an_entry("a", "a")
        aside.put(replace(entry, job=replace(entry.job, inputs=(file,))))
        with pytest.raises(TypeError):
            aside.spill({"a"})
        assert aside.count == 1
