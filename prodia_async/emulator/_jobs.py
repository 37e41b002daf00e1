"""Job types: what each needs, how many outputs it has, and how they are made.

Any of the vendor's names works by the word in it that says what it does.
"""

from __future__ import annotations

import hashlib
import html
import json
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from prodia_async.emulator._drawing import drawn
from prodia_async.emulator._films import encode_film, film, moving_view
from prodia_async.emulator._media import FORMATS, encode, mask, read_frame, read_picture, upscale
from prodia_async.emulator._pattern import pattern_blocks
from prodia_async.emulator._pictures import restyle, restyled
from prodia_async.emulator._plans import (
    OutputFile,
    Plan,
    read_flag,
    read_number,
    read_text,
    with_film,
    with_seed,
    with_steps,
)
from prodia_async.emulator._request import BadRequestError, JobError, ReceivedInput, ReceivedJob

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from PIL import Image

    Size = tuple[int, int]

_MOST_BYTES = 16 * 1024**3
_MOST_STEPS = 16
FRAME_RATE = 24
"""Frames a second of a film."""


def plan(received: ReceivedJob, seed: int, score: float = 0) -> Plan:
    """Check a job; `seed` is filled in where it has none. Raises JobError and BadRequestError.

    `score` is what a moderation finds in it.
    """
    for word, planner in _PLANNERS:
        if word in received.type:
            return planner(received, seed)
    if received.type.startswith("workflow."):
        return _workflow(received, seed, score)
    raise JobError(f"{received.type}: no such job type")


def _ping(received: ReceivedJob, _seed: int) -> Plan:
    return Plan(received.config)


def _echo(received: ReceivedJob, _seed: int) -> Plan:
    outputs = tuple(_echoed(item) for item in received.inputs)
    return Plan(received.config, tuple(output.content_type for output in outputs), ready=outputs)


def _bytes(received: ReceivedJob, seed: int) -> Plan:
    """Plan outputs of any size; `filename` may be a string, a list of one for each output, or null."""
    config = with_seed(received.config, seed)
    size = read_number(config, "size", 1024, 0, _MOST_BYTES)
    count = read_number(config, "outputs", 1, 0, 2000)
    media_type = read_text(config, "content_type", "application/octet-stream")
    names = config.get("filename", "bytes.bin")
    names = names if isinstance(names, list) else [names] * count
    if len(names) != count or not all(name is None or isinstance(name, str) for name in names):
        raise JobError("config.filename: must be a string, null, or a list of one for each output")
    outputs = tuple(_patterned(name, media_type, config["seed"] + n, size) for n, name in enumerate(names))
    return Plan(config, (media_type,) * count, ready=outputs, sized=read_flag(config, "length", True))


def _txt2img(received: ReceivedJob, seed: int) -> Plan:
    config = with_steps(with_seed(received.config, seed))
    prompt = read_text(config, "prompt", None)
    size = (read_number(config, "width", 512, 64, 4096), read_number(config, "height", 512, 64, 4096))
    config |= {"width": size[0], "height": size[1]}
    return _picture(config, lambda: drawn(prompt, config["seed"], size))


def _img2img(received: ReceivedJob, seed: int) -> Plan:
    source = received.input()
    config = with_steps(with_seed(received.config, seed))
    prompt = read_text(config, "prompt", "")
    return _picture(config, lambda: restyle(source, prompt, config["seed"]))


def _upscale(received: ReceivedJob, _seed: int) -> Plan:
    source = received.input()
    factor = read_number(received.config, "upscale", 2, 1, 8.0)
    return _picture(received.config | {"upscale": factor}, lambda: upscale(source, factor))


def _segment(received: ReceivedJob, _seed: int) -> Plan:
    source = received.input()
    return _picture(received.config, lambda: mask(read_picture(source, 1024)))


def _cut_out(received: ReceivedJob, _seed: int) -> Plan:
    """Plan what stands before the background, and the mask of it."""
    source = received.input()

    def make(_media_type: str) -> list[OutputFile]:
        picture = read_picture(source, 1024)
        shape = mask(picture)
        picture.putalpha(shape)
        files = (("foreground.png", picture), ("mask.png", shape))
        return [_whole(name, "image/png", encode(image, "image/png")) for name, image in files]

    return Plan(received.config, ("image/png",) * 2, make)


