"""The config of a job as the command line gives it: KEY=VALUE pairs and a JSON file.

A prompt (`prompt`, or a key that ends in `_prompt`) is always text; another value is JSON where it is JSON,
else text: the rule of CSV manifests. `KEY:=JSON` is JSON for every key. `KEY=@FILE` puts in what a file of
text holds; a picture, film or sound becomes an input of the job, and its name stands there. `@@` is a text
that begins with `@`.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any, BinaryIO

import click

from prodia_async.cli.options import refuse_address

_MOST_TEXT = 1024 * 1024
"""Bytes of a text that is read from a file."""
_IN_MEMORY = 1024 * 1024
_LOOK = 4096
"""Bytes that tell whether a file is text."""
_OF_A_TEXT = "text/", "application/json"


class Inputs:
    """The inputs of a job: those of `-i`, and those that values of `-c` add."""

    def __init__(self, given: tuple[str, ...] = ()) -> None:
        self._names: dict[str, str] = {}
        self._kept = contextlib.ExitStack()
        self.items: list[Any] = []
        for path in given:
            if path == "-":
                self._add_stdin()
            else:
                self._names[str(Path(path).resolve())] = Path(path).name
                self.items.append(path)

    def close(self) -> None:
        """Forget what was kept of standard input."""
        self._kept.close()

    def add(self, path: str) -> str:
        """Add a file unless it is there already, and return the name that it has as an input."""
        if path == "-":
            return self._add_stdin()
        place = str(Path(path).resolve())
        if place not in self._names:
            self._names[place] = self._free(Path(path).name)
            self.items.append((self._names[place], Path(path)))
        return self._names[place]

    def _free(self, name: str) -> str:
        stem, suffix = Path(name).stem, Path(name).suffix
        number, taken = 1, set(self._names.values())
        while name in taken:
            number += 1
            name = f"{stem}-{number}{suffix}"
        return name

    def _add_stdin(self) -> str:
        """Keep standard input, so that it can be sent again; its first bytes tell its name's suffix."""
        from prodia_async._wire import media  # noqa: PLC0415 - `--help` needs none of it

        try:
            head = sys.stdin.buffer.read(64)
            if not head:
                raise click.BadParameter("standard input is empty")
            file: Any = tempfile.SpooledTemporaryFile(_IN_MEMORY)  # noqa: SIM115 - see `close`
            self._kept.callback(file.close)
            file.write(head)
            shutil.copyfileobj(sys.stdin.buffer, file)
            file.seek(0)
        except OSError as error:
            raise click.BadParameter(f"standard input cannot be read: {error.strerror or error}") from None
        name = self._free(f"input{media.suffix_for(media.sniff(head))}")
        self._names[f"-{name}"] = name
        self.items.append((name, file))
        return name


def read_config(
    pairs: tuple[str, ...], file: str | None = None, inputs: Inputs | None = None
) -> dict[str, Any]:
    """Return the config of a JSON file and of KEY=VALUE pairs, which go over it. Raises BadParameter.

    Files that pairs name go to `inputs`; where that is None, as for a batch, only their text can be taken.
    """
    config = {} if file is None else _file_config(file)
    for pair in pairs:
        key, equals, text = pair.partition("=")
        is_json, key = key.endswith(":"), key.removesuffix(":")
        if not key or not equals:
            raise click.BadParameter(f"{pair!r} is not KEY=VALUE", param_hint="-c")
        try:
            config[key] = _value(key, text, inputs, is_json=is_json)
        except click.BadParameter as error:
            raise click.BadParameter(f"{key}: {error.message}", param_hint="-c") from None
    return config


def use_stdin_once(*names: str | None) -> None:
    """Raise BadParameter where more than one of the names of files means standard input."""
    if names.count("-") > 1:
        raise click.BadParameter("standard input, -, can be read once: give one of them as a file")


def files_of(pairs: tuple[str, ...]) -> list[str]:
    """Return the files that pairs name."""
    values = [pair.partition("=")[2] for pair in pairs]
    return [value[1:] for value in values if value.startswith("@") and not value.startswith("@@")]


def _file_config(path: str) -> dict[str, Any]:
    try:
        with _opened(path) as file:
            config = json.load(file)
    except (ValueError, RecursionError) as error:
        raise click.BadParameter(f"not JSON: {error}", param_hint="--config") from None
    if not isinstance(config, dict):
        raise click.BadParameter("not a JSON object", param_hint="--config")
    return config


def _value(key: str, text: str, inputs: Inputs | None, *, is_json: bool) -> Any:
    from prodia_async.batch.csv_drafts import is_prompt as is_always_text  # noqa: PLC0415 - `--help` needs it not

    is_prompt = is_always_text(key)
    if text.startswith("@@"):
        text, is_prompt = text[1:], True
    elif text.startswith("@"):
        path = os.path.expanduser(refuse_address(text[1:]))  # noqa: PTH111 - no shell does it behind an @
        if not path:
            raise click.BadParameter("@ names no file; a text that begins with @ is written @@")
        if not is_json and not is_prompt and not _is_text(path):
            if inputs is None:
                raise click.BadParameter(f"{path!r} would be an input: of a batch, each line names its own")
            return inputs.add(path)
        text, is_prompt = _read(path), True
    if is_json:
        try:
            return _json(text)
        except (ValueError, RecursionError) as error:
            raise click.BadParameter(f"{text!r} is not JSON: {error}") from None
    return text if is_prompt else _json_or_text(text)


def _json_or_text(text: str) -> Any:
    try:
        return _json(text)
    except (ValueError, RecursionError):
        return text


def _json(text: str) -> Any:
    """Decode JSON. Python would also read NaN, Infinity, and 1e999 as such, which JSON has not."""
    return json.loads(text, parse_constant=_finite, parse_float=_finite)


def _finite(number: str) -> float:
    value = float(number)
    if not math.isfinite(value):
        raise ValueError(number)
    return value


def _is_text(path: str) -> bool:
    """Tell whether a file's content, and not the file, is meant: by its name, then by its bytes."""
    from prodia_async._wire import media  # noqa: PLC0415 - `--help` needs none of it

    if path == "-":
        return False
    kind = media.type_for_name(path)
    if kind and kind != media.OCTETS:
        return kind.startswith(_OF_A_TEXT)
    if not os.path.isfile(path):  # noqa: PTH113 - a name that is too long is no error here
        return True  # such as `<(...)`, which can be read once; what is missing is told there
    with _opened(path) as file:
        head = file.read(_LOOK)
    try:
        head.decode()
    except UnicodeDecodeError as error:
        return len(head) == _LOOK and error.start >= _LOOK - 3  # a character that is cut
    return b"\0" not in head


def _read(path: str) -> str:
    with _opened(path, f"; a text that begins with @ is written @@{path}") as file:
        data = file.read(_MOST_TEXT + 1)
    if len(data) > _MOST_TEXT:
        raise click.BadParameter(f"{path!r} has more than 1 MiB: too much for a text")
    try:
        return data.decode("utf-8-sig").rstrip("\r\n")  # as `$(cat FILE)` does
    except UnicodeDecodeError:
        raise click.BadParameter(f"{path!r} is not text in UTF-8") from None


def _opened(path: str, hint: str = "") -> contextlib.AbstractContextManager[BinaryIO]:
    if path == "-":
        return contextlib.nullcontext(sys.stdin.buffer)
    try:
        return Path(path).open("rb")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise click.BadParameter(f"{path!r} cannot be read: {reason}{hint}") from None
