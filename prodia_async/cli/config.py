"""The config of a job as the command line gives it: KEY=VALUE pairs, as docs/command-line.md has them."""

from __future__ import annotations

import codecs
import contextlib
import csv
import json
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
_OF_A_TEXT = "text/", "application/json"


class Inputs(contextlib.ExitStack):
    """The inputs of a job: those of `-i`, and those that values of `-c` add, each with a name of its own.

    What is kept of standard input goes when it is closed.
    """

    def __init__(self, given: tuple[str, ...] = ()) -> None:
        super().__init__()
        self.items: list[tuple[str, Any]] = []
        self._names: dict[str, str] = {}
        try:
            for path in given:
                self.add(path)
        except BaseException:
            self.close()
            raise

    def add(self, path: str) -> str:
        """Add a file unless it is there already, and return the name that it has as an input."""
        place = path if path == "-" else str(Path(path).resolve())
        if place not in self._names:
            name, source = self._stdin() if path == "-" else (Path(path).name, Path(path))
            stem, suffix = Path(name).stem, Path(name).suffix
            number = 1
            while name in self._names.values():
                number += 1
                name = f"{stem}-{number}{suffix}"
            self._names[place] = name
            self.items.append((name, source))
        return self._names[place]

    def _stdin(self) -> tuple[str, Any]:
        """Keep standard input, so that it can be sent again; its first bytes tell its name's suffix."""
        from prodia_async._wire import media

        file = self.enter_context(tempfile.SpooledTemporaryFile(_IN_MEMORY))  # noqa: SIM115 - see the class
        try:
            shutil.copyfileobj(sys.stdin.buffer, file)
        except OSError as error:
            raise click.BadParameter(f"standard input cannot be read: {error.strerror or error}") from None
        file.seek(0)
        head = file.read(64)
        file.seek(0)
        if not head:
            raise click.BadParameter("standard input is empty")
        return f"input{media.suffix_for(media.sniff(head))}", file


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


def read_extra(pairs: tuple[str, ...]) -> dict[str, Any]:
    """Return the further fields of a job that KEY=VALUE pairs give. Raises BadParameter."""
    try:
        return read_config(pairs)
    except click.BadParameter as error:
        raise click.BadParameter(error.message, param_hint="--extra") from None


def read_vary(pairs: tuple[str, ...]) -> dict[str, list[Any]]:
    """Return the values of KEY=VALUE,VALUE pairs, each read as one of -c; KEY:=JSON is a list of them."""
    vary: dict[str, list[Any]] = {}
    for pair in pairs:
        key, equals, text = pair.partition("=")
        try:
            if key.endswith(":"):
                [(name, values)] = read_config((pair,)).items()
            else:
                texts = next(csv.reader([text], strict=True), [])
                name, values = key, [read_config((f"{key}{equals}{each}",))[key] for each in texts]
        except (click.BadParameter, csv.Error) as error:
            said = getattr(error, "message", f"{pair!r}: {error}")
            raise click.BadParameter(said, param_hint="--vary") from None
        if not isinstance(values, list) or not (name and values):
            raise click.BadParameter(f"{pair!r} is not KEY=A,B or KEY:=[...]", param_hint="--vary")
        vary[name] = values
    return vary


def use_stdin_once(pairs: tuple[str, ...], *files: str | None) -> None:
    """Raise BadParameter where more than one of the pairs and files means standard input."""
    if files.count("-") + sum(pair.partition("=")[2] == "@-" for pair in pairs) > 1:
        raise click.BadParameter("standard input, -, can be read once: give one of them as a file")


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
    from msgspec import DecodeError
    from msgspec.json import decode

    from prodia_async.batch._csv_drafts import is_prompt

    is_text = is_prompt(key)
    if text.startswith("@@"):
        text, is_text = text[1:], True
    elif text.startswith("@"):
        path = os.path.expanduser(refuse_address(text[1:]))  # noqa: PTH111 - no shell does it behind an @
        if not path:
            raise click.BadParameter("@ names no file; a text that begins with @ is written @@")
        found = _text_of(path, is_wanted=is_json or is_text)
        if found is None:
            if inputs is None:
                raise click.BadParameter(
                    f"{path!r} would be an input, no text: `run` takes it by -i, and a batch in its lines"
                )
            return inputs.add(path)
        text, is_text = found, True
    if is_text and not is_json:
        return text
    try:
        return decode(text)
    except (DecodeError, ValueError, RecursionError) as error:
        if is_json:
            raise click.BadParameter(f"{text!r} is not JSON: {error}") from None
        return text


def _text_of(path: str, *, is_wanted: bool) -> str | None:
    """Return what a file of text holds, but for line breaks at its end, as `$(cat FILE)` does.

    None for a file that is meant itself, by its name, else by its bytes, unless a text is wanted.
    """
    from prodia_async._wire import media

    kind = media.type_for_name(path) or media.OCTETS
    if not is_wanted and (path == "-" or not kind.startswith((*_OF_A_TEXT, media.OCTETS))):
        return None
    with _opened(path, f"; a text that begins with @ is written @@{path}") as file:
        data = file.read(_MOST_TEXT + 1)
    # What is no regular file, such as `<(...)`, can be read once: it is taken for a text.
    is_text = is_wanted or kind != media.OCTETS or not os.path.isfile(path)  # noqa: PTH113 - as it is given
    try:
        text, _ = codecs.utf_8_decode(data, "strict", len(data) <= _MOST_TEXT)
    except UnicodeDecodeError:
        if is_text:
            raise click.BadParameter(f"{path!r} is not text in UTF-8") from None
        return None
    if not is_text and "\0" in text:
        return None
    if len(data) > _MOST_TEXT:
        raise click.BadParameter(f"{path!r} has more than 1 MiB: too much for a text")
    return text.removeprefix("\ufeff").rstrip("\r\n")


def _opened(path: str, hint: str = "") -> contextlib.AbstractContextManager[BinaryIO]:
    if path == "-":
        return contextlib.nullcontext(sys.stdin.buffer)
    try:
        return Path(path).open("rb")
    except (OSError, ValueError) as error:
        raise click.BadParameter(
            f"{path!r} cannot be read: {getattr(error, 'strerror', None) or error}{hint}"
        ) from None
