from __future__ import annotations

import io
import math

import pytest
from emulator.helpers import landscape
from PIL import Image, ImageStat

from prodia_async.emulator.cache import PictureCache

TXT2IMG = "inference.flux-fast.schnell.txt2img.v2"
IMG2IMG = "inference.flux.schnell.img2img.v1"


def likeness(one, other):
    """Return the correlation of the brightness of two pictures' upper parts, where no caption stands."""
    size = (40, 24)
    upper = [picture.convert("L").resize(size).crop((0, 0, 40, 16)).tobytes() for picture in (one, other)]
    means = [sum(values) / len(values) for values in upper]
    first, second = ([value - mean for value in values] for values, mean in zip(upper, means, strict=True))
    product = sum(a * b for a, b in zip(first, second, strict=True))
    return product / math.sqrt(sum(a * a for a in first) * sum(b * b for b in second))


async def draw(client, job_type=TXT2IMG, **config):
    reply = await client.run(job_type, config, accept="multipart/form-data; image/png")
    return reply.outputs()[0].picture()


async def change(client, job_type, content, accept="multipart/form-data; image/png", **config):
    return await client.run_form({"type": job_type, "config": config}, {b"in.png": content}, accept=accept)


async def test_a_picture_shows_its_prompt_and_its_seed(client):
    first = await draw(client, prompt="a hill", seed=1, width=320, height=200)
    assert (first.size, first.mode) == ((320, 200), "RGB")
    again = await draw(client, prompt="a hill", seed=1, width=320, height=200)
    assert again.tobytes() == first.tobytes()
    # Another prompt changes the caption only; another seed, of the same pattern too, the picture above it.
    caption = (0, 100, 320, 200)
    other_prompt = await draw(client, prompt="a sea", seed=1, width=320, height=200)
    assert other_prompt.crop((0, 0, 320, 100)).tobytes() == first.crop((0, 0, 320, 100)).tobytes()
    assert other_prompt.crop(caption).tobytes() != first.crop(caption).tobytes()
    for seed in (2, 33):
        other_seed = await draw(client, prompt="a hill", seed=seed, width=320, height=200)
        assert other_seed.crop((0, 0, 320, 100)).tobytes() != first.crop((0, 0, 320, 100)).tobytes()


@pytest.mark.parametrize("size", [(64, 64), (64, 512), (512, 64)])
async def test_small_and_odd_sizes_have_a_caption(client, size):
    picture = await draw(client, prompt="word " * 500 + "日本", seed=5, width=size[0], height=size[1])
    assert picture.size == size
    lowest = picture.crop((0, size[1] - 12, *size)).convert("L")
    assert ImageStat.Stat(lowest).extrema[0][1] > 200


async def test_img2img_transforms_the_very_picture_that_was_sent(client):
    content = landscape()
    sent = Image.open(io.BytesIO(content))
    [output] = (await change(client, IMG2IMG, content, prompt="oil painting", seed=3)).outputs()
    made = output.picture()
    assert made.size == sent.size
    assert likeness(made, sent) > 0.8
    assert likeness(made, sent.transpose(Image.Transpose.FLIP_LEFT_RIGHT)) < 0.5
    assert ImageStat.Stat(made).mean != pytest.approx(ImageStat.Stat(sent).mean, abs=5)
    [other] = (await change(client, IMG2IMG, content, prompt="oil painting", seed=4)).outputs()
    assert other.picture().tobytes() != made.tobytes()


async def test_img2img_keeps_proportions_of_a_large_and_of_a_turned_picture(client):
    [large] = (await change(client, IMG2IMG, landscape((2048, 1024), "JPEG"))).outputs()
    assert large.picture().size == (1024, 512)
    exif = Image.Exif()
    exif[0x0112] = 6
    [turned] = (await change(client, IMG2IMG, landscape((160, 96), "JPEG", exif=exif))).outputs()
    assert turned.picture().size == (96, 160)


