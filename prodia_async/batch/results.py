"""`results.jsonl`: one JSON object for each job, written as the outcomes come."""

from __future__ import annotations

import contextlib
import os
from typing import IO, TYPE_CHECKING, Any

import msgspec

from prodia_async._errors import InputError, OutputError
from prodia_async._files.hops import hop, start

if TYPE_CHECKING:
    from pathlib import Path

    from prodia_async._errors import ProdiaError
    from prodia_async._models import JobResult, Output

Record = dict[str, Any]


def done(custom_id: str | None, result: JobResult, folder: Path | None = None) -> Record:
    """Return the record of a job that is done; paths are relative to `folder`, where it is given."""
    return {
        "custom_id": custom_id,
        "status": "done",
        "job": result.raw,
        "outputs": [_output(output, folder) for output in result.outputs],
        "error": None,
        "attempts": result.attempts,
    }


def failed(custom_id: str | None, error: ProdiaError, folder: Path | None = None) -> Record:
    """Return the record of a job that failed; outputs that were kept all the same are named."""
    result: JobResult | None = getattr(error, "result", None)
    written = error.written if isinstance(error, OutputError) else ()
    return {
        "custom_id": custom_id,
        "status": "failed",
        "job": None if result is None else result.raw,
        "outputs": [{"path": _name(path, folder), "content_type": None, "bytes": None} for path in written],
        "error": {
            "type": type(error).__name__,
            "message": error.message,
            "status": getattr(error, "status", None),
            "request_id": getattr(error, "request_id", None),
            "may_have_run": error.may_have_run,
        },
        "attempts": error.attempts,
    }


class ResultsFile:
    """`results.jsonl` of a folder that has none yet."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "results.jsonl"
        self._file: IO[bytes] | None = None

    async def open(self) -> None:
        """Make the file, and its folder. Raises InputError where that fails or it is there already."""
        self._file = await hop(_create, self.path, undo=lambda file: file.close())

    async def add(self, record: Record) -> None:
        """Append a line, also when cancelled meanwhile. Raises OutputError where it cannot be written."""
        if self._file is None:
            raise AssertionError("results are opened before they are written")
        trip = start(_write, self._file, msgspec.json.encode(record) + b"\n")
        await trip.settled()
        try:
            await trip.result()
        except OSError as error:
            raise OutputError(
                f"{str(self.path)!r} could not be written: {error.strerror or error}"
            ) from error

    async def aclose(self) -> None:
        """Close the file; one without a line is removed, so that the same command can run again."""
        if self._file is not None:
            file, self._file = self._file, None
            await hop(_close, file, self.path)


def _create(path: Path) -> IO[bytes]:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return path.open("xb", buffering=0)
    except FileExistsError as error:
        if not path.exists():  # a file stands where the folder should be
            raise InputError(f"{str(path.parent)!r} is no folder: choose another place") from error
        raise InputError(
            f"{str(path.parent)!r} holds the results of an earlier batch ({path.name}): choose another "
            "folder, or move that one away. To run them again is to pay for them again."
        ) from error
    except OSError as error:
        reason = error.strerror or error
        raise InputError(f"{str(path)!r} cannot be written: {reason}: choose another place") from error


def _write(file: IO[bytes], line: bytes) -> None:
    rest = memoryview(line)
    while rest:
        rest = rest[file.write(rest) :]


def _close(file: IO[bytes], path: Path) -> None:
    is_empty = os.fstat(file.fileno()).st_size == 0
    file.close()
    if is_empty:
        with contextlib.suppress(OSError):
            path.unlink()


def _output(output: Output, folder: Path | None) -> Record:
    path = None if output.path is None else _name(output.path, folder)
    return {"path": path, "content_type": output.content_type, "bytes": output.size}


def _name(path: Path, folder: Path | None) -> str:
    return str(path) if folder is None else path.relative_to(folder).as_posix()
