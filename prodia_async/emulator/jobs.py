"""Job types: what each needs, how many outputs it has, and how they are made."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import TYPE_CHECKING, Any, TypeVar
from uuid import uuid4

from msgspec import Struct

from prodia_async.emulator.drawing import drawn
from prodia_async.emulator.films import encode_film, film, moving_view
from prodia_async.emulator.media import FORMATS, encode, mask, read_picture, upscale
from prodia_async.emulator.pattern import pattern_blocks
from prodia_async.emulator.pictures import restyle
from prodia_async.emulator.request import BadRequestError, JobError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from PIL import Image

    from prodia_async.emulator.request import ReceivedInput, ReceivedJob

_Number = TypeVar("_Number", int, float)
_MOST_BYTES = 16 * 1024**3
_MOST_SEED = 2**63 - 1
FRAME_RATE = 24
"""Frames a second of a film."""


class OutputFile(Struct, frozen=True):
    """One output; `blocks` gives its bytes, made anew at each call. `filename` None: none is sent.

    The job part of an answer looks like one: `json` is its text, without line ends.
    """

    filename: str | None
    content_type: str
    size: int
    blocks: Callable[[], Iterable[bytes]]
    json: bytes | None = None


class Plan(Struct, frozen=True):
    """A job whose configuration is in order, ready to run.

    `config` has its defaults filled in. `media_types` has the type of each output; `choices` those that a
    client may choose from for the first, where there is a choice. The outputs are `ready`, or
    `make(media_type)` makes them, in a worker thread, with the first one of that type.
    """

    config: dict[str, Any]
    media_types: tuple[str, ...] = ()
    make: Callable[[str], list[OutputFile]] | None = None
    ready: tuple[OutputFile, ...] = ()
    choices: Collection[str] = ()
    sized: bool = True


class Workshop:
    """Plans jobs by their type: any of the vendor's names works by the word in it that says what it does."""

    def plan(self, received: ReceivedJob, seed: int) -> Plan:
        """Check a job; `seed` is filled in where it has none. Raises JobError and BadRequestError."""
        planners: dict[str, Callable[[ReceivedJob, int], Plan]] = {
            "emulator.echo": self._echo,
            "emulator.bytes": self._bytes,
            "nano-banana": self._nano_banana,
            "txt2img": self._txt2img,
            "img2img": self._img2img,
            "txt2vid": self._txt2vid,
            "img2vid": self._img2vid,
            "upscale": self._upscale,
            "segment": self._segment,
            "ping": self._ping,
        }
        for word, planner in planners.items():
            if word in received.type:
                return planner(received, seed)
        raise JobError(f"{received.type}: no such job type")

    def _ping(self, received: ReceivedJob, _seed: int) -> Plan:
        return Plan(received.config)

    def _echo(self, received: ReceivedJob, _seed: int) -> Plan:
        outputs = tuple(_echoed(item) for item in received.inputs)
        return Plan(received.config, tuple(output.content_type for output in outputs), ready=outputs)

    def _bytes(self, received: ReceivedJob, seed: int) -> Plan:
        """Plan outputs of any size; `filename` may be a string, a list of one for each output, or null."""
        config = _with_seed(received.config, seed)
        size = _number(config, "size", 1024, 0, _MOST_BYTES)
        count = _number(config, "outputs", 1, 0, 2000)
        media_type = _text(config, "content_type", "application/octet-stream")
        names = config.get("filename", "bytes.bin")
        names = names if isinstance(names, list) else [names] * count
        if len(names) != count or not all(name is None or isinstance(name, str) for name in names):
            raise JobError("config.filename: must be a string, null, or a list of one for each output")
        outputs = tuple(
            _patterned(name, media_type, config["seed"] + index, size) for index, name in enumerate(names)
        )
        sized = _flag(config, "length", True)
        return Plan(config, (media_type,) * count, ready=outputs, sized=sized)

    def _txt2img(self, received: ReceivedJob, seed: int) -> Plan:
        config = _with_steps(_with_seed(received.config, seed))
        prompt = _text(config, "prompt", None)
        size = (_side(config, "width"), _side(config, "height"))
        config |= {"width": size[0], "height": size[1]}
        return _picture(config, lambda: drawn(prompt, config["seed"], size))

    def _img2img(self, received: ReceivedJob, seed: int) -> Plan:
        source = received.input()
        config = _with_steps(_with_seed(received.config, seed))
        prompt = _text(config, "prompt", "")
        return _picture(config, lambda: restyle(source, prompt, config["seed"]))

    def _upscale(self, received: ReceivedJob, _seed: int) -> Plan:
        source = received.input()
        factor = _number(received.config, "upscale", 2, 1, 8.0)
        config = received.config | {"upscale": factor}
        return _picture(config, lambda: upscale(source, factor))

    def _segment(self, received: ReceivedJob, _seed: int) -> Plan:
        source = received.input()
        return _picture(received.config, lambda: mask(read_picture(source)))

    def _txt2vid(self, received: ReceivedJob, seed: int) -> Plan:
        config = _with_film(_with_seed(received.config, seed))
        prompt = _text(config, "prompt", None)
        return _video(config, lambda *shape: film(prompt, config["seed"], *shape))

    def _img2vid(self, received: ReceivedJob, seed: int) -> Plan:
        source = received.input()
        config = _with_film(_with_seed(received.config, seed))
        return _video(
            config,
            lambda size, count: moving_view(read_picture(source, 3 * max(size)), size, count, config["seed"]),
        )

    def _nano_banana(self, received: ReceivedJob, seed: int) -> Plan:
        """Plan a picture and, unless `include_messages` is false, a message beside it."""
        plan = self._img2img(received, seed) if received.inputs else self._txt2img(received, seed)
        messages = _flag(plan.config, "include_messages", True)
        message = f"Here is your picture: {plan.config.get('prompt', '')}\n".encode()

        def make(media_type: str) -> list[OutputFile]:
            [picture] = plan.make(media_type) if plan.make is not None else plan.ready
            named = OutputFile(f"image{FORMATS[media_type][1]}", media_type, picture.size, picture.blocks)
            return [named, _whole("message.txt", "text/plain", message)] if messages else [named]

        config = plan.config | {"output_message_count": int(messages), "output_image_count": 1}
        types = ("image/png", "text/plain") if messages else ("image/png",)
        return Plan(config, types, make, choices=FORMATS)


