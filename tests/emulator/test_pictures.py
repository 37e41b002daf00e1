from __future__ import annotations

import io
import math

import pytest
from emulator.helpers import landscape
from PIL import Image, ImageChops, ImageFont, ImageStat

from prodia_async.emulator import _drawing as drawing
from prodia_async.emulator._drawing import Caption, paint, plain
from prodia_async.emulator._pictures import restyled

TXT2IMG = "inference.flux-fast.schnell.txt2img.v2"
IMG2IMG = "inference.flux.schnell.img2img.v1"


def likeness(one, other):
    """Return the correlation of the brightness of two pictures' upper parts, where no caption stands."""
    size = (40, 24)
    upper = [picture.convert("L").resize(size).crop((0, 0, 40, 16)).tobytes() for picture in (one, other)]
    return correlation(*upper)


def correlation(one, other):
    means = [sum(values) / len(values) for values in (one, other)]
    first, second = ([v - mean for v in values] for values, mean in zip((one, other), means, strict=True))
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
    # The words and the seed make the scene as well as the caption.
    scene, caption = (0, 0, 320, 100), (0, 150, 320, 200)
    for change in ({"prompt": "a sea"}, {"seed": 2}, {"prompt": "A hill"}):
        other = await draw(client, **({"prompt": "a hill", "seed": 1, "width": 320, "height": 200} | change))
        assert other.crop(scene).tobytes() != first.crop(scene).tobytes()
        assert other.crop(caption).tobytes() != first.crop(caption).tobytes()


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
    reply = await change(client, "inference.sam2.segment.v1", landscape())
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


def test_words_choose_the_light():
    def brightness(prompt, seed):
        return ImageStat.Stat(paint(prompt, seed, (96, 64)).convert("L")).mean[0]

    nights, days = ([brightness(prompt, seed) for seed in range(8)] for prompt in ("at night", "in spring"))
    assert sum(nights) < 0.8 * sum(days)


def test_words_choose_land_or_sea():
    """Where there is water, the light lies on it in stripes: the picture's foot has more tones than rows."""
    seas = [paint("a ship on the sea", seed, (96, 96)) for seed in range(6)]
    lands = [paint("a village", seed, (96, 96)) for seed in range(6)]
    feet = [
        [len(picture.crop((0, 70, 96, 96)).getcolors(4096)) for picture in kind] for kind in (seas, lands)
    ]
    assert min(feet[0]) > sorted(feet[1])[2]


@pytest.mark.parametrize("size", [(96, 96), (240, 64), (64, 240), (1, 1), (2000, 700)])
def test_a_scene_of_any_shape_is_the_same_for_the_same_seed(size):
    scenes = [paint("a picture", seed, size) for seed in (1, 1, 2)]
    assert {(scene.size, scene.mode) for scene in scenes} == {(size, "RGB")}
    assert scenes[0].tobytes() == scenes[1].tobytes()
    assert size == (1, 1) or scenes[0].tobytes() != scenes[2].tobytes()
    assert size == (1, 1) or len(scenes[0].getcolors(1 << 21)) > 50


def test_seeds_give_many_hues():
    hues = {
        paint("a picture", seed, (64, 64)).resize((1, 1)).convert("HSV").tobytes()[0] // 32
        for seed in range(40)
    }
    assert len(hues) >= 5


def brightness(picture):
    values = picture.convert("HSV").getchannel("V").resize((24, 24), Image.Resampling.BOX).tobytes()
    return [float(value) for value in values]


@pytest.mark.parametrize("share", [1.0, 0.15])
def test_each_style_is_seen_and_keeps_the_picture(share):
    """A dark picture too: it is made lighter, so that the style can be seen."""
    sent = Image.open(io.BytesIO(landscape((320, 192)))).point(
        [round(tone * share) for tone in range(256)] * 3
    )
    before = sent.tobytes()
    made = [restyled(sent, seed) for seed in range(20)]
    assert len({picture.tobytes() for picture in made}) == 20
    for picture in made:
        assert (picture.size, picture.mode) == (sent.size, "RGB")
        assert correlation(brightness(picture), brightness(sent)) > 0.75
        difference = ImageChops.difference(picture, sent).convert("L")
        assert ImageStat.Stat(difference).mean[0] > 10
    assert sent.tobytes() == before


