"""Many jobs of one: each value of some keys, each seed, and what stands in the braces of a config."""

from __future__ import annotations

import hashlib
import itertools
import math
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Struct

from prodia_async._errors import InputError, quoted

if TYPE_CHECKING:
    from collections.abc import Iterator

_BRACES = re.compile(r"\{\{|\}\}|\{(\w+)\}|[{}]")
_OF_A_VALUE = 40
"""Characters of a value that a custom_id shows; a longer one ends in a part of its SHA-256."""


class Variations(Struct, frozen=True):
    """The values of `vary`, in all combinations, and `repeat` seeds of each, from the job's own or 1 upward.

    Raises InputError for values that say nothing, or the same twice.
    """

    repeat: int | None = None
    vary: Mapping[str, Sequence[Any]] = {}

    def __post_init__(self) -> None:
        for key, values in self.vary.items():
            texts = [text_of(value) for value in values]
            if not texts:
                raise InputError(f"vary has no value for {quoted(key)}")
            if len(set(texts)) < len(texts):
                twice = next(text for text in texts if texts.count(text) > 1)
                raise InputError(f"vary has the value {quoted(twice)} of {quoted(key)} twice")
        if self.repeat is not None and "seed" in self.vary:
            raise InputError("repeat (--repeat) makes seeds, and so does vary (--vary seed=...): use one")

    @property
    def count(self) -> int:
        """How many jobs each job becomes."""
        return math.prod(map(len, self.vary.values())) * (self.repeat or 1)

    def each(self, own_seed: Any = None) -> Iterator[dict[str, Any]]:
        """Yield the values of each combination, seeds the fastest. Raises InputError for a bad seed."""
        choices: dict[str, Sequence[Any]] = dict(self.vary)
        if self.repeat is not None:
            first = 1 if own_seed is None else own_seed
            if type(first) is not int:
                raise InputError(f"the job's seed is {quoted(first)}: --repeat counts up from a whole number")
            choices["seed"] = range(first, first + self.repeat)
        for values in itertools.product(*choices.values()):
            yield dict(zip(choices, values, strict=True))


def suffix_of(values: Mapping[str, Any]) -> str:
    """Return what a combination, and nothing else, adds to a custom_id: `_style-oil_seed-1`."""
    return "".join(f"_{key}-{_cut(text_of(value))}" for key, value in values.items())


def text_of(value: Any) -> str:
    """Return a value as text: JSON, but for what is text already."""
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def _cut(text: str) -> str:
    if len(text) <= _OF_A_VALUE:
        return text
    return f"{text[: _OF_A_VALUE - 9]}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def names_in(value: Any) -> set[str]:
    """Return the names that stand in braces in a config's texts. Raises InputError for a brace alone."""
    if isinstance(value, dict | list):
        return set().union(*map(names_in, value.values() if isinstance(value, dict) else value))
    found = list(_BRACES.finditer(value)) if isinstance(value, str) else []
    for match in found:
        if match[0] in ("{", "}"):
            raise InputError(
                f"{quoted(value)} has a brace alone: a brace that is meant is written twice, {{{{"
            )
    return {match[1] for match in found if match[1]}


def filled(value: Any, words: Mapping[str, Any]) -> Any:
    """Return a config's value with the words in place of their names in braces."""
    if isinstance(value, dict):
        return {key: filled(item, words) for key, item in value.items()}
    if isinstance(value, list):
        return [filled(item, words) for item in value]
    if not isinstance(value, str):
        return value
    return _BRACES.sub(lambda found: text_of(words[found[1]]) if found[1] else found[0][0], value)
