"""The table of faults in docs/emulator.md is the one of the code."""

from __future__ import annotations

from pathlib import Path

from prodia_async.emulator._faults.table import FAULTS, Fault

DOCS = Path(__file__).parents[2] / "docs" / "emulator.md"


def row(fault: Fault) -> str:
    ran = "yes" if fault.ran else "no"
    return f"| `{fault.name}` | {fault.stage} | {fault.does} | {ran} | {fault.asked} |"


def test_the_docs_list_every_fault():
    lines = DOCS.read_text(encoding="utf-8").splitlines()
    start = lines.index("| fault | stage | what the client meets | ran | asynchronous |")
    assert lines[start + 2 : start + 2 + len(FAULTS)] == [row(fault) for fault in FAULTS.values()]
    assert not lines[start + 2 + len(FAULTS)].startswith("|")