def _picture(config: dict[str, Any], draw: Callable[[], Image.Image]) -> Plan:
    def make(media_type: str) -> list[OutputFile]:
        return [_whole(str(uuid4()), media_type, encode(draw(), media_type))]

    return Plan(config, ("image/jpeg",), make, choices=FORMATS)


def _video(config: dict[str, Any], frames: Callable[[tuple[int, int], int], Iterator[Image.Image]]) -> Plan:
    """Plan a film; `frames` gets its size and how many frames it has."""
    size, count = (config["width"], config["height"]), round(config["seconds"] * FRAME_RATE)

    def make(media_type: str) -> list[OutputFile]:
        return [_whole("video.mp4", media_type, encode_film(frames(size, count), size, FRAME_RATE))]

    return Plan(config, ("video/mp4",), make, choices=("video/mp4",))


def _whole(filename: str, media_type: str, content: bytes) -> OutputFile:
    return OutputFile(filename, media_type, len(content), lambda: [content])


def _echoed(item: ReceivedInput) -> OutputFile:
    if item.content is None:
        raise BadRequestError(f"{item.filename}: {item.size} bytes are too many to send back")
    return _whole(item.filename, item.content_type, item.content)


def _patterned(name: str | None, media_type: str, seed: int, size: int) -> OutputFile:
    return OutputFile(name, media_type, size, lambda: pattern_blocks(seed, size))


def _with_seed(config: dict[str, Any], seed: int) -> dict[str, Any]:
    return config | {"seed": _number(config, "seed", seed, 0, _MOST_SEED)}


def _with_steps(config: dict[str, Any]) -> dict[str, Any]:
    return config | {"steps": _number(config, "steps", 4, 1, 100)}


def _side(config: dict[str, Any], name: str) -> int:
    return _number(config, name, 512, 64, 4096)


def _with_film(config: dict[str, Any]) -> dict[str, Any]:
    """Fill in the measures of a film; its sides are even, since its colours are kept at half the size."""
    sides = {name: _number(config, name, 256, 64, 1024) for name in ("width", "height")}
    for name, side in sides.items():
        if side % 2:
            raise JobError(f"config.{name}: must be even")
    return config | sides | {"seconds": _number(config, "seconds", 2, 0.25, 5.0)}


def _number(config: dict[str, Any], name: str, default: _Number, least: _Number, most: _Number) -> _Number:
    """Return `config[name]`, within the bounds; a whole number where the highest is one. Raises JobError."""
    value: Any = config.get(name, default)
    kind = type(most)
    if not isinstance(value, int | kind) or isinstance(value, bool) or not least <= value <= most:
        raise JobError(
            f"config.{name}: must be a {'whole ' * (kind is int)}number from {least} to {most:.10g}"
        )
    return value


def _text(config: dict[str, Any], name: str, default: str | None, most: int = 32768) -> str:
    """Return `config[name]`, at most so long; needed where `default` is None. Raises JobError."""
    value = config.get(name, default)
    if not isinstance(value, str) or len(value) > most or (default is None and not value):
        raise JobError(f"config.{name}: must be a string of 1 to {most} characters")
    return value


def _flag(config: dict[str, Any], name: str, default: bool) -> bool:
    """Return `config[name]`, true or false. Raises JobError."""
    value = config.get(name, default)
    if not isinstance(value, bool):
        raise JobError(f"config.{name}: must be true or false")
    return value
