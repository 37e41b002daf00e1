"""Job types: what each needs, how many outputs it has, and how they are made."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from prodia_async.emulator import checks
from prodia_async.emulator.films import encode_film
from prodia_async.emulator.pattern import pattern_blocks
from prodia_async.emulator.pictures import FORMATS, SUFFIXES, Studio, encode
from prodia_async.emulator.request import BadRequestError, JobError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator

    from PIL import Image

    from prodia_async.emulator.request import ReceivedInput, ReceivedJob

    Make = Callable[[str], "list[OutputFile]"]

_MOST_BYTES = 16 * 1024**3
_MOST_SEED = 2**63 - 1
FRAME_RATE = 24
"""Frames a second of a film."""


@dataclass(frozen=True)
class OutputFile:
    """One output; `blocks` gives its bytes, made anew at each call. `filename` None: none is sent."""

    filename: str | None
    content_type: str
    size: int
    blocks: Callable[[], Iterable[bytes]]


@dataclass(frozen=True)
class Plan:
    """A job whose configuration is in order, ready to run.

    `config` has its defaults filled in. `media_types` has the type of each output; `choices` those that a
    client may choose from for the first, where there is a choice. `make(media_type)` is called in a worker
    thread with the type of the first output.
    """

    config: dict[str, Any]
    make: Make
    media_types: tuple[str, ...]
    choices: Collection[str] = ()
    sized: bool = True


@dataclass(frozen=True)
class Workshop:
    """Plans jobs by their type: any of the vendor's names works by the word in it that says what it does."""

    studio: Studio = field(default_factory=Studio)

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
        return Plan(received.config, lambda _: [], ())

    def _echo(self, received: ReceivedJob, _seed: int) -> Plan:
        outputs = [_echoed(item) for item in received.inputs]
        return Plan(received.config, lambda _: outputs, tuple(output.content_type for output in outputs))

    def _bytes(self, received: ReceivedJob, seed: int) -> Plan:
        """Plan outputs of any size; `filename` may be a string, a list of one for each output, or null."""
        config = _with_seed(received.config, seed)
        size = checks.integer(config, "size", 1024, 0, _MOST_BYTES)
        count = checks.integer(config, "outputs", 1, 0, 2000)
        media_type = checks.text(config, "content_type", "application/octet-stream")
        names = config.get("filename", "bytes.bin")
        names = names if isinstance(names, list) else [names] * count
        if len(names) != count or not all(name is None or isinstance(name, str) for name in names):
            raise JobError("config.filename: must be a string, null, or a list of one for each output")
        outputs = [
            _patterned(name, media_type, config["seed"] + index, size) for index, name in enumerate(names)
        ]
        sized = checks.flag(config, "length", True)
        return Plan(config, lambda _: outputs, (media_type,) * count, sized=sized)

    def _txt2img(self, received: ReceivedJob, seed: int) -> Plan:
        config = _with_steps(_with_seed(received.config, seed))
        prompt = checks.text(config, "prompt", None)
        size = (_side(config, "width"), _side(config, "height"))
        config |= {"width": size[0], "height": size[1]}
        return _picture(config, lambda: self.studio.draw(prompt, config["seed"], size))

    def _img2img(self, received: ReceivedJob, seed: int) -> Plan:
        source = received.image()
        config = _with_steps(_with_seed(received.config, seed))
        prompt = checks.text(config, "prompt", "")
        return _picture(config, lambda: self.studio.restyle(source, prompt, config["seed"]))

    def _upscale(self, received: ReceivedJob, _seed: int) -> Plan:
        source = received.image()
        factor = checks.number(received.config, "upscale", 2, 1, 8)
        config = received.config | {"upscale": factor}
        return _picture(config, lambda: self.studio.upscale(source, factor))

    def _segment(self, received: ReceivedJob, _seed: int) -> Plan:
        source = received.image()
        return _picture(received.config, lambda: self.studio.segment(source))

    def _txt2vid(self, received: ReceivedJob, seed: int) -> Plan:
        config = _with_film(_with_seed(received.config, seed))
        prompt = checks.text(config, "prompt", None)
        return _video(config, lambda *film: self.studio.film(prompt, config["seed"], *film))

    def _img2vid(self, received: ReceivedJob, seed: int) -> Plan:
        source = received.image()
        config = _with_film(_with_seed(received.config, seed))
        return _video(config, lambda *film: self.studio.film_of(source, config["seed"], *film))

    def _nano_banana(self, received: ReceivedJob, seed: int) -> Plan:
        """Plan a picture and, unless `include_messages` is false, a message beside it."""
        plan = self._img2img(received, seed) if received.inputs else self._txt2img(received, seed)
        messages = checks.flag(plan.config, "include_messages", True)
        message = f"Here is your picture: {plan.config.get('prompt', '')}\n".encode()

        def make(media_type: str) -> list[OutputFile]:
            [picture] = plan.make(media_type)
            named = OutputFile(f"image{SUFFIXES[media_type]}", media_type, picture.size, picture.blocks)
            return [named, _whole("message.txt", "text/plain", message)] if messages else [named]

        config = plan.config | {"output_message_count": int(messages), "output_image_count": 1}
        types = ("image/png", "text/plain") if messages else ("image/png",)
        return Plan(config, make, types, FORMATS)


def _picture(config: dict[str, Any], draw: Callable[[], Image.Image]) -> Plan:
    def make(media_type: str) -> list[OutputFile]:
        return [_whole(str(uuid4()), media_type, encode(draw(), media_type))]

    return Plan(config, make, ("image/jpeg",), FORMATS)


def _video(config: dict[str, Any], frames: Callable[[tuple[int, int], int], Iterator[Image.Image]]) -> Plan:
    """Plan a film; `frames` gets its size and how many frames it has."""
    size, count = (config["width"], config["height"]), round(config["seconds"] * FRAME_RATE)

    def make(media_type: str) -> list[OutputFile]:
        return [_whole("video.mp4", media_type, encode_film(frames(size, count), size, FRAME_RATE))]

    return Plan(config, make, ("video/mp4",), ("video/mp4",))


def _whole(filename: str, media_type: str, content: bytes) -> OutputFile:
    return OutputFile(filename, media_type, len(content), lambda: [content])


def _echoed(item: ReceivedInput) -> OutputFile:
    if item.content is None:
        raise BadRequestError(f"{item.filename}: {item.size} bytes are too many to send back")
    return _whole(item.filename, item.content_type, item.content)


def _patterned(name: str | None, media_type: str, seed: int, size: int) -> OutputFile:
    return OutputFile(name, media_type, size, lambda: pattern_blocks(seed, size))


def _with_seed(config: dict[str, Any], seed: int) -> dict[str, Any]:
    return config | {"seed": checks.integer(config, "seed", seed, 0, _MOST_SEED)}


def _with_steps(config: dict[str, Any]) -> dict[str, Any]:
    return config | {"steps": checks.integer(config, "steps", 4, 1, 100)}


def _side(config: dict[str, Any], name: str) -> int:
    return checks.integer(config, name, 512, 64, 4096)


def _with_film(config: dict[str, Any]) -> dict[str, Any]:
    """Fill in the measures of a film; its sides are even, since its colours are kept at half the size."""
    sides = {name: checks.integer(config, name, 256, 64, 1024) for name in ("width", "height")}
    for name, side in sides.items():
        if side % 2:
            raise JobError(f"config.{name}: must be even")
    return config | sides | {"seconds": checks.number(config, "seconds", 2, 0.25, 5)}
