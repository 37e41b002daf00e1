"""From a manifest's line to a job that can be sent."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Struct

from prodia_async._errors import InputError, quoted
from prodia_async._models import Input, Job, Mode
from prodia_async._plain import Plain
from prodia_async._wire.job import accept_header, job_json
from prodia_async.batch._drafts import Made, Own
from prodia_async.batch._ids import Namer, SeenIds
from prodia_async.batch._inputs import InputFolder, identity
from prodia_async.batch._variations import Variations, filled, names_in, suffix_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from prodia_async.batch._drafts import Draft
    from prodia_async.batch._shard import Shard

_SURELY_SHALLOW = 100
"""So many brackets never nest too deeply, which is all that can be wrong with what JSON could say."""


class Submitted(Struct, frozen=True):
    """A job that the service has from an earlier run: its id there, and the dollars reserved for it.

    None are reserved for one that was given up: they count as spent already.
    """

    job_id: str
    reserved: float | None


class Problem(Struct, Plain, frozen=True):
    """A line of a manifest that is no job: its number, from 1, and why."""

    line: int
    reason: str


class Entry(Struct, frozen=True):
    """A job of a manifest: its line, from 1, and the job, with a custom_id and absolute paths of inputs.

    `fingerprint` is 16 bytes of the SHA-256 of what is sent: type, config, accept and the names of the
    inputs. `inputs_mark` is 8 bytes that change with the size or mtime of any input; b"" without inputs.
    `outputs` are the paths of files that an earlier run has made for it. `problem`: why it cannot be sent
    now, for want of an input; a job that is done needs none any more.
    """

    line: int
    job: Job
    fingerprint: bytes
    inputs_mark: bytes
    submitted: Submitted | None = None
    outputs: tuple[str, ...] = ()
    problem: Problem | None = None


class Defaults(Struct, frozen=True):
    """What a line that does not say it itself says; of `config`, each key by itself."""

    type: str | None = None
    config: Mapping[str, Any] = {}
    accept: str | None = None
    mode: Mode = "sync"


class _Sent(Struct, omit_defaults=True):
    """What makes a job the job that it is: it is named by it, and known again."""

    type: str
    config: dict[str, Any] = {}
    inputs: list[str] = []
    accept: str | None = None
    extra: dict[str, Any] = {}


class Parser:
    """Makes entries of drafts, in the order of the manifest.

    `words`: what may stand in the braces of the defaults' config; None: braces mean nothing in it. Raises
    InputError for defaults that cannot be sent. Memory grows by 8 bytes for each custom_id.
    """

    def __init__(
        self,
        folder: Path,
        *,
        defaults: Defaults,
        variations: Variations,
        shard: Shard | None,
        allow_outside: bool,
        words: frozenset[str] | None = None,
    ) -> None:
        accept_header(defaults.accept)
        sent = job_json(Job("any" if defaults.type is None else defaults.type, defaults.config))
        self._config: dict[str, Any] = msgspec.json.decode(sent).get("config", {})
        self._defaults = defaults
        self._variations = variations
        self._varies = bool(variations.vary or variations.repeat)
        self._shard = shard
        self._named = None if words is None else _named(self._config, words, variations)
        self._inputs = InputFolder(folder, allow_outside=allow_outside)
        self._seen = SeenIds()
        self._namer = Namer(self._seen)
        self._encoder = msgspec.json.Encoder(order="sorted")

    def entries(self, line: int, draft: Draft) -> Iterator[Entry]:
        """Yield the entries that a draft makes: of each variation one, unless it is another shard's.

        Raises InputError for one that cannot be sent. Its custom_id counts as used then, too, so that names
        made from content depend neither on the files that are there nor on the shard.
        """
        own_seed = draft.config.get("seed", self._config.get("seed"))
        for values in self._variations.each(own_seed) if self._varies else ({},):
            entry = self._entry(line, draft, values)
            if entry is not None:
                yield entry

    def _entry(self, line: int, draft: Draft, values: Mapping[str, Any]) -> Entry | None:
        sent = self._sent(draft, values)
        text = self._encoder.encode(sent)
        digest = hashlib.sha256(text).digest()
        custom_id = self._custom_id(draft, suffix_of(values), digest)
        if self._shard is not None and not self._shard.takes(custom_id):
            return None
        accept_header(sent.accept)
        inputs: Sequence[Input]
        if isinstance(draft, Own):
            inputs, (mark, lacking) = draft.files, self._inputs.own(draft.files)
        else:
            inputs, mark, lacking = self._inputs.find(sent.inputs)
        job = Job(
            sent.type,
            config=sent.config,
            inputs=inputs,
            accept=sent.accept,
            custom_id=custom_id,
            priority=draft.priority,
            mode=self._defaults.mode if draft.mode is None else draft.mode,
            extra=sent.extra,
        )
        if sent.extra or text.count(b"[") + text.count(b"{") > _SURELY_SHALLOW:
            job_json(job)
        if sent.inputs:  # a manifest that was moved has the same jobs: the folder of an input is not sent
            sent.inputs = [name.rpartition("/")[2] for name in sent.inputs]
            digest = hashlib.sha256(self._encoder.encode(sent)).digest()
        problem = None if lacking is None else Problem(line, lacking)
        return Entry(line, job, digest[:16], mark, problem=problem)

    def _sent(self, draft: Draft, values: Mapping[str, Any]) -> _Sent:
        """Return what a draft says, the defaults filled in, and the values of a variation."""
        kind = self._defaults.type if draft.type is None else draft.type
        if kind is None:
            raise InputError("`type` is missing, and there is no default for it (--type)")
        if not kind.strip():
            raise InputError("`type` is empty")
        return _Sent(
            kind,
            self._whole_config(draft, values),
            list(map(identity, draft.files)) if isinstance(draft, Own) else draft.inputs,
            self._defaults.accept if draft.accept is None else draft.accept,
            draft.extra,
        )

    def _whole_config(self, draft: Draft, values: Mapping[str, Any]) -> dict[str, Any]:
        if not (isinstance(draft, Made) and self._named is not None):
            return {**self._config, **draft.config, **values} if self._config or values else draft.config
        config: dict[str, Any] = filled(self._config, {**draft.words, **values})
        # The defaults go before a prompt that they have in braces, and after it where they do not know it.
        config = draft.config | config if self._named & draft.words.keys() else config | draft.config
        return config | {key: value for key, value in values.items() if key not in self._named}

    def _custom_id(self, draft: Draft, suffix: str, digest: bytes) -> str:
        if draft.custom_id is None:
            return self._namer.name(digest[:8].hex())
        custom_id = f"{draft.custom_id}{suffix}"
        if not str(draft.custom_id):
            raise InputError("`custom_id` is empty")
        if isinstance(draft, Made):
            return self._namer.name(custom_id)
        if not self._seen.add(custom_id):
            raise InputError(f"custom_id {quoted(custom_id)} was used before")
        return custom_id


def _named(config: Mapping[str, Any], words: frozenset[str], variations: Variations) -> frozenset[str]:
    """Return the names that stand in the braces of a config. Raises InputError for one that nothing fills."""
    found = names_in(dict(config))
    known = words | variations.vary.keys()
    if taken := sorted(words & variations.vary.keys()):
        raise InputError(f"vary (--vary) cannot set {taken[0]!r}: each job of this manifest has its own")
    if unknown := sorted(found - known):
        there = ", ".join(f"{{{name}}}" for name in sorted(known))
        raise InputError(
            f"nothing is called {{{unknown[0]}}} here, only {there}: "
            "a brace that is meant is written twice, {{"
        )
    return frozenset(found)
