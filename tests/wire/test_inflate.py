from __future__ import annotations

import gzip
import zlib

import pytest

from prodia_async._wire.decoder import Inflater, MalformedReplyError, is_compressed

TEXT = b"".join(b"line %d of a reply\n" % number for number in range(5000))


def inflate(pieces, max_expansion=100) -> bytes:
    inflater, out = Inflater(max_expansion), bytearray()
    for piece in pieces:
        for taken in inflater.feed(piece):
            assert 0 < len(taken) <= 256 * 1024
            out += taken
    inflater.close()
    return bytes(out)


@pytest.mark.parametrize("compress", [gzip.compress, zlib.compress])
@pytest.mark.parametrize("size", [1, 7, 4096, 1 << 20])
def test_it_inflates_wherever_it_is_cut(compress, size):
    data = compress(TEXT)
    assert inflate([data[at : at + size] for at in range(0, len(data), size)]) == TEXT


def test_every_split_point():
    data = gzip.compress(b"a small reply")
    for at in range(len(data) + 1):
        assert inflate([data[:at], data[at:]]) == b"a small reply"


def test_members_one_after_another_and_nothing_at_all():
    assert inflate([gzip.compress(b"one") + gzip.compress(b"") + gzip.compress(b"two")]) == b"onetwo"
    assert inflate([]) == b""


@pytest.mark.parametrize("compress", [gzip.compress, zlib.compress])
@pytest.mark.parametrize("content", [b"", b"x"])
def test_thousands_of_tiny_members_are_not_copied_again_and_again(compress, content):
    """At a member's end zlib copies all that it was given and has not used."""
    count, taken = 20_000, b""
    inflater = Inflater(100)
    for piece in inflater.feed(compress(content) * count):
        taken += piece
        assert len(inflater._stream.unused_data) <= 16 * 1024
    assert len(inflater._stream.unused_data) <= 16 * 1024
    inflater.close()
    assert taken == content * count


def test_a_bomb_is_stopped_long_before_it_is_whole():
    bomb, out = gzip.compress(bytes(64 << 20)), []
    inflater = Inflater(100)
    with pytest.raises(MalformedReplyError, match="max_expansion=100"):
        out.extend(inflater.feed(bomb))
    assert inflate([gzip.compress(bytes(1 << 20))]) == bytes(1 << 20)
    assert inflate([bomb], max_expansion=2000) == bytes(64 << 20)


@pytest.mark.parametrize(
    "data",
    [b"no gzip at all", gzip.compress(TEXT)[:-9], gzip.compress(b"x") + b"rubbish", b"\x1f\x8b"],
    ids=["not compressed", "breaks off", "rubbish behind", "a beginning"],
)
def test_what_is_damaged_or_cut_is_refused(data):
    with pytest.raises(MalformedReplyError, match="it is compressed, and"):
        inflate([data])


@pytest.mark.parametrize(
    ("header", "compressed"),
    [(None, False), ("", False), ("Identity", False), ("gzip", True), (" X-GZIP", True)],
)
def test_encodings(header, compressed):
    assert is_compressed(header) is compressed


@pytest.mark.parametrize("header", ["br", "gzip, gzip", "zstd"])
def test_other_encodings_are_refused(header):
    with pytest.raises(MalformedReplyError, match="not asked for"):
        is_compressed(header)
