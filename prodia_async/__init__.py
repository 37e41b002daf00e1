"""The async-first Python SDK for the Prodia Inference API v2.

    import asyncio
    from prodia_async import Prodia

    async def main() -> None:
        async with Prodia() as prodia:  # the token comes from PRODIA_TOKEN
            await prodia.run("inference.flux-fast.schnell.txt2img.v2", {"prompt": "a cat"}, to="cat.jpg")

    asyncio.run(main())

Beside what stands here:

- `prodia_async.blocking`: the same client without an event loop;
- `prodia_async.batch`: many jobs, with a journal and a spending limit; also the command `prodia-async batch`;
- `prodia_async.web`: outputs as responses of web servers;
- `prodia_async.stores`, `prodia_async.rows`: buckets, and data engines;
- `prodia_async.types`: what the signatures of a wrapper of your own need;
- `prodia_async.progress`: a progress bar, also in notebooks;
- `prodia_async.telemetry`: spans and metrics through OpenTelemetry;
- `prodia_async.emulator`: a local service for tests; `prodia_async.pytest_plugin` has fixtures.

Names load on first use.
"""

from __future__ import annotations

import importlib

TYPE_CHECKING = False  # typing's own costs 10 ms to import; type checkers know the name
if TYPE_CHECKING:
    from typing import Any

    from prodia_async._client import Prodia
    from prodia_async._engine import Outcome
    from prodia_async._errors import (
        APIError,
        AuthenticationError,
        BadRequestError,
        BudgetExceededError,
        CapacityError,
        ClientClosedError,
        InputError,
        JobFailedError,
        NotFoundError,
        OutputError,
        PermissionDeniedError,
        ProdiaError,
        ProdiaTimeoutError,
        ProtocolError,
        QueueFullError,
        ServerError,
        TransportError,
    )
    from prodia_async._files.outputs import File, Folder, MemorySink, Sink, Writer
    from prodia_async._files.sinks import FileSink, FolderSink
    from prodia_async._handles import Handle
    from prodia_async._models import (
        Attempt,
        Content,
        Job,
        JobResult,
        JobState,
        Metrics,
        Output,
        OutputInfo,
        Price,
    )
    from prodia_async._settings import Adaptive, Fixed, Limits, Polling, Retry, Timeouts
    from prodia_async._stats import Event, LimitChange, Stats, TypeStats
    from prodia_async._stream import Stream, StreamedOutput
    from prodia_async.remote import Remote

__version__ = "0.2.0"

_HOMES = {
    "_client": "Prodia",
    "_engine": "Outcome",
    "_errors": "APIError AuthenticationError BadRequestError BudgetExceededError CapacityError"
    " ClientClosedError InputError JobFailedError NotFoundError OutputError PermissionDeniedError"
    " ProdiaError ProdiaTimeoutError ProtocolError QueueFullError ServerError TransportError",
    "_files.outputs": "File Folder MemorySink Sink Writer",
    "_files.sinks": "FileSink FolderSink",
    "_handles": "Handle",
    "_models": "Attempt Content Job JobResult JobState Metrics Output OutputInfo Price",
    "_stats": "Event LimitChange Stats TypeStats",
    "_settings": "Adaptive Fixed Limits Polling Retry Timeouts",
    "_stream": "Stream StreamedOutput",
    "remote": "Remote",
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names.split()}

__all__ = [
    "APIError",
    "Adaptive",
    "Attempt",
    "AuthenticationError",
    "BadRequestError",
    "BudgetExceededError",
    "CapacityError",
    "ClientClosedError",
    "Content",
    "Event",
    "File",
    "FileSink",
    "Fixed",
    "Folder",
    "FolderSink",
    "Handle",
    "InputError",
    "Job",
    "JobFailedError",
    "JobResult",
    "JobState",
    "LimitChange",
    "Limits",
    "MemorySink",
    "Metrics",
    "NotFoundError",
    "Outcome",
    "Output",
    "OutputError",
    "OutputInfo",
    "PermissionDeniedError",
    "Polling",
    "Price",
    "Prodia",
    "ProdiaError",
    "ProdiaTimeoutError",
    "ProtocolError",
    "QueueFullError",
    "Remote",
    "Retry",
    "ServerError",
    "Sink",
    "Stats",
    "Stream",
    "StreamedOutput",
    "Timeouts",
    "TransportError",
    "TypeStats",
    "Writer",
    "__version__",
]


def __getattr__(name: str) -> Any:
    home = _HOME_OF.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
