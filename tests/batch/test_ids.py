from __future__ import annotations

import itertools
import tracemalloc

from prodia_async.batch._ids import Namer, SeenIds


def test_an_id_is_new_once():
    seen = SeenIds()
    names = [f"id-{number}" for number in range(20_000)]
    assert all(seen.add(name) for name in names)
    assert not any(seen.add(name) for name in names)
    assert all(name in seen for name in names)
    assert "id-20000" not in seen


def test_many_ids_cost_little_memory():
    tracemalloc.start()
    try:
        seen = SeenIds()
        empty, _ = tracemalloc.get_traced_memory()
        for number in range(50_000):
            seen.add(f"{number}")
        full, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert full - empty < 50_000 * 16
    assert empty < 512 * 1024


def test_repeats_are_numbered():
    namer = Namer(SeenIds())
    assert [namer.name("a") for _ in range(4)] == ["a", "a-2", "a-3", "a-4"]
    assert [namer.name("b") for _ in range(2)] == ["b", "b-2"]


class Asked(SeenIds):
    """Counts how often it is asked."""

    count = 0

    def __contains__(self, name: str) -> bool:
        self.count += 1
        return super().__contains__(name)


def test_very_many_repeats_are_numbered_without_a_search_for_each():
    seen = Asked()
    namer = Namer(seen)
    names = [namer.name("a") for _ in range(20_000)]
    assert names[-1] == "a-20000"
    assert len(set(names)) == 20_000
    assert seen.count <= 20_000


def test_more_repeated_names_than_are_remembered_are_numbered_all_the_same():
    seen = Asked()
    namer = Namer(seen)
    stems = [f"s{number}" for number in range(5_000)]
    rounds = [[namer.name(stem) for stem in stems] for _ in range(6)]
    assert rounds[0] == stems
    assert rounds[5] == [f"{stem}-6" for stem in stems]
    assert seen.count < 5_000 * 6 * 6
    assert len(namer._numbers) <= 4096


def test_names_that_the_manifest_gave_are_stepped_over():
    for given in itertools.combinations([2, 3, 4, 6], 3):
        seen = SeenIds()
        for number in given:
            seen.add(f"a-{number}")
        namer = Namer(seen)
        names = {namer.name("a") for _ in range(10)}
        assert len(names) == 10
        assert not names & {f"a-{number}" for number in given}
