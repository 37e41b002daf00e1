from __future__ import annotations

import time
from pathlib import Path

from prodia_async.batch import BatchReport

PLAIN = BatchReport(
    ending="complete",
    done=3,
    failed=0,
    skipped=0,
    problem_count=0,
    problems=(),
    interrupted=0,
    submitted=0,
    lost_count=0,
    lost=(),
    missing=0,
    requests=5,
    shed=2,
    seconds=1.5,
    dollars=None,
    uncertain=0.0,
    uncertain_attempts=0,
    overrun=0.0,
    reason=None,
    out=Path("out"),
    results=Path("out/results.jsonl"),
)
"""A batch of three jobs that ended well."""


def echo(custom_id: str, **orders) -> dict:
    """A manifest line for a job with one small output; `orders` go to the emulator."""
    config = {"size": 3, "name": custom_id, "emulator": orders}
    return {"custom_id": custom_id, "type": "emulator.bytes.v1", "config": config}


def wait_for(condition, process) -> None:
    """Wait until the condition holds, for at most 60 seconds."""
    end = time.monotonic() + 60
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end
        time.sleep(0.01)