@pytest.mark.parametrize(
    ("config", "size"), [({}, (320, 192)), ({"upscale": 3}, (480, 288)), ({"upscale": 1.5}, (240, 144))]
)
async def test_upscale_scales_the_input(client, config, size):
    content = landscape()
    reply = await change(client, "inference.resrgan.upscale.v1", content, **config)
    made = reply.outputs()[0].picture()
    assert made.size == size
    assert likeness(made, Image.open(io.BytesIO(content))) > 0.95
    assert reply.result()["config"]["upscale"] == config.get("upscale", 2)


async def test_segment_makes_a_mask(client):
    reply = await change(client, "inference.birefnet.segment.v1", landscape())
    mask = reply.outputs()[0].picture()
    assert {value for _, value in mask.getcolors()} == {0, 255}


async def test_nano_banana_has_several_outputs(client):
    reply = await change(
        client, "inference.nano-banana.img2img.v2", landscape(), "multipart/form-data", prompt="x"
    )
    assert [(part.filename, part.content_type) for part in reply.outputs()] == [
        ("image.png", "image/png"),
        ("message.txt", "text/plain"),
    ]
    assert reply.outputs()[0].picture().size == (160, 96)
    assert reply.outputs()[1].content == b"Here is your picture: x\n"
    assert reply.result()["config"]["output_message_count"] == 1


async def test_nano_banana_without_messages_may_come_directly(client):
    config = {"prompt": "x", "include_messages": False}
    reply = await client.run("inference.nano-banana.txt2img.v2", config, accept="image/jpeg")
    assert reply.headers["Content-Type"] == "image/jpeg"
    reply = await client.run(
        "inference.nano-banana.txt2img.v2", config, accept="multipart/form-data; image/jpeg"
    )
    assert [part.filename for part in reply.outputs()] == ["image.jpg"]


@pytest.mark.parametrize(
    ("job_type", "content", "config", "reason"),
    [
        (IMG2IMG, b"no picture", {}, "not a picture"),
        (IMG2IMG, landscape()[:-60], {}, "not a picture"),
        (IMG2IMG, b"\x00" * (32 * 1024 * 1024 + 1), {}, "too many for a picture"),
        ("inference.resrgan.upscale.v1", landscape((1200, 1200)), {"upscale": 8}, "too many"),
        ("inference.resrgan.upscale.v1", landscape((2100, 4)), {"upscale": 8}, "do not fit into image/webp"),
        ("inference.birefnet.segment.v1", landscape((9000, 9000), compress_level=1), {}, "too many"),
    ],
)
async def test_what_cannot_be_made_into_a_picture_is_a_failed_job(client, job_type, content, config, reason):
    accept = "multipart/form-data; image/webp"
    reply = await change(client, job_type, content, accept, **config)
    assert reply.status == 400
    assert reason in reply.result()["error"]
    assert reply.result()["emulator"]["inputs"][0]["size"] == len(content)
    stats = client.emulator.stats()
    assert (stats.failed, stats.refused, stats.billed) == (1, 0, 0)


async def test_img2img_without_an_input_is_400(client):
    reply = await client.run(IMG2IMG, {"prompt": "x"})
    assert (reply.status, reply.json()["detail"]) == (400, "Missing input image")


def test_the_cache_keeps_what_was_used_last_within_its_budget():
    cache = PictureCache(budget=3 * 100)
    made = []

    def picture(name):
        made.append(name)
        return Image.new("L", (10, 10))

    for name in "abcadab":
        cache.get(name, lambda name=name: picture(name))
    assert made == ["a", "b", "c", "d", "b"]


def test_a_picture_made_twice_at_once_is_kept_once():
    cache = PictureCache(budget=150)
    inner = Image.new("L", (10, 10))

    def make():
        return cache.get("a", lambda: inner).copy()

    assert cache.get("a", make) is not inner
    assert cache.get("a", make) is inner
