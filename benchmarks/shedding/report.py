"""The tables that are printed: what was measured beside what was to be reached."""

from __future__ import annotations

from typing import TYPE_CHECKING

from goals import FAIRNESS_GOALS, GOALS, SHARING_GOALS
from limits import EXPLAINED, Limit, Runs, mean, worst
from peers import PEERS, WORLDS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from trial import Measures

COLUMNS = {
    "span/ideal": ("span", 2),
    "goodput": ("goodput", 3),
    "sheds/job": ("sheds", 3),
    "most of a job": ("most", 0),
    "Jain": ("jain", 2),
    "re-converge s": ("reconverge", 1),
    "early": ("early", 0),
}
FAIRNESS_COLUMNS = {
    "span/ideal": ("span", 2),
    "goodput": ("goodput", 3),
    "sheds/job": ("sheds", 3),
    "Jain": ("jain", 2),
    "half share, S": ("half", 0),
    "worst p95 s": ("p95", 1),
}
SHARING_COLUMNS = {
    "span/ideal": ("span", 2),
    "goodput": ("goodput", 3),
    "sheds/job": ("sheds", 3),
    "server free s": ("free", 1),
}
EXTRAS = {
    "first": "first job s",
    "reconverge": "90 % s",
    "p50": "wait p50",
    "p99": "p99",
    "longest": "longest",
    "shed_share": "shed share",
    "dead_requests": "dead requests",
    "done": "healthy done",
    "sheds_after": "sheds after the change",
    "sheds_b": "sheds/job of the second",
    "most": "most of a job",
    "jain": "Jain",
}
WIDE, NARROW = 35, 15
PEER_WIDE = 44


def cell(runs: list[Measures], key: str, digits: int) -> str:
    """Return mean (worst)."""
    if key not in runs[0]:
        return "-"
    return f"{mean(runs, key):.{digits}f} ({worst(runs, key):.{digits}f})"


def line(first: str, cells: Iterable[str], last: str = "", *, wide: int = WIDE) -> str:
    return (first.ljust(wide) + "".join(text.ljust(NARROW) for text in cells) + last).rstrip()


def table(title: str, runs: Runs, names: Iterable[str]) -> None:
    """Print the limiter's own scenarios, each above its goal."""
    names = [name for name in names if name in runs]
    if not names:
        return
    print(f"\n{title}\n")
    print(line("mean (worst)", COLUMNS))
    for name in names:
        cells = [cell(runs[name], key, digits) for key, digits in COLUMNS.values()]
        if name.startswith("open"):
            cells[0] = "-"
        print(line(name, cells))
        if name in GOALS:
            print(line("    goal", [*GOALS[name], "0"]))


def fairness_table(runs: Runs, names: Iterable[str]) -> None:
    """Print the scenarios of fair shares, each above its goal."""
    names = [name for name in names if name in runs]
    if not names:
        return
    print("\nFair shares\n")
    print(line("mean (worst)", FAIRNESS_COLUMNS))
    for name in names:
        print(line(name, [cell(runs[name], key, digits) for key, digits in FAIRNESS_COLUMNS.values()]))
        if name in FAIRNESS_GOALS:
            print(line("    goal", FAIRNESS_GOALS[name]))


def sharing_table(runs: Runs, names: Iterable[str]) -> None:
    """Print the limiter's scenarios, each above its goal."""
    names = [name for name in names if name in runs]
    if not names:
        return
    print("\nThe limiter's scenarios\n")
    print(line("mean (worst)", [*SHARING_COLUMNS, "in flight A/B"], "other"))
    for name in names:
        mine = runs[name]
        cells = [cell(mine, key, digits) for key, digits in SHARING_COLUMNS.values()]
        out = [f"{mean(mine, key):.1f}" if key in mine[0] else "-" for key in ("out_a", "out_b")]
        digits = {"most": 0, "dead_requests": 0, "done": 0, "sheds_after": 0, "shed_share": 3}
        other = [
            f"{said} {cell(mine, key, digits.get(key, 2))}"
            for key, said in EXTRAS.items()
            if key in mine[0] and (key != "jain" or "types" in name)
        ]
        print(line(name, [*cells, "" if out == ["-", "-"] else "/".join(out)], ", ".join(other)))
        *cells, rest = SHARING_GOALS[name]
        print(line("    goal", cells, rest))


def limits_table(title: str, runs: Runs, limits: list[Limit]) -> int:
    """Print each row with the tightest value of each measure; return how many misses have no reason."""
    print(f"\n{title}\n")
    unexplained = 0
    for limit in limits:
        results = limit.results(runs)
        if not results:
            continue
        tightest: dict[str, tuple[float, str]] = {}
        for _, key, value, sign, bound, _ in results:
            room = (bound - value if sign == "<=" else value - bound) / (abs(bound) or 1)
            shown = f"{key} {value:.3g} {sign} {bound:g}"
            tightest[key] = min(tightest.get(key, (room, shown)), (room, shown))
        missed = [result for result in results if not result[-1]]
        shown = ", ".join(text for _, text in tightest.values())
        print(f"{'MISSED' if missed else 'met':7} {limit.label:43} {shown}")
        for name, key, value, sign, bound, _ in missed:
            reason = EXPLAINED.get((name, key))
            unexplained += reason is None
            print(f"        {name}: {key} {value:.4g}, limit {sign} {bound:g}, by {abs(value - bound):.3g}")
            print(f"          {reason or 'NOT EXPLAINED'}")
    return unexplained


def peers_table(runs: Runs) -> None:
    """Print what clients without a limiter do in the same worlds."""
    if not any(f"{peer}: {world}" in runs for world in WORLDS for peer in PEERS):
        return
    print("\nBeside clients without a limiter\n")
    print(line("", ["requests/job", "jobs lost", "most of a job", "goodput", "over after s"], wide=PEER_WIDE))
    for world in WORLDS:
        for peer in PEERS:
            mine = runs.get(f"{peer}: {world}")
            if mine is None:
                continue
            lost = f"{mean(mine, 'lost'):.0f} of {WORLDS[world][1]}"
            cells = [cell(mine, "requests", 2), lost, cell(mine, "most", 0), cell(mine, "goodput", 3)]
            print(line(f"{world}, {peer}", [*cells, f"{mean(mine, 'seconds'):.0f}"], wide=PEER_WIDE))
