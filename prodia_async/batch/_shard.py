"""Shards: several machines share one manifest, each taking its part of it."""

from __future__ import annotations

import hashlib
import re
import struct
from typing import cast

from msgspec import Struct

from prodia_async._errors import InputError, quoted
from prodia_async._settings import require

_FIRST = struct.Struct(">Q")
_FORM = re.compile(r"([0-9]{1,9})/([0-9]{1,9})")


def id_hash(custom_id: str) -> int:
    """Return the first 8 bytes of the custom_id's SHA-256 as a number, the first byte the highest."""
    found: int = _FIRST.unpack_from(hashlib.sha256(custom_id.encode()).digest())[0]
    return found


class Shard(Struct, frozen=True):
    """Part `number`, from 1, of the `of` parts that a manifest falls into by the hash of the custom_ids.

    Raises InputError for a part that there is not.
    """

    number: int
    of: int

    def __post_init__(self) -> None:
        for name in self.__struct_fields__:
            require(type(getattr(self, name)) is int, f"Shard.{name}", getattr(self, name))
        if not 1 <= self.number <= self.of:
            of = max(1, self.of)
            raise InputError(f"invalid shard {self.number}/{self.of}: use 1/{of} to {of}/{of}")

    @classmethod
    def parse(cls, given: str | Shard) -> Shard:
        """Read a shard such as "3/10", the third of ten. Raises InputError."""
        if issubclass(type(given), cls):  # isinstance would ask the object, which may raise
            return cast("Shard", given)
        found = _FORM.fullmatch(given.strip()) if type(given) is str else None
        if found is None:
            raise InputError(f"invalid shard {quoted(given)}: use '3/10' for the third of ten")
        return cls(int(found[1]), int(found[2]))

    def takes(self, custom_id: str) -> bool:
        """Tell whether the job of this custom_id is one of this shard's."""
        return id_hash(custom_id) % self.of == self.number - 1
