"""Print what the client makes of each fault, and where docs/verdicts.md differs: python tests/verdicts."""

from __future__ import annotations

import asyncio
import pathlib
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))  # for the tests' own helpers

from verdicts.rows import HEAD, ROWS
from verdicts.trials import meet, serving


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


async def main() -> int:
    """Meet each fault once; return how many rows were not as expected."""
    unexpected = 0
    say(HEAD)
    with serving() as service, tempfile.TemporaryDirectory() as place:
        for row in ROWS:
            folder = pathlib.Path(place) / row.fault / "outputs"
            folder.mkdir(parents=True)
            surprises = (await meet(row, service, folder)).surprises(row)
            unexpected += bool(surprises)
            say(" ".join([row.line, *(f"unexpected: {surprise}" for surprise in surprises)]))
    say(f"\n{len(ROWS)} faults, {unexpected} unexpected")
    return unexpected


if __name__ == "__main__":
    sys.exit(min(1, asyncio.run(main(), debug=True)))
