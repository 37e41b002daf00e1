"""Records of a CSV stream (RFC 4180), read as they come, none held that is too long.

A cell holds at most `csv.field_size_limit()` characters, 131,072 unless the program set it otherwise.
"""

from __future__ import annotations

import csv
from collections import deque
from typing import TYPE_CHECKING

from msgspec import Struct

from prodia_async.batch._drafts import NOT_TEXT, TOO_LONG
from prodia_async.batch._lines import MAX_LINE

if TYPE_CHECKING:
    from prodia_async.batch._lines import Line, LineReader


class Record(Struct, frozen=True):
    """A record that is not blank: the line that it begins on, its cells, and what is wrong with it."""

    line: int
    cells: list[str]
    problem: str | None = None


class RecordReader:
    """Reads records from lines. All of it blocks."""

    def __init__(self, lines: LineReader) -> None:
        self._feed = _Feed(lines)
        self._reader = csv.reader(self._feed, strict=True)

    def read(self) -> list[Record] | None:
        """Return the records that are there, at least one, or that come next; None at the end."""
        records: list[Record] = []
        while (record := self.next(wait=not records)) is not None:
            records.append(record)
        return records or None

    def next(self, *, wait: bool = True) -> Record | None:
        """Return the next record; None at the end, or, unless it may `wait`, where lines have yet to come."""
        while True:
            self._feed.begin(wait=wait)
            try:
                cells = next(self._reader)
            except (StopIteration, _DryError):
                self._feed.put_back()
                return None
            except csv.Error as error:
                self._feed.leave_cell()
                return Record(self._feed.first, [], self._feed.problem or f"not CSV: {error}")
            if any(map(str.strip, cells)):
                return Record(self._feed.first, cells, self._feed.problem)


class _DryError(Exception):
    """No line is there, and none is waited for."""


class _Feed:
    """Hands lines to the csv module, which asks for more of them until its record is whole."""

    def __init__(self, lines: LineReader) -> None:
        self._lines = lines
        self._waiting: deque[Line] = deque()
        self._taken: list[Line] = []
        self._size = 0
        self._wait = True
        self._skipping = False
        self.problem: str | None = None

    @property
    def first(self) -> int:
        """The number of the line that the record begins on."""
        return self._taken[0].number

    def begin(self, *, wait: bool) -> None:
        """Begin a record."""
        self._taken.clear()
        self._size = 0
        self._wait = wait
        self.problem = None

    def put_back(self) -> None:
        """Keep a record's lines until the others are there: the csv module forgets them.

        It happens once to a record at most, since the first one of a reading waits.
        """
        self._waiting.extendleft(reversed(self._taken))

    def leave_cell(self) -> None:
        """Skip the rest of a cell that is too long: what stands in it must not be taken for records.

        After any other mistake the next line is taken for a record.
        """
        if self._size > min(csv.field_size_limit(), MAX_LINE):
            self._skipping = sum(map(_quotes, self._taken)) % 2 == 1

    def __iter__(self) -> _Feed:
        return self

    def __next__(self) -> str:
        line = self._next_line()
        while self._skipping:
            self._skipping = _quotes(line) % 2 == 0
            line = self._next_line()
        self._taken.append(line)
        if line.text is None:
            raise csv.Error(TOO_LONG)
        self._size += len(line.text) + 1
        if self._size > MAX_LINE:
            raise csv.Error(TOO_LONG)
        try:
            return line.text.decode() + "\n"
        except UnicodeDecodeError:
            self.problem = NOT_TEXT
            return line.text.decode(errors="replace") + "\n"

    def _next_line(self) -> Line:
        while not self._waiting:
            if not self._wait:
                raise _DryError
            lines = self._lines.read()
            if lines is None:
                raise StopIteration
            self._waiting.extend(lines)
        return self._waiting.popleft()


def _quotes(line: Line) -> int:
    return 0 if line.text is None else line.text.count(b'"')
