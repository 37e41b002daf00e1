"""`typing.get_type_hints` works on what is public: pydantic's `validate_call` goes by it."""

from __future__ import annotations

import importlib
import inspect
import typing

import pytest

MODULES = [
    "prodia_async",
    "prodia_async.batch",
    "prodia_async.blocking",
    "prodia_async.emulator",
    "prodia_async.progress",
    "prodia_async.pytest_plugin",
    "prodia_async.ray",
    "prodia_async.remote",
    "prodia_async.rows",
    "prodia_async.stores",
    "prodia_async.telemetry",
    "prodia_async.types",
    "prodia_async.web",
    "prodia_async.web.aiohttp",
    "prodia_async.web.starlette",
]


def is_of(value, module):
    return getattr(value, "__module__", None) == module.__name__


def public_callables(module):
    """Yield each function and class that a module offers, and the methods of the classes."""
    own = [
        name for name, value in vars(module).items() if getattr(value, "__module__", "") == module.__name__
    ]
    for name in getattr(module, "__all__", None) or [name for name in own if not name.startswith("_")]:
        value = getattr(module, name)
        if not (inspect.isclass(value) or inspect.isroutine(value)):  # as an alias of types is
            continue
        yield name, value
        for inner in dir(value) if inspect.isclass(value) else ():
            method = getattr(value, inner)
            if (inner == "__init__" or not inner.startswith("_")) and inspect.isroutine(method):
                yield f"{name}.{inner}", method


@pytest.mark.parametrize("name", MODULES)
def test_type_hints_of_what_is_public_can_be_had(name):
    try:
        found = dict(public_callables(importlib.import_module(name)))
    except ImportError as error:
        pytest.skip(f"an extra is missing: {error}")
    broken = {}
    for each, value in found.items():
        try:
            typing.get_type_hints(value)
        except NameError as error:
            broken[each] = f"{error} in {value.__module__}"
    assert broken == {}
    assert found or name == "prodia_async.web"
