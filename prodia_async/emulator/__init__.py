"""A local server that behaves like the service: `async with Emulator(capacity=8) as emulator`.

It answers `POST /v2/job` and the asynchronous API as the API reference says, sheds load by true idle
capacity, and returns real pictures and films. It needs the extra `prodia-async[emulator]` and shares no code
with the client. Names load on first use, so that importing the package costs neither aiohttp nor Pillow.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from prodia_async._extras import missing

if TYPE_CHECKING:
    from prodia_async.emulator._account import EmulatorStats
    from prodia_async.emulator._pattern import pattern_blocks
    from prodia_async.emulator._process import EmulatorProcess
    from prodia_async.emulator._server import Emulator, background_emulator

_HOME_OF = {
    "Emulator": "_server",
    "EmulatorProcess": "_process",
    "EmulatorStats": "_account",
    "background_emulator": "_server",
    "pattern_blocks": "_pattern",
}

__all__ = ["Emulator", "EmulatorProcess", "EmulatorStats", "background_emulator", "pattern_blocks"]


def __getattr__(name: str) -> Any:
    home = _HOME_OF.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        value = getattr(importlib.import_module(f"{__name__}.{home}"), name)
    except ModuleNotFoundError as error:
        if error.name != "PIL":
            raise
        raise ModuleNotFoundError(missing("the emulator", "PIL", "emulator"), name="PIL") from error
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
