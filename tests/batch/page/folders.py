"""Folders of batches, made by the journal itself."""

from __future__ import annotations

import asyncio
import itertools
import json
import time
from collections.abc import Iterable
from pathlib import Path

from prodia_async import Job
from prodia_async.batch._entries import Entry
from prodia_async.batch._journal import Journal, Sample
from prodia_async.batch._results import write_results


async def fill(folder: Path, records: Iterable[dict], samples: Iterable[Sample] = ()) -> Path:
    """Write records and samples into the journal of a folder, and `results.jsonl`; return the folder."""
    journal = await Journal.open(folder, wall=time.time)
    try:
        rest = iter(records)
        while block := list(itertools.islice(rest, 500)):
            await asyncio.gather(*(_add(journal, record) for record in block))
        for sample in samples:
            journal.sample(sample)
    finally:
        await journal.aclose()
    await asyncio.to_thread(write_results, folder)
    return folder


async def _add(journal: Journal, record: dict) -> None:
    custom_id, line = record["custom_id"], json.dumps(record).encode()
    await journal.sent(Entry(1, Job("t", {}, custom_id=custom_id), bytes(16), b""), 0.0)
    if record["status"] == "failed":
        journal.failed(custom_id, line, None, uncertain=None)
    else:
        outputs = [(output["path"], output["bytes"]) for output in record["outputs"]]
        await journal.done(custom_id, line, outputs, None)
