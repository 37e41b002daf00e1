"""What the vendor's pages say of some job types: their configs, for `strict`, and prices, for `price="list"`.

The list grows every month, so that a type which is not here takes any config, and has no price.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType, defstruct

from prodia_async.emulator._request import JobError

_Side = Annotated[int, Meta(ge=64, le=4096, multiple_of=16)]
_Shape = Literal["16:9", "9:16"]
_Lines = Literal["720p", "1080p"]


def _text(least: int, most: int) -> Any:
    return Annotated[str, Meta(min_length=least, max_length=most)]


def _whole(least: int, most: int) -> Any:
    return Annotated[int, Meta(ge=least, le=most)]


def _files(most: int) -> Any:
    return Annotated[list[str], Meta(min_length=1, max_length=most)]


_FLUX_2 = {
    "images": _files(8),
    "width": _Side,
    "height": _Side,
    "seed": int,
    "safety_tolerance": _whole(0, 5),
}
# The name of a type; its fields, of which the prompt is required where it is named `*prompt`; `!`: no others.
_CONFIGS: dict[str, dict[str, Any]] = {
    r"inference\.flux-fast\.schnell\.txt2img\.v[01]": {
        "*prompt": _text(3, 4096), "steps": _whole(1, 4), "resolution": str, "seed": int, "style_preset": str,
        "progressive": bool, "!": None,
    },
    r"inference\.flux-fast\.schnell\.txt2img\.v2": {
        "prompt": str, "steps": int, "width": int, "height": int, "loras": list[Any], "seed": int,
    },
    r"inference\.flux-2\.pro\.img2img\.v1": {"*prompt": _text(1, 32768), **_FLUX_2},
    r"inference\.flux-2\.flex\.img2img\.v1": {
        "*prompt": _text(1, 32768), **_FLUX_2, "steps": _whole(1, 50),
        "guidance": Annotated[float, Meta(ge=1.5, le=10)],
    },
    r"inference\.veo\.img2vid\.v1": {
        "*prompt": _text(0, 2500), "image": str, "generate_audio": bool, "seed": int, "resolution": _Lines,
        "aspect_ratio": _Shape, "!": None,
    },
    r"inference\.veo\..*\.v2": {
        "resolution": str, "aspect_ratio": str, "duration_seconds": Literal[4, 6, 8], "generate_audio": bool,
    },
    r"inference\.sora-2\.pro\.img2vid\.v1": {
        "*prompt": _text(3, 4096), "image": str, "resolution": _Lines, "aspect_ratio": _Shape,
        "duration": Literal[4, 8, 12], "seed": _whole(1, 2**31 - 1), "!": None,
    },
    r"inference\.(sam3\.segment\.v1|segment\.v2)": {
        "*prompt": _text(1, 500), "image": str, "confidence_threshold": Annotated[float, Meta(ge=0, le=1)],
        "!": None,
    },
    r"inference\.nano-banana\.img2img\.v2": {
        "prompt": str, "images": _files(3), "aspect_ratio": str, "include_messages": bool,
    },
    r"inference\.birefnet\.segment\.v1": {
        "image": str, "contour": bool, "contour_tolerance": _whole(0, 255),
    },
}  # fmt: skip


def _struct(fields: dict[str, Any]) -> Any:
    required = [(name[1:], kind) for name, kind in fields.items() if name.startswith("*")]
    others = [(name, kind | UnsetType, UNSET) for name, kind in fields.items() if name[0] not in "*!"]
    return defstruct("Config", [*required, *others], forbid_unknown_fields="!" in fields)


_SCHEMAS = [(re.compile(rf"{name}(\.fault-[^.]*)?"), _struct(fields)) for name, fields in _CONFIGS.items()]


def check(job_type: str, config: dict[str, Any]) -> None:
    """Check a config by the schema of its type, where that is known. Raises JobError."""
    schema = next((schema for name, schema in _SCHEMAS if name.fullmatch(job_type)), None)
    if schema is None:
        return
    given = {name: value for name, value in config.items() if name != "emulator"}
    try:
        msgspec.convert(given, schema)
    except msgspec.ValidationError as error:
        reason, _, place = str(error).partition(" - at `$")
        raise JobError(f"config{place.rstrip('`')}: {reason}") from None
    if ".veo.img2vid.v1" in job_type and (config.get("resolution"), config.get("aspect_ratio")) == (
        "1080p",
        "9:16",
    ):
        raise JobError("config.resolution: 1080p only with 16:9")


def dollars(job_type: str, config: dict[str, Any], fixed: float | str | None) -> float | None:
    """Return what a job costs: a fixed price, or what the vendor's pages say; None where they do not."""
    if not isinstance(fixed, str):
        return fixed
    for word, price in _PRICES.items():
        if word in job_type:
            if isinstance(price, float):
                return price
            name, steps = price
            value = config.get(name)
            return steps.get(value if isinstance(value, str | int | float) else None, steps[None])
    return None


# A word in the type, and its price; or the field of the config on which it depends, and None for any other.
_PRICES: dict[str, float | tuple[str, dict[Any, float]]] = {
    "schnell": 0.0025,
    "flux-2.dev": 0.01,
    "flux-2.pro": 0.03,
    "flux-2.max": 0.04,
    "flux-2.flex": 0.06,
    "gemini-3-pro": ("resolution", {None: 0.15, "4K": 0.30}),
    "gemini-3-1-flash": ("resolution", {None: 0.08, "2K": 0.12, "4K": 0.16}),
    "nano-banana": 0.039,
    "birefnet": 0.0025,
    "remove-background": 0.02,
    "resrgan": ("upscale", {None: 0.001, 4: 0.002, 8: 0.003}),
    "hypir": 0.05,
}
