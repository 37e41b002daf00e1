"""Jobs written down as a manifest of JSON lines."""

# ruff: noqa: PTH100, PTH110, PTH113, PTH121 - Path's own follow links, or raise where a folder cannot be read
from __future__ import annotations

import os
import secrets
from typing import TYPE_CHECKING

import msgspec

from prodia_async._errors import InputError, quoted, reason_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from prodia_async._models import Input, Job


class Written:
    """A manifest under a temporary name: `add` jobs, `keep` it under `path`; `close` drops what was not kept.

    Inputs are relative to its folder where they lie in it. `source`, what the jobs are made of, and their
    inputs are never replaced. All of it blocks. Raises InputError.
    """

    def __init__(self, path: Path, source: object) -> None:
        self._path = path
        self._place = os.path.abspath(path)
        if os.path.exists(path):
            place = os.fspath(source) if isinstance(source, str | os.PathLike) else ""
            if os.path.exists(place) and os.path.samefile(path, place):
                raise self._own(place)
            if not os.path.isfile(path):
                raise InputError(f"the manifest {quoted(str(path))} cannot be written: it is no regular file")
        self._folder = f"{os.path.abspath(path.parent)}{os.sep}"
        self._temporary = path.with_name(f"{path.name}.{secrets.token_hex(4)}.part")
        try:
            self._file = self._temporary.open("xb")
        except OSError as error:
            raise self._unwritten(error) from error

    def add(self, jobs: Sequence[Job]) -> None:
        """Write jobs."""
        try:
            self._file.writelines(msgspec.json.encode(self._line(job)) + b"\n" for job in jobs)
        except OSError as error:
            raise self._unwritten(error) from error

    def keep(self) -> None:
        """Give the file its name, in place of one that has it."""
        try:
            self._file.close()
            self._temporary.replace(self._path)
        except OSError as error:
            raise self._unwritten(error) from error

    def close(self) -> None:
        """Close the file, and remove it unless it was kept."""
        self._file.close()
        self._temporary.unlink(missing_ok=True)

    def _line(self, job: Job) -> dict[str, object]:
        line = {
            "custom_id": job.custom_id,
            "type": job.type,
            "config": job.config,
            "inputs": list(map(self._name, job.inputs)),
            "accept": job.accept,
            "priority": job.priority,
            "mode": None if job.mode == "sync" else job.mode,
            "extra": job.extra,
        }
        return {key: value for key, value in line.items() if value}

    def _name(self, given: Input) -> str:
        if not isinstance(given, os.PathLike):
            raise InputError(f"a manifest can name files alone, and an input is {type(given).__name__}")
        name = os.fspath(given)
        if name == self._place:
            raise self._own(name)
        return name.removeprefix(self._folder)

    def _own(self, source: str) -> InputError:
        return InputError(
            f"the manifest would replace {quoted(source)}, which it is made of: name another file"
        )

    def _unwritten(self, error: OSError) -> InputError:
        return InputError(f"the manifest {quoted(str(self._path))} cannot be written: {reason_of(error)}")
