"""Goals, each printed as met or missed."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Goal:
    what: str
    value: str
    met: bool
    known: str = ""  # why it may be missed, where that is no surprise

    def __str__(self) -> str:
        reason = "" if self.met or not self.known else f"; {self.known}"
        return f"  {'met   ' if self.met else 'MISSED'}  {self.what}: {self.value}{reason}"
