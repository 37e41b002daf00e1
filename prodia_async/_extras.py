"""What is said where something of an extra is missing: everywhere alike, with the line that installs it."""

from __future__ import annotations

_NAMES = {
    "PIL": "Pillow",
    "av": "PyAV",
    "opentelemetry": "OpenTelemetry",
    "starlette": "Starlette",
}
"""What is installed, where it is not called as the module is."""


def missing(what: str, module: str | None, extra: str) -> str:
    """Say that `what` needs a module, and the extra that brings it."""
    top = (module or "").partition(".")[0]
    name = _NAMES.get(top, top) or "a library"
    return f'{what} needs {name}, which is not installed: pip install "prodia-async[{extra}]"'
