"""CSV manifests: a header that names the columns, then a job in each row."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from prodia_async._errors import InputError, quoted
from prodia_async._models import Mode
from prodia_async.batch._csv_records import Record, RecordReader
from prodia_async.batch._drafts import Draft

if TYPE_CHECKING:
    from collections.abc import Sequence

    from prodia_async.batch._drafts import Numbered
    from prodia_async.batch._lines import LineReader

_PLAIN = ("custom_id", "type", "input", "inputs", "accept", "priority", "mode")
_PROMPT = ("config", "prompt")
_KNOWN = "custom_id, type, prompt, input, inputs, accept, priority, mode, config.<key> and extra.<key>"


class CsvDrafts:
    """A manifest in CSV. Raises InputError for a header that cannot be read. Blocks until that is there."""

    words: frozenset[str] | None = None

    def __init__(self, lines: LineReader) -> None:
        self._records = RecordReader(lines)
        header = self._records.next()
        if header is None:
            raise InputError(f"the manifest is empty: its first line names the columns, such as {_KNOWN}")
        if header.problem is not None:
            raise InputError(f"the manifest's header, line {header.line}, is {header.problem}")
        self._columns = _Columns(header.cells)

    def read(self) -> list[Numbered] | None:
        """Return the drafts of the next rows; None at the end. Blocks."""
        records = self._records.read()
        return None if records is None else [(record.line, self._draft(record)) for record in records]

    def _draft(self, record: Record) -> Draft | InputError:
        if record.problem is not None:
            return InputError(record.problem)
        try:
            return self._columns.draft(record.cells)
        except InputError as error:
            return error


class _Columns:
    """What the columns of a header mean."""

    def __init__(self, header: Sequence[str]) -> None:
        self._names = [cell.strip() for cell in header]
        self._places: dict[str, int] = {}
        self._keys: list[tuple[int, tuple[str, ...]]] = []
        for index, name in enumerate(self._names):
            self._add(index, name)

    def _add(self, index: int, name: str) -> None:
        path = tuple(name.split(".")) if name.startswith(("config.", "extra.")) else ()
        if name == "prompt":
            path = _PROMPT
        if path and all(path):
            self._add_key(index, name, path)
        elif name not in _PLAIN:
            raise InputError(
                f"the manifest has a column {quoted(name)}, which is unknown: columns are {_KNOWN}, "
                "separated by commas (and each of JSON lines begins with '{')"
            )
        elif name in self._places:
            raise InputError(f"the manifest has two columns {quoted(name)}")
        else:
            self._places[name] = index

    def _add_key(self, index: int, name: str, path: tuple[str, ...]) -> None:
        for place, other in self._keys:
            shorter = min(len(path), len(other))
            if path[:shorter] == other[:shorter]:
                raise InputError(
                    f"the manifest's columns {quoted(self._names[place])} and {quoted(name)} say the same"
                )
        self._keys.append((index, path))

    def draft(self, cells: Sequence[str]) -> Draft:
        """Return what a row says; an empty cell says nothing. Raises InputError."""
        if len(cells) != len(self._names):
            raise InputError(f"{len(cells)} cells stand in the row, and {len(self._names)} in the header")
        plain = {name: cells[index] for name, index in self._places.items() if cells[index].strip()}
        inputs = [plain["input"]] if "input" in plain else []
        inputs += [name.strip() for name in plain.get("inputs", "").split(";") if name.strip()]
        return Draft(
            type=plain["type"].strip() if "type" in plain else None,
            **self._values(cells),
            inputs=inputs,
            accept=plain["accept"].strip() if "accept" in plain else None,
            custom_id=plain.get("custom_id"),
            priority=_priority(plain.get("priority", "0")),
            mode=_mode(plain["mode"].strip()) if "mode" in plain else None,
        )

    def _values(self, cells: Sequence[str]) -> dict[str, Any]:
        """Return the config and the extra fields that a row says."""
        values: dict[str, Any] = {"config": {}, "extra": {}}
        for index, path in self._keys:
            if not cells[index]:
                continue
            place = values
            for key in path[:-1]:
                place = place.setdefault(key, {})
            place[path[-1]] = (
                cells[index] if is_prompt(path[-1]) else _value(cells[index], self._names[index])
            )
        return values


def is_prompt(key: str) -> bool:
    """Tell whether a value of the config is text whatever it looks like, here and on the command line."""
    return key == "prompt" or key.endswith("_prompt")


def _priority(cell: str) -> int:
    try:
        return int(cell)
    except ValueError:
        raise InputError(f"`priority` is {quoted(cell)}, not a whole number") from None


def _mode(cell: str) -> Mode:
    try:
        mode: Mode = msgspec.convert(cell, Mode)
    except msgspec.ValidationError:
        raise InputError(f"`mode` is {quoted(cell)}, not sync or async") from None
    return mode


def _value(cell: str, column: str) -> Any:
    """Return a cell's value: JSON where it is JSON, else text."""
    try:
        return msgspec.json.decode(cell)
    except msgspec.DecodeError:
        return cell
    except RecursionError:
        raise InputError(f"column {quoted(column)} is nested too deeply for JSON") from None
