"""The config of a job as the command line gives it: KEY=VALUE pairs and a JSON file."""

from __future__ import annotations

import json
from typing import Any, BinaryIO

import click


def read_config(pairs: tuple[str, ...], file: BinaryIO | None = None) -> dict[str, Any]:
    """Return the config of a JSON file and of KEY=VALUE pairs, which go over it. Raises BadParameter."""
    config = {} if file is None else _file_config(file)
    for pair in pairs:
        key, equals, text = pair.partition("=")
        if not key or not equals:
            raise click.BadParameter(f"{pair!r} is not KEY=VALUE", param_hint="-c")
        config[key] = _value(text)
    return config


def _file_config(file: BinaryIO) -> dict[str, Any]:
    try:
        config = json.load(file)
    except (ValueError, RecursionError) as error:
        raise click.BadParameter(f"not JSON: {error}", param_hint="--config") from None
    if not isinstance(config, dict):
        raise click.BadParameter("not a JSON object", param_hint="--config")
    return config


def _value(text: str) -> Any:
    try:
        return json.loads(text, parse_constant=_no_json)
    except (ValueError, RecursionError):
        return text


def _no_json(constant: str) -> Any:
    """Refuse NaN and Infinity, which Python reads and JSON has not."""
    raise ValueError(constant)
