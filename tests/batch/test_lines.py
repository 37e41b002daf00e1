from __future__ import annotations

import io
import os

import pytest

from prodia_async.batch._lines import MAX_LINE, Line, LineReader

TEXT = b"\xef\xbb\xbfone\r\n\n  \ntwo\n" + "drei ä".encode() + b"\n\nlast"
LINES = [
    (1, b"one\r"),
    (2, b""),
    (3, b"  "),
    (4, b"two"),
    (5, "drei ä".encode()),
    (6, b""),
    (7, b"last"),
]


class InPieces:
    """A stream that gives its content in the pieces that it was cut into."""

    def __init__(self, *pieces: bytes) -> None:
        self._pieces = list(pieces)

    def read(self, _size: int) -> bytes:
        return self._pieces.pop(0) if self._pieces else b""


def read_all(stream) -> list[tuple[int, bytes | None]]:
    reader = LineReader(stream)
    found = []
    while (lines := reader.read()) is not None:
        found += [(line.number, line.text) for line in lines]
    assert reader.read() is None
    return found


@pytest.mark.parametrize("cut", range(1, len(TEXT)))
def test_lines_are_the_same_wherever_the_stream_is_cut(cut):
    assert read_all(InPieces(TEXT[:cut], TEXT[cut:])) == LINES


def test_an_empty_stream_has_no_lines_and_blank_ones_count():
    assert read_all(io.BytesIO(b"")) == []
    assert read_all(io.BytesIO(b"\n \n")) == [(1, b""), (2, b" ")]


def test_white_space_alone_is_blank():
    assert [Line(1, text).blank for text in (b"", b" \t\r", b" x", None)] == [True, True, False, False]


def test_the_first_line_that_is_not_blank_can_be_looked_at_and_is_read_all_the_same():
    reader = LineReader(InPieces(b"\n \n", b"", b"never"))
    assert reader.peek() is None
    reader = LineReader(InPieces(b"\n\n", b"  \nfirst\nsecond\n", b"third"))
    assert reader.peek() == Line(4, b"first")
    assert reader.read() == [Line(4, b"first"), Line(5, b"second")]
    assert reader.read() == []
    assert reader.read() == [Line(6, b"third")]
    assert reader.read() is None


@pytest.mark.parametrize("end", [b"", b"\n", b"\nnext\n"])
def test_a_line_that_is_too_long_is_told_and_not_kept(end):
    stream = io.BytesIO(b"a\n" + b"x" * (MAX_LINE + 1) + end)
    after = [(3, b"next")] if b"next" in end else []
    assert read_all(stream) == [(1, b"a"), (2, None), *after]


def test_the_longest_line_is_read():
    assert read_all(io.BytesIO(b"x" * MAX_LINE + b"\n")) == [(1, b"x" * MAX_LINE)]


def test_what_stands_in_a_pipe_is_read_without_waiting_for_more():
    reading, writing = os.pipe()
    with open(reading, "rb") as stream, open(writing, "wb", buffering=0) as pipe:
        pipe.write(b"one\ntw")
        reader = LineReader(stream)
        assert [line.text for line in reader.read()] == [b"one"]
        pipe.write(b"o\n")
        assert [line.text for line in reader.read()] == [b"two"]
