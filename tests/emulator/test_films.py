"""Films: real MP4 files, decoded again."""

from __future__ import annotations

import io
import subprocess
import sys
from urllib.parse import quote

import av
import pytest
from emulator.helpers import landscape
from PIL import Image, ImageChops, ImageOps

from prodia_async.emulator._films import moving_view

TXT2VID = "inference.wan2-2.lightning.txt2vid.v0"
IMG2VID = "inference.wan2-7.img2vid.v1"
SHORT = {"prompt": "a fox in the snow", "width": 64, "height": 96, "seconds": 0.25, "seed": 3}


def decoded(content: bytes) -> list[Image.Image]:
    with av.open(io.BytesIO(content)) as container:
        [stream] = container.streams
        assert (stream.codec_context.name, stream.average_rate) == ("h264", 24)
        return [frame.to_image() for frame in container.decode(video=0)]


def difference(one: Image.Image, other: Image.Image) -> float:
    """Return how far two pictures' tones lie apart on average, from 0 to 255."""
    return (
        ImageChops.difference(one, other).convert("L").resize((1, 1), Image.Resampling.BOX).getpixel((0, 0))
    )


async def test_a_film_has_two_seconds_by_default(client):
    reply = await client.run(TXT2VID, {"prompt": "a fox in the snow"})
    [film] = reply.outputs()
    assert (film.filename, film.content_type) == ("video.mp4", "video/mp4")
    config = reply.result()["config"]
    assert (config["width"], config["height"], config["seconds"]) == (256, 256, 2)
    frames = decoded(film.content)
    assert (len(frames), frames[0].size) == (48, (256, 256))
    assert difference(frames[0], frames[-1]) > 5
    # The caption does not move.
    feet = [frame.crop((0, 230, 256, 256)) for frame in (frames[0], frames[-1])]
    assert difference(*feet) < 3
    assert feet[0].convert("L").getextrema()[1] > 180


async def test_a_film_can_be_had_directly_and_is_the_same_for_the_same_seed(client):
    films = [await client.run(TXT2VID, SHORT | {"seed": seed}, accept="video/mp4") for seed in (3, 3, 4)]
    assert {film.headers["Content-Type"] for film in films} == {"video/mp4"}
    assert films[0].body == films[1].body != films[2].body
    frames = decoded(films[0].body)
    assert (len(frames), frames[0].size) == (6, (64, 96))


@pytest.mark.parametrize("accept", ["image/png", "multipart/form-data; image/png"])
async def test_a_film_is_a_film_only(client, accept):
    assert (await client.run(TXT2VID, SHORT, accept=accept)).status == 406
    assert (await client.submit(TXT2VID, SHORT, accept=accept)).status == 406


async def test_a_film_is_made_asynchronously(client):
    job_id = await client.ended(await client.submit(TXT2VID, SHORT))
    [name] = (await client.ask(job_id, "output")).json()
    film = await client.ask(job_id, f"output/{quote(name)}")
    assert film.headers["Content-Type"] == "video/mp4"
    assert len(decoded(film.body)) == 6


async def test_img2vid_moves_over_the_very_picture_that_was_sent(client):
    sent = landscape((320, 240))
    config = {"image": "a.png", "width": 160, "height": 120, "seconds": 1, "seed": 1}
    job = {"type": IMG2VID, "config": config}
    reply = await client.run_form(job, {b"a.png": sent})
    [film] = reply.outputs()
    frames = decoded(film.content)
    assert len(frames) == 24
    original = Image.open(io.BytesIO(sent)).resize((160, 120))
    assert difference(original, frames[0]) < 12
    assert difference(ImageOps.invert(original), frames[0]) > 40
    assert difference(frames[0], frames[-1]) > 4


async def test_img2vid_needs_a_picture(client):
    reply = await client.run(IMG2VID)
    assert (reply.status, reply.json()["detail"]) == (400, "Missing input image")
    reply = await client.run_form({"type": IMG2VID}, {b"a.png": b"no picture"})
    assert reply.result()["error"] == "a.png: not a picture that can be read"


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ({"prompt": ""}, "config.prompt: must be a string of 1 to 32768 characters"),
        ({"width": 65}, "config.width: must be even"),
        ({"height": 2048}, "config.height: must be a whole number from 64 to 1024"),
        ({"seconds": 60}, "config.seconds: must be a number from 0.25 to 5"),
    ],
)
async def test_a_film_has_bounds(client, config, reason):
    reply = await client.run(TXT2VID, SHORT | config)
    assert (reply.status, reply.result()["error"]) == (400, reason)


@pytest.mark.parametrize("size", [(400, 100), (100, 400), (30, 20)])
def test_the_camera_stays_within_any_picture(size):
    # Around the picture there would be black.
    frames = list(moving_view(Image.new("RGB", size, "white"), (64, 96), 5, 1))
    assert [frame.getextrema() for frame in frames] == [((255, 255),) * 3] * 5


def test_without_pyav_a_film_fails_and_says_what_is_missing():
    program = (
        "import sys; sys.modules['av'] = None\n"
        "from prodia_async.emulator._films import encode_film\n"
        "from prodia_async.emulator._request import JobError\n"
        "try: encode_film([], (64, 64), 24)\n"
        "except JobError as error: print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], check=True, timeout=60, capture_output=True, text=True
    )
    assert done.stdout == 'a film needs PyAV, which is not installed: pip install "prodia-async[emulator]"\n'
