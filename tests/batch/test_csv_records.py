from __future__ import annotations

import csv
import io
import os

import pytest

from prodia_async.batch._csv_records import Record, RecordReader
from prodia_async.batch._lines import LineReader

TEXT = (
    b"\xef\xbb\xbfa,b\r\n"
    b'1,"two, and ""three"""\r\n'
    b"\n"
    b" , \n"
    b'"more\r\n\nlines",5" disk\n' + "é,ü\n".encode() + b'"",last'
)
RECORDS = [
    Record(1, ["a", "b"]),
    Record(2, ["1", 'two, and "three"']),
    Record(5, ["more\r\n\nlines", '5" disk']),
    Record(8, ["é", "ü"]),
    Record(9, ["", "last"]),
]


class InPieces:
    """A stream that gives its content in the pieces that it was cut into."""

    def __init__(self, *pieces: bytes) -> None:
        self._pieces = list(pieces)

    def read(self, _size: int) -> bytes:
        return self._pieces.pop(0) if self._pieces else b""


def read_all(*pieces: bytes) -> list[Record]:
    reader = RecordReader(LineReader(InPieces(*pieces)))
    found = []
    while (records := reader.read()) is not None:
        found += records
    assert reader.read() is None
    return found


@pytest.mark.parametrize("cut", range(1, len(TEXT)))
def test_records_are_the_same_wherever_the_stream_is_cut(cut):
    assert read_all(TEXT[:cut], TEXT[cut:]) == RECORDS


def test_records_are_the_same_byte_by_byte():
    assert read_all(*[bytes([byte]) for byte in TEXT]) == RECORDS


def test_a_stream_of_blank_lines_has_no_records():
    assert read_all(b"") == []
    assert read_all(b"\n ,,\n") == []


def test_mistakes_are_told_and_the_next_line_is_read():
    found = read_all(b'a,b\n"say "hi" to",x\nc\xff,d\ne,f\rg\n"h",i\n')
    assert [record.line for record in found] == [1, 2, 3, 4, 5]
    assert found[1].problem.startswith("not CSV: ")
    assert found[2].problem == "not UTF-8 text"
    assert found[3].problem.startswith("not CSV: ")
    assert found[4] == Record(5, ["h", "i"])


def test_a_quoted_cell_that_never_ends_is_told_by_its_first_line():
    found = read_all(b'a\nb\n"c\nd\n')
    assert found[:2] == [Record(1, ["a"]), Record(2, ["b"])]
    assert found[2].line == 3
    assert found[2].problem.startswith("not CSV: ")
    assert len(found) == 3


def test_a_cell_that_is_too_long_is_told_and_no_part_of_it_is_a_record():
    long = b"a sentence, on a line\n" * (csv.field_size_limit() // 10)
    pieces = [b'a,b\n1,"', *[long[at : at + 65_536] for at in range(0, len(long), 65_536)], b'",end\nc,d\n']
    found = read_all(*pieces)
    assert found[0] == Record(1, ["a", "b"])
    assert found[1].line == 2
    assert "larger than field limit" in found[1].problem
    assert found[2:] == [Record(3 + long.count(b"\n"), ["c", "d"])]


def test_a_cell_that_is_too_long_may_be_the_last():
    found = read_all(b'a\n"' + b"x\n" * csv.field_size_limit())
    assert [record.line for record in found] == [1, 2]


def test_a_long_cell_on_one_line_costs_only_its_own_record():
    long = b"x" * (csv.field_size_limit() + 1)
    found = read_all(b"a\n" + long + b'\nb\n"' + long + b'"\nc\n')
    assert [record.cells for record in found if record.problem is None] == [["a"], ["b"], ["c"]]


def test_a_record_of_many_cells_is_bounded_too():
    cell = b'"' + b"x" * 100_000 + b'\n",'
    found = read_all(b"a\n", *[cell] * 60, b"\nb\n")
    assert found[1].line == 2
    assert found[1].problem == "not CSV: longer than 4 MiB"
    assert found[-1] == Record(63, ["b"])


def test_a_line_that_is_too_long_is_told():
    found = read_all(b"a\n", *[b"x," * 500_000] * 5, b"\nb\n")
    assert [(record.line, record.problem) for record in found] == [
        (1, None),
        (2, "not CSV: longer than 4 MiB"),
        (3, None),
    ]


def test_what_stands_in_a_pipe_is_read_without_waiting_for_more():
    reading, writing = os.pipe()
    with open(reading, "rb", buffering=0) as stream, open(writing, "wb", buffering=0) as pipe:
        reader = RecordReader(LineReader(stream))
        pipe.write(b'a\nb\n"c\n')  # the last record is not whole
        assert [record.cells for record in reader.read()] == [["a"], ["b"]]
        pipe.write(b'd"\ne\nf')
        assert [record.cells for record in reader.read()] == [["c\nd"], ["e"]]
        pipe.close()
        assert [record.cells for record in reader.read()] == [["f"]]


def test_the_next_record_is_waited_for_or_not():
    reader = RecordReader(LineReader(io.BytesIO(b"a\n")))
    assert reader.next(wait=False) is None
    assert reader.next() == Record(1, ["a"])
    assert reader.next() is None
