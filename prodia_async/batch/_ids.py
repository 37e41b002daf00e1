"""The custom_ids of a manifest: which were seen, and names for jobs without one."""

from __future__ import annotations

from array import array
from bisect import bisect_left

from prodia_async.batch._shard import id_hash

_BUCKET_BITS = 12
_MOST_REPEATS = 4096


class SeenIds:
    """Remembers custom_ids by 8 bytes of their SHA-256: 8 to 9 bytes of memory each.

    Sorted arrays, so many that adding to one stays cheap. Among 10,000,000 custom_ids, two that differ
    are taken for the same with a chance of 1 in 370,000.
    """

    def __init__(self) -> None:
        self._buckets = [array("Q") for _ in range(1 << _BUCKET_BITS)]

    def __contains__(self, custom_id: str) -> bool:
        found = id_hash(custom_id)
        bucket = self._buckets[found >> (64 - _BUCKET_BITS)]
        index = bisect_left(bucket, found)
        return index < len(bucket) and bucket[index] == found

    def add(self, custom_id: str) -> bool:
        """Add a custom_id; False if it was there."""
        found = id_hash(custom_id)
        bucket = self._buckets[found >> (64 - _BUCKET_BITS)]
        index = bisect_left(bucket, found)
        if index < len(bucket) and bucket[index] == found:
            return False
        bucket.insert(index, found)
        return True


class Namer:
    """Makes custom_ids: a stem, then the same with -2, -3 ... for its repeats.

    The numbers of the stems that repeated last are remembered; another stem's are found by halving, which
    may leave out a number where the manifest itself gave such names.
    """

    def __init__(self, seen: SeenIds) -> None:
        self._seen = seen
        self._numbers: dict[str, int] = {}

    def name(self, stem: str) -> str:
        """Return a custom_id that was not seen before, and count it as seen."""
        if self._seen.add(stem):
            return stem
        number = self._free(stem, self._numbers.get(stem, 1))
        if stem not in self._numbers and len(self._numbers) >= _MOST_REPEATS:
            del self._numbers[next(iter(self._numbers))]
        self._numbers[stem] = number
        self._seen.add(custom_id := f"{stem}-{number}")
        return custom_id

    def _free(self, stem: str, taken: int) -> int:
        """Return a free number above `taken`, the one before it taken."""
        step = 1
        while f"{stem}-{taken + step}" in self._seen:
            taken += step
            step *= 2
        free = taken + step
        while free - taken > 1:
            middle = (taken + free) // 2
            if f"{stem}-{middle}" in self._seen:
                taken = middle
            else:
                free = middle
        return free
