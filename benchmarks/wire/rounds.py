"""One client, one case, one fresh process; and rounds of them, in which the clients take turns."""

from __future__ import annotations

import json
import pathlib
import statistics
import subprocess
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field

import machine
from peers import Client
from service import Service, Usage

LONGEST = 330.0  # seconds for one process
BUSY = 0.9  # of one CPU: from there on the server, too, may set the pace


@dataclass(frozen=True)
class Case:
    """What a client is to do: `jobs` after `warm` others, each with an output of `size` bytes.

    With `small_warm_up` the jobs before have small outputs and no input, and cost the server next to nothing.
    """

    size: int
    jobs: int
    warm: int
    at_once: int
    input: pathlib.Path | None = None
    small_warm_up: bool = False
    extra: tuple[str, ...] = ()

    def command(self, client: Client, service: Service, out: pathlib.Path) -> list[str]:
        jobs = max(1, round(self.jobs * client.share))
        numbers = {"--jobs": jobs, "--warm": self._warm(client), "--at-once": self.at_once, "--out": out}
        files = {"--input": self.input, "--ca": service.ca}
        options = [*numbers.items(), *((name, path) for name, path in files.items() if path)]
        words = [str(word) for option in options for word in option]
        small = ["--small-warm-up"] if self.small_warm_up else []
        return [*client.command, service.base_url(self.size), *words, *small, *self.extra]

    def _warm(self, client: Client) -> int:
        is_slow = client.share < 1 and not self.small_warm_up
        return max(2 * self.at_once, round(self.warm * client.share)) if is_slow else self.warm

    def described(self, *, tls: bool) -> dict:
        return asdict(self) | {"input": None if self.input is None else "a file", "tls": tls}

    def busy(self, used: Usage, told: dict) -> float:
        """Return the server's share of one CPU while the client was measured."""
        share = 1.0 if self.small_warm_up else told["jobs"] / used.jobs
        return used.cpu * share / told["wall"]


@dataclass(frozen=True)
class Figures:
    """What one process used for its `jobs`: seconds and bytes; `busy` is the server's share of one CPU."""

    cpu: float
    wall: float
    jobs: int
    rss: int | None
    busy: float
    stall: float | None = None

    @property
    def each(self) -> float:
        """CPU seconds a job."""
        return self.cpu / self.jobs

    @property
    def rate(self) -> float:
        return self.jobs / self.wall


class ClientError(Exception):
    """The client failed; the text says how."""


@dataclass(frozen=True)
class Entry:
    """What was measured in one round, for the JSON file."""

    what: str
    case: dict
    figures: dict


@dataclass
class Bench:
    """Where clients run: `out` holds nothing but the outputs of the one that runs."""

    out: pathlib.Path
    log: list[Entry] = field(default_factory=list)

    def measure(self, client: Client, case: Case, service: Service) -> Figures:
        """Run the client once. Raises ClientError."""
        before = service.usage()
        told = self.run(case.command(client, service, self.out), lambda told: self._check(told, case.size))
        used = service.usage().since(before)
        figures = Figures(**told, busy=case.busy(used, told))
        self.log.append(Entry(client.name, case.described(tls=service.ca is not None), asdict(figures)))
        return figures

    def run(self, command: Sequence[str], check: Callable[[dict], object] = bool) -> dict:
        """Run a program on the client's CPU, and return the JSON that it prints. Raises ClientError.

        `check` looks at it while the outputs are still there.
        """
        try:
            told = _told(command)
            check(told)
        finally:
            for path in self.out.iterdir():
                path.unlink()
        return told

    def _check(self, told: dict, size: int) -> None:
        """Raise ClientError where outputs are missing; the floor's files also hold what is around them."""
        stored = sum(path.stat().st_size >= size for path in self.out.iterdir())
        if stored < told["jobs"]:
            raise ClientError(f"only {stored} of {told['jobs']} outputs were stored whole")

    def turns(
        self, clients: Iterable[Client], case: Case, service: Service, rounds: int
    ) -> dict[str, list[Figures]]:
        """Return each client's figures, round by round; one that fails is named and left out."""
        left, found = list(clients), {}
        for _ in range(rounds):
            for client in list(left):
                figures = self._try(client, case, service)
                if figures is None:
                    left.remove(client)
                    found.pop(client.name, None)
                else:
                    found.setdefault(client.name, []).append(figures)
        return found

    def _try(self, client: Client, case: Case, service: Service) -> Figures | None:
        try:
            return self.measure(client, case, service)
        except ClientError as error:
            print(f"{client.label} failed and is left out: {error}", flush=True)
            return None


def _told(command: Sequence[str]) -> dict:
    try:
        with machine.pinned("client"):
            done = subprocess.run(command, capture_output=True, text=True, timeout=LONGEST, check=False)
    except subprocess.TimeoutExpired:
        raise ClientError(f"it took more than {LONGEST:.0f} s") from None
    if done.returncode:
        raise ClientError(done.stderr.strip()[-300:] or f"exit status {done.returncode}")
    return json.loads(done.stdout)


def medians(log: Iterable[Entry]) -> list[dict]:
    """Return the median of each figure of all rounds of one client and case."""
    alike: dict[str, list[Entry]] = {}
    for entry in log:
        alike.setdefault(json.dumps([entry.what, entry.case]), []).append(entry)
    return [
        {"what": rounds[0].what, "case": rounds[0].case, "figures": _median(rounds)}
        for rounds in alike.values()
    ]


def _median(rounds: Sequence[Entry]) -> dict:
    return {
        name: None if value is None else statistics.median(entry.figures[name] for entry in rounds)
        for name, value in rounds[0].figures.items()
    }
