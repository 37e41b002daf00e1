from __future__ import annotations

import json
from pathlib import Path


def echo(custom_id: str | None = None, **orders) -> dict:
    """A manifest line for a job with one small output; `orders` go to the emulator."""
    config = {"size": 10, "content_type": "text/plain"} | ({"emulator": orders} if orders else {})
    line = {"type": "emulator.bytes.v1", "config": config}
    return line if custom_id is None else line | {"custom_id": custom_id}


def read_results(out: Path) -> dict[str, dict]:
    """The records of a results folder, by custom_id."""
    lines = (out / "results.jsonl").read_text(encoding="utf-8").splitlines()
    records = [json.loads(line) for line in lines]
    assert len({record["custom_id"] for record in records}) == len(records)
    return {record["custom_id"]: record for record in records}
