"""Batches: a manifest of jobs goes in, outputs and `results.jsonl` come out.

    report = await run_batch("jobs.jsonl", "results", prodia=prodia)

Names load on first use, as those of `prodia_async` do.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from prodia_async.batch._manifest import Problem, Shard
    from prodia_async.batch._page import write_report
    from prodia_async.batch._records import Record
    from prodia_async.batch._report import BatchReport, ManifestCheck, Progress
    from prodia_async.batch._results import read_results, write_results
    from prodia_async.batch._runner import check_manifest, run_batch

_HOME_OF = {
    "BatchReport": "_report",
    "ManifestCheck": "_report",
    "Problem": "_manifest",
    "Progress": "_report",
    "Record": "_records",
    "Shard": "_manifest",
    "check_manifest": "_runner",
    "read_results": "_results",
    "run_batch": "_runner",
    "write_report": "_page",
    "write_results": "_results",
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
