"""What a job type makes of a job: its plan; and reading what a config holds."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import Any, TypeVar

from msgspec import Struct

from prodia_async.emulator._request import JobError

_Number = TypeVar("_Number", int, float)
_MOST_SEED = 2**63 - 1


class OutputFile(Struct, frozen=True):
    """One output; `blocks` gives its bytes, made anew at each call. `filename` None: none is sent.

    The job part of an answer looks like one: `json` is its text, without line ends.
    """

    filename: str | None
    content_type: str
    size: int
    blocks: Callable[[], Iterable[bytes]]
    json: bytes | None = None


class Recorded(Struct, frozen=True):
    """A reply that is given again: how long it took, in seconds, what its job result told, and its price."""

    seconds: float
    result: dict[str, Any]
    dollars: float | None


class Plan(Struct, frozen=True):
    """A job whose configuration is in order, ready to run.

    `config` has its defaults filled in. `media_types` has the type of each output; `choices` those that a
    client may choose from for the first, where there is a choice. The outputs are `ready`, or
    `make(media_type)` makes them, in a worker thread, with the first one of that type. `billed`: the types
    and configs that the price is of, where that is not the job's own. `recorded`: it is a reply from before.
    """

    config: dict[str, Any]
    media_types: tuple[str, ...] = ()
    make: Callable[[str], list[OutputFile]] | None = None
    ready: tuple[OutputFile, ...] = ()
    choices: Collection[str] = ()
    sized: bool = True
    billed: tuple[tuple[str, dict[str, Any]], ...] = ()
    recorded: Recorded | None = None


def with_seed(config: dict[str, Any], seed: int) -> dict[str, Any]:
    """Fill in the seed."""
    return config | {"seed": read_number(config, "seed", seed, 0, _MOST_SEED)}


def with_steps(config: dict[str, Any]) -> dict[str, Any]:
    """Fill in the steps."""
    return config | {"steps": read_number(config, "steps", 4, 1, 100)}


def with_film(config: dict[str, Any]) -> dict[str, Any]:
    """Fill in the measures of a film; its sides are even, since its colours are kept at half the size."""
    sides = {name: read_number(config, name, 256, 64, 1024) for name in ("width", "height")}
    for name, side in sides.items():
        if side % 2:
            raise JobError(f"config.{name}: must be even")
    return config | sides | {"seconds": read_number(config, "seconds", 2, 0.25, 5.0)}


def read_number(
    config: dict[str, Any], name: str, default: _Number, least: _Number, most: _Number
) -> _Number:
    """Return `config[name]`, within the bounds; a whole number where the highest is one. Raises JobError."""
    value: Any = config.get(name, default)
    kind = type(most)
    if not isinstance(value, int | kind) or isinstance(value, bool) or not least <= value <= most:
        whole = "whole " * (kind is int)
        raise JobError(f"config.{name}: must be a {whole}number from {least} to {most:.10g}")
    return value


def read_text(config: dict[str, Any], name: str, default: str | None, most: int = 32768) -> str:
    """Return `config[name]`, at most so long; needed where `default` is None. Raises JobError."""
    value = config.get(name, default)
    if not isinstance(value, str) or len(value) > most or (default is None and not value):
        raise JobError(f"config.{name}: must be a string of 1 to {most} characters")
    return value


def read_flag(config: dict[str, Any], name: str, default: bool) -> bool:
    """Return `config[name]`, true or false. Raises JobError."""
    value = config.get(name, default)
    if not isinstance(value, bool):
        raise JobError(f"config.{name}: must be true or false")
    return value
