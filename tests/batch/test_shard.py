from __future__ import annotations

import hashlib

import pytest

from prodia_async import InputError
from prodia_async.batch._shard import Shard


def test_a_shard_is_read_from_text():
    assert Shard.parse("3/10") == Shard(3, 10)
    assert Shard.parse(" 1/1 ") == Shard(1, 1)


@pytest.mark.parametrize(
    ("text", "use"), [("0/3", "1/3 to 3/3"), ("4/3", "1/3 to 3/3"), ("0/0", "1/1 to 1/1")]
)
def test_a_shard_that_there_is_not_is_refused(text, use):
    with pytest.raises(InputError, match=f"^invalid shard {text}: use {use}$"):
        Shard.parse(text)
    number, of = map(int, text.split("/"))
    with pytest.raises(InputError):
        Shard(number, of)


@pytest.mark.parametrize(
    "text", ["a", "", "3", "3/", "-1/3", "1/3/5", "1.0/3", "1 / 3", "٣/٣", "1/1000000000"]
)
def test_text_that_is_no_shard_is_refused(text):
    with pytest.raises(InputError, match=r"^invalid shard .*: use '3/10' for the third of ten$"):
        Shard.parse(text)


def test_each_id_belongs_to_one_shard_by_its_hash():
    for name in ("a", "é", "x" * 1000, *map(str, range(50))):
        takers = [number for number in range(1, 8) if Shard(number, 7).takes(name)]
        assert takers == [int(hashlib.sha256(name.encode()).hexdigest()[:16], 16) % 7 + 1]