def _masks(received: ReceivedJob, _seed: int) -> Plan:
    """Plan one mask for each thing that is found: one to four, by the prompt and the picture."""
    source, prompt = received.input(), read_text(received.config, "prompt", None)
    count = 1 + hashlib.sha256(f"{prompt} {source.sha256}".encode("utf-8", "replace")).digest()[0] % 4

    def make(_media_type: str) -> list[OutputFile]:
        grey = read_picture(source, 1024).convert("L")
        bands = [[255 * (tone * count // 256 == band) for tone in range(256)] for band in range(count)]
        pictures = [encode(grey.point(band), "image/png") for band in bands]
        return [_whole(f"mask-{number}.png", "image/png", picture) for number, picture in enumerate(pictures)]

    return Plan(received.config, ("image/png",) * count, make)


def _img2label(received: ReceivedJob, _seed: int) -> Plan:
    """Plan labels for a picture, and the picture as it came."""
    source = received.input()

    def make(_media_type: str) -> list[OutputFile]:
        small = read_picture(source).resize((1, 1))
        score = small.convert("L").tobytes()[0] / 255
        hue = ("red", "yellow", "green", "cyan", "blue", "magenta")[
            small.convert("HSV").tobytes()[0] * 6 // 256
        ]
        labels = {"bright": score, "dark": 1 - score, hue: 0.5}
        best = sorted(labels.items(), key=lambda pair: -pair[1])
        text = json.dumps([{"label": label, "score": round(share, 4)} for label, share in best]).encode()
        return [_whole("labels.json", "application/json", text), _echoed(source)]

    return Plan(received.config, ("application/json", source.content_type), make)


def _txt2vec(received: ReceivedJob, seed: int) -> Plan:
    """Plan a drawing in SVG: hills of the seed's hues, and the prompt in words."""
    config = with_seed(received.config, seed)
    words, hue = (
        html.escape(read_text(config, "prompt", None).encode("utf-8", "replace").decode()),
        config["seed"] % 360,
    )

    def make(media_type: str) -> list[OutputFile]:
        hills = "".join(
            f'<path d="M0 {y} Q128 {y - 120} 256 {y} T512 {y} V512 H0z" fill="hsl({hue},60%,{light}%)"/>'
            for y, light in ((260, 55), (320, 43), (390, 31))
        )
        text = f'<text x="16" y="480" fill="#fff" font-size="16">seed {config["seed"]}: {words}</text>'
        svg = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 512 512">{hills}{text}</svg>\n'
        return [_whole(str(uuid4()), media_type, svg.encode())]

    return Plan(config, ("image/svg+xml",), make, choices=("image/svg+xml",))


def _txt2vid(received: ReceivedJob, seed: int) -> Plan:
    config = with_film(with_seed(received.config, seed))
    prompt = read_text(config, "prompt", None)
    return _video(config, lambda size, count: film(prompt, config["seed"], size, count))


def _aud2vid(received: ReceivedJob, seed: int) -> Plan:
    """Plan a film to a sound, which is not listened to."""
    source = received.input()
    return _txt2vid(
        ReceivedJob({"type": "", "config": {"prompt": source.filename or "sound"} | received.config}), seed
    )


def _img2vid(received: ReceivedJob, seed: int) -> Plan:
    source = received.input()
    config = with_film(with_seed(received.config, seed))

    def frames(size: Size, count: int) -> Iterator[Image.Image]:
        return moving_view(read_picture(source, 3 * max(size)), size, count, config["seed"])

    return _video(config, frames)


def _vid2vid(received: ReceivedJob, seed: int) -> Plan:
    """Plan a film over the first frame of the video that was sent, in another style."""
    source = received.input()
    config = with_film(with_seed(received.config, seed))

    def frames(size: Size, count: int) -> Iterator[Image.Image]:
        return moving_view(restyled(read_frame(source), config["seed"]), size, count, config["seed"])

    return _video(config, frames)


def _nano_banana(received: ReceivedJob, seed: int) -> Plan:
    """Plan a picture and, unless `include_messages` is false, a message beside it."""
    picture = _img2img(received, seed) if received.inputs else _txt2img(received, seed)
    messages = read_flag(picture.config, "include_messages", True)
    message = f"Here is your picture: {picture.config.get('prompt', '')}\n".encode("utf-8", "replace")

    def make(media_type: str) -> list[OutputFile]:
        [made] = _made(picture, media_type)
        named = OutputFile(f"image{FORMATS[media_type][1]}", media_type, made.size, made.blocks)
        return [named, _whole("message.txt", "text/plain", message)] if messages else [named]

    config = picture.config | {"output_message_count": int(messages), "output_image_count": 1}
    types = ("image/png", "text/plain") if messages else ("image/png",)
    return Plan(config, types, make, choices=FORMATS)


def _workflow(received: ReceivedJob, seed: int, score: float) -> Plan:
    """Plan jobs in a row, each with the outputs of the one before it as its inputs.

    The jobs stand in the job or in its config. `workflow.moderate` passes on what comes, its own jobs'
    outputs or its inputs, unless the score is above its threshold.
    """
    job, moderates = received.config | received.job, received.type.startswith("workflow.moderate.")
    steps = job.get("jobs", [] if moderates else None)
    if not moderates and not received.type.startswith("workflow.serial."):
        raise JobError(f"{received.type}: no such job type")
    if not isinstance(steps, list) or not len(steps) <= _MOST_STEPS or not (steps or moderates):
        raise JobError(f"jobs: must be a list of 1 to {_MOST_STEPS} jobs, in the job or in its config")
    for step in steps:
        if not isinstance(step, dict) or not isinstance(step.get("type"), str):
            raise JobError("jobs: each must be an object with a type")
        if not isinstance(step.get("config") or {}, dict) or step["type"].startswith(received.type[:15]):
            raise JobError(f"jobs: a {step['type']} cannot stand here, or its config is not a JSON object")
    threshold = read_number(job, "threshold", 0.95, 0, 1.0)
    # Each is planned before the first one runs, so that what is wrong with any is told at once.
    plans: list[Plan] = []
    inputs = received.inputs
    for step in steps:
        plans.append(plan(ReceivedJob(step, inputs), seed, score))
        kinds = enumerate(plans[-1].media_types)
        inputs = tuple(ReceivedInput(str(number), kind, 0, "", b"") for number, kind in kinds)
    last = plans[-1] if plans else _echo(received, seed)

    def make(media_type: str) -> list[OutputFile]:
        if moderates and score > threshold:
            raise JobError(f"the content was refused: its score {score:g} is above {threshold:g}")
        inputs, outputs = received.inputs, list(last.ready)
        for number, step in enumerate(steps):
            current = plan(ReceivedJob(step, inputs), seed, score)
            is_last = number == len(steps) - 1
            outputs = _made(current, media_type if is_last else "".join(current.media_types[:1]))
            inputs = tuple(_as_input(output) for output in outputs)
        return outputs

    billed = tuple(
        item
        for one, step in zip(plans, steps, strict=True)
        for item in one.billed or ((step["type"], one.config),)
    )
    return Plan(
        received.config, last.media_types, make, choices=last.choices, sized=last.sized, billed=billed
    )


def _made(current: Plan, media_type: str) -> list[OutputFile]:
    return list(current.ready) if current.make is None else current.make(media_type)


def _as_input(output: OutputFile) -> ReceivedInput:
    content = b"".join(output.blocks())
    digest = hashlib.sha256(content).hexdigest()
    return ReceivedInput(output.filename or "", output.content_type, len(content), digest, content)


def _picture(config: dict[str, Any], draw: Callable[[], Image.Image]) -> Plan:
    def make(media_type: str) -> list[OutputFile]:
        return [_whole(str(uuid4()), media_type, encode(draw(), media_type))]

    return Plan(config, ("image/jpeg",), make, choices=FORMATS)


def _video(config: dict[str, Any], frames: Callable[[Size, int], Iterator[Image.Image]]) -> Plan:
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


_PLANNERS: tuple[tuple[str, Callable[[ReceivedJob, int], Plan]], ...] = (
    ("emulator.echo", _echo),
    ("emulator.bytes", _bytes),
    ("nano-banana", _nano_banana),
    ("txt2img", _txt2img),
    ("txt2vec", _txt2vec),
    ("txt2vid", _txt2vid),
    ("aud2vid", _aud2vid),
    ("img2vid", _img2vid),
    ("vid2vid", _vid2vid),
    ("img2label", _img2label),
    ("img2img", _img2img),
    ("image-edit", _img2img),
    ("inpainting", _img2img),
    ("facerestore", _img2img),
    ("upscale", _upscale),
    ("birefnet", _cut_out),
    ("remove-background", _cut_out),
    ("sam3", _masks),
    ("inference.segment.", _masks),
    ("segment", _segment),
    ("ping", _ping),
)
"""The words in job types; the first one that is found counts."""
