"""Batches: a manifest of jobs goes in, outputs and `results.jsonl` come out.

    report = await run_batch("jobs.jsonl", "results", prodia=prodia)

Names load on first use, as those of `prodia_async` do.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from prodia_async.batch.manifest import Problem, Shard
    from prodia_async.batch.page import write_report
    from prodia_async.batch.records import Record
    from prodia_async.batch.report import BatchReport, ManifestCheck, Progress
    from prodia_async.batch.results import read_results, write_results
    from prodia_async.batch.runner import check_manifest, run_batch

_HOME_OF = {
    "BatchReport": "report",
    "ManifestCheck": "report",
    "Problem": "manifest",
    "Progress": "report",
    "Record": "records",
    "Shard": "manifest",
    "check_manifest": "runner",
    "read_results": "results",
    "run_batch": "runner",
    "write_report": "page",
    "write_results": "results",
}

__all__ = [
    "BatchReport",
    "ManifestCheck",
    "Problem",
    "Progress",
    "Record",
    "Shard",
    "check_manifest",
    "read_results",
    "run_batch",
    "write_report",
    "write_results",
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
