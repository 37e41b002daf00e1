"""Batches: a manifest of jobs goes in, outputs and `results.jsonl` come out.

    report = await run_batch("jobs.jsonl", "results", prodia=prodia)

Names load on first use, as those of `prodia_async` do.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from prodia_async.batch.manifest import Problem
    from prodia_async.batch.report import BatchReport, Progress
    from prodia_async.batch.runner import run_batch

_HOME_OF = {"BatchReport": "report", "Problem": "manifest", "Progress": "report", "run_batch": "runner"}

__all__ = ["BatchReport", "Problem", "Progress", "run_batch"]


def __getattr__(name: str) -> Any:
    home = _HOME_OF.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
