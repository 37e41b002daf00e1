"""Medians with their spread, and goals that are met or missed."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Spread:
    """The median of several rounds, and the least and the most of them."""

    median: float
    least: float
    most: float

    def text(self, digits: int = 2, factor: float = 1.0) -> str:
        middle, least, most = (
            f"{value * factor:,.{digits}f}" for value in (self.median, self.least, self.most)
        )
        return middle if least == most else f"{middle} ({least}-{most})"


def spread(values: Sequence[float]) -> Spread:
    return Spread(statistics.median(values), min(values), max(values))


def ratios(of: Sequence[float], to: Sequence[float]) -> Spread:
    """Return the ratios of what was measured side by side, round by round."""
    return spread([mine / its for mine, its in zip(of, to, strict=True)])


def differences(of: Sequence[float], to: Sequence[float]) -> Spread:
    return spread([mine - its for mine, its in zip(of, to, strict=True)])


@dataclass(frozen=True)
class Goal:
    what: str
    value: str
    met: bool

    def __str__(self) -> str:
        return f"  {'met   ' if self.met else 'MISSED'}  {self.what}: {self.value}"


def at_most(what: str, value: float, bound: float, unit: str = "") -> Goal:
    return Goal(f"{what}, at most {bound:g}{unit}", f"{value:.2f}{unit}", value <= bound)


def alike(what: str, values: Sequence[float], within: float = 0.25) -> Goal:
    """Return the goal that the values are within 25 % of each other."""
    apart = max(values) / min(values) - 1 if min(values) > 0 else float("inf")
    return Goal(f"{what}, within {within:.0%} of each other", f"{apart:.0%} apart", apart <= within)