def test_a_picture_of_one_colour_can_be_restyled():
    for colour in ("black", "white"):
        sent = Image.new("RGB", (3, 1), colour)
        assert {restyled(sent, seed).size for seed in range(10)} == {(3, 1)}


WIDE = "jumping gypsy quays: Ægypt, \N{LATIN SMALL LETTER E WITH ACUTE}" + 40 * "q" + " " + "word " * 90


@pytest.mark.parametrize("size", [(64, 64), (512, 256), (256, 384), (320, 320), (1024, 1024), (64, 1024)])
@pytest.mark.parametrize("prompt", ["", "jgpqy", WIDE, "\u65e5" * 700])
def test_a_caption_stays_within_its_band(size, prompt):
    picture = Image.new("RGB", size, "black")
    caption = Caption(prompt, 2**63 - 1, size, share=0.4)
    caption.draw_on(picture)
    left, top, right, bottom = (
        picture.convert("L").point([255 * (tone > 60) for tone in range(256)]).getbbox()
    )
    assert size[1] - caption.height <= top < bottom <= size[1] - 1
    assert 1 <= left < right <= size[0] - 1
    assert caption.height <= max(0.4 * size[1], 36)


def test_letters_grow_with_the_picture():
    heights = [
        Caption("a hill", 1, size, 0.4).height for size in [(64, 64), (512, 256), (512, 512), (1024, 1024)]
    ]
    assert heights == sorted(set(heights))


def test_a_seed_is_written_whole_where_it_fits():
    def written(seed, width):
        picture = Image.new("RGB", (width, 64), "black")
        Caption("", seed, picture.size, 0.4).draw_on(picture)
        return picture.tobytes()

    assert len({written(seed, 64) for seed in (123456, 123457, 12345)}) == 3
    assert written(2**63 - 1, 64) == written(2**63 - 2, 64)
    assert written(2**63 - 1, 256) != written(2**63 - 2, 256)


def written(prompt, size=(200, 64)):
    picture = Image.new("RGB", size, "black")
    Caption(prompt, 1, size, 0.9).draw_on(picture)
    return picture.tobytes()


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("caf\u00e9", "cafe"),
        ("cafe\u0301", "cafe"),
        ("\u0141\u00f3d\u017a", "?odz"),
        ("\u65e5\u672c", "??"),
        ("a\u200d\ufe0fb\ud800", "ab?"),
        ("\ufb01x\u017f\u2026", "fixs..."),
    ],
)
def test_where_no_font_has_a_letter_a_plain_one_stands(monkeypatch, text, shown):
    """Stands in for a machine of which no font has more than ASCII."""
    has = drawing._has
    monkeypatch.setattr(drawing, "_has", lambda name, letter: letter.isascii() and has(name, letter))
    drawing._font_for.cache_clear()
    assert written(text) == written(shown)
    drawing._font_for.cache_clear()


def test_a_font_of_the_system_is_used_where_it_has_the_letters():
    try:
        ImageFont.truetype("DejaVuSans.ttf", 12)
    except OSError:
        pytest.skip("this system has no DejaVu Sans")
    assert drawing.fonts()[-1] == ""
    assert drawing._font(drawing._font_for("caf\u00e9 \u0416"), 12).getname()[0] == "DejaVu Sans"
    # What no font has in one is drawn with the one that has most of it.
    assert drawing._font_for("\u0416\u00e9\U0010fffe") == drawing._font_for("\u0416")
    assert len({written("\u0416"), written("?"), written("\u00e9")}) == 3


def test_plain_letters():
    letters = "\u2026\u00e5\ufb01\u017f\u200b\t\u65e5"
    assert [plain(letter) for letter in letters] == ["...", "a", "fi", "s", "", "", "?"]


async def test_a_prompt_of_half_a_letter_is_drawn(client):
    picture = await draw(client, prompt="half \ud83d", seed=1, width=64, height=64)
    assert picture.size == (64, 64)
