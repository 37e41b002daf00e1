"""What each type of job takes and gives: outputs, workflows, schemas and prices."""

from __future__ import annotations

import io
import json
from xml.etree import ElementTree as ET

import av
import pytest
from emulator.helpers import landscape
from PIL import Image

TXT2IMG = "inference.flux-fast.schnell.txt2img.v2"
IMG2IMG = "inference.flux.schnell.img2img.v1"
UPSCALE = "inference.resrgan.upscale.v1"
SERIAL, MODERATE = "workflow.serial.v1", "workflow.moderate.v1"


async def made(client, job_type, content=None, query="", **config):
    job = {"type": job_type, "config": config}
    if content is None:
        return await client.run(job_type, config, query)
    return await client.run_form(job, {b"in.png": content}, query=query)


@pytest.mark.parametrize("job_type", ["inference.birefnet.segment.v1", "inference.remove-background.v1"])
async def test_a_cut_out_comes_with_its_mask(client, job_type):
    reply = await made(client, job_type, landscape())
    outputs = reply.outputs()
    assert [(part.filename, part.content_type) for part in outputs] == [
        ("foreground.png", "image/png"),
        ("mask.png", "image/png"),
    ]
    foreground, mask = (part.picture() for part in outputs)
    assert (foreground.mode, foreground.size, mask.mode) == ("RGBA", (160, 96), "L")
    assert foreground.getchannel("A").tobytes() == mask.tobytes()
    assert {value for _, value in mask.getcolors()} == {0, 255}


@pytest.mark.parametrize("job_type", ["inference.sam3.segment.v1", "inference.segment.v2"])
async def test_there_are_as_many_masks_as_things_are_found(client, job_type):
    counts = []
    for prompt in ("hill", "sun", "sky", "tree", "bird", "cloud"):
        outputs = (await made(client, job_type, landscape(), prompt=prompt)).outputs()
        assert {(part.content_type, part.picture().mode) for part in outputs} == {("image/png", "L")}
        counts.append(len(outputs))
        again = (await made(client, job_type, landscape(), prompt=prompt)).outputs()
        assert [part.content for part in again] == [part.content for part in outputs]
    assert 1 <= min(counts) < max(counts) <= 4


async def test_labels_come_with_the_picture_passed_through(client):
    content = landscape()
    labels, picture = (await made(client, "inference.vit.img2label.v2", content)).outputs()
    assert (labels.filename, labels.content_type) == ("labels.json", "application/json")
    found = json.loads(labels.content)
    assert [set(one) for one in found] == [{"label", "score"}] * len(found)
    assert (picture.filename, picture.content) == ("in.png", content)


async def test_a_vector_drawing_is_svg_with_the_prompt_in_it(client):
    prompt = "a <hill> & \ud83d"
    reply = await made(client, "inference.recraft.v4.txt2vec.v1", prompt=prompt, seed=7)
    [output] = reply.outputs()
    assert output.content_type == "image/svg+xml"
    assert "seed 7: a <hill> & ?" in "".join(ET.fromstring(output.content).itertext())
    direct = await client.run("inference.recraft.v4.pro.txt2vec.v1", {"prompt": "x"}, accept="image/svg+xml")
    assert direct.headers["Content-Type"] == "image/svg+xml"
    assert (
        await client.run("inference.recraft.v4.txt2vec.v1", {"prompt": "x"}, accept="image/png")
    ).status == 406


SHORT = {"width": 64, "height": 64, "seconds": 0.25}


async def test_a_video_is_made_from_a_video(client):
    film = (await made(client, "inference.veo.txt2vid.v1", prompt="a fox", **SHORT)).outputs()[0].content
    job_type = "inference.runway.gen4.vid2vid.v1"
    [output] = (await made(client, job_type, film, **SHORT)).outputs()
    with av.open(io.BytesIO(output.content)) as container:
        assert len(list(container.decode(video=0))) == 6
    for content in (b"no video", landscape()[:50], b""):
        reply = await made(client, job_type, content, **SHORT)
        assert (reply.status, reply.result()["error"]) == (400, "in.png: not a video that can be read")


async def test_a_video_is_made_to_a_sound(client):
    job_type = "inference.pruna.p-video.aud2vid.v1"
    [output] = (await made(client, job_type, b"RIFF....WAVE", **SHORT)).outputs()
    assert output.content_type == "video/mp4"
    reply = await made(client, job_type, **SHORT)
    assert (reply.status, reply.json()["detail"]) == (400, "Missing input image")


@pytest.mark.parametrize(
    "job_type",
    [
        "inference.sdxl.inpainting.v1",
        "inference.facerestore.v1",
        "inference.qwen.image-edit.plus.lightning.img2img.v2",
        "inference.hypir.upscale.v1",
        "inference.upscale.v1",
        "inference.sam2.segment.v1",
    ],
)
async def test_other_types_make_a_picture_of_the_picture(client, job_type):
    [output] = (await made(client, job_type, landscape())).outputs()
    assert output.picture().width in (160, 320)


# --- Workflows ---

STEPS = [{"type": TXT2IMG, "config": {"prompt": "a hill", "width": 64, "height": 64}}, {"type": UPSCALE}]


def workflow(steps, where, job_type=SERIAL, **more):
    job = {"type": job_type, "name": "mine", **more}
    return job | ({"jobs": steps} if where == "job" else {"config": {"jobs": steps}})


async def send(client, job, query="", accept="multipart/form-data; image/png", inputs=None):
    if inputs:
        return await client.run_form(job, inputs, query=query, accept=accept)
    return await client.send(json.dumps(job).encode(), "application/json", query, accept=accept)


@pytest.mark.parametrize("where", ["job", "config"])
async def test_jobs_run_in_a_row_each_on_the_outputs_of_the_last(client, where):
    reply = await send(client, workflow(STEPS, where))
    assert reply.status == 200
    assert (reply.result()["type"], reply.result()["name"]) == (SERIAL, "mine")
    [output] = reply.outputs()
    assert (output.content_type, output.picture().size) == ("image/png", (128, 128))
    stats = client.emulator.stats()
    assert (stats.requests, stats.completed, stats.billed, stats.dollars) == (1, 1, 1, 0.005)


@pytest.mark.parametrize("where", ["job", "config"])
async def test_the_first_job_of_a_row_has_the_inputs(client, where):
    steps = [{"type": "emulator.echo.v1"}, {"type": UPSCALE, "config": {"upscale": 3}}, {"type": IMG2IMG}]
    [output] = (await send(client, workflow(steps, where), inputs={b"a.png": landscape()})).outputs()
    assert output.picture().size == (480, 288)


async def test_a_row_runs_asynchronously(client):
    job_id = await client.ended(await send(client, workflow(STEPS, "job"), "/async"))
    [name] = (await client.ask(job_id, "output")).json()
    picture = await client.ask(job_id, f"output/{name}")
    assert Image.open(io.BytesIO(picture.body)).size == (128, 128)


@pytest.mark.parametrize(
    ("job", "reason"),
    [
        ({"type": SERIAL}, "jobs: must be a list of 1 to 16 jobs"),
        (workflow([], "job"), "jobs: must be a list of 1 to 16 jobs"),
        (workflow({}, "config"), "jobs: must be a list of 1 to 16 jobs"),
        (workflow([{"type": "inference.ping.v1"}] * 17, "job"), "jobs: must be a list of 1 to 16 jobs"),
        (workflow([1], "job"), "jobs: each must be an object with a type"),
        (workflow([{"config": {}}], "job"), "jobs: each must be an object with a type"),
        (workflow([{"type": "inference.ping.v1", "config": []}, {"type": TXT2IMG}], "job"), "config.prompt"),
        (workflow([{"type": "inference.ping.v1", "config": 1}], "job"), "its config is not a JSON object"),
        (workflow([{"type": SERIAL, "jobs": STEPS}], "job"), "cannot stand here"),
        (workflow([{"type": "inference.nothing.v1"}], "config"), "inference.nothing.v1: no such job type"),
        (workflow([*STEPS, {"type": UPSCALE, "config": {"upscale": 99}}], "job"), "config.upscale"),
        ({"type": "workflow.other.v1", "jobs": STEPS}, "workflow.other.v1: no such job type"),
        (workflow(STEPS, "job", MODERATE, threshold=2), "config.threshold"),
    ],
)
async def test_a_row_that_is_not_in_order_is_refused_before_it_runs(client, job, reason):
    reply = await send(client, job)
    assert reply.status == 400
    assert reason in reply.result()["error"]
    assert (client.emulator.stats().refused, client.emulator.stats().peak_busy) == (1, 0)


async def test_a_row_whose_jobs_lack_inputs_says_so(client):
    reply = await send(client, workflow([{"type": "inference.ping.v1"}, {"type": UPSCALE}], "job"))
    assert (reply.status, reply.json()["detail"]) == (400, "Missing input image")


async def test_a_job_that_fails_in_a_row_fails_it(client):
    steps = [{"type": "emulator.bytes.v1", "config": {"size": 9}}, {"type": UPSCALE}]
    reply = await send(client, workflow(steps, "job"))
    assert (reply.status, reply.result()["error"]) == (400, "bytes.bin: not a picture that can be read")
    assert (client.emulator.stats().failed, client.emulator.stats().billed) == (1, 0)


@pytest.mark.parametrize("where", ["job", "config"])
@pytest.mark.parametrize(
    ("score", "threshold", "status"),
    [(None, None, 200), (0.96, None, 400), (0.5, 0.4, 400), (0.96, 0.97, 200)],
)
async def test_content_is_refused_above_the_threshold(client, where, score, threshold, status):
    job = workflow(STEPS, where, MODERATE)
    job.setdefault("config", {})
    if threshold is not None:
        (job if where == "job" else job["config"])["threshold"] = threshold
    if score is not None:
        job["config"]["emulator"] = {"moderation": score}
    reply = await send(client, job)
    assert reply.status == status
    assert len(reply.outputs()) == (status == 200)
    if status == 400:
        assert reply.result()["error"].startswith("the content was refused: its score ")


async def test_a_moderation_in_a_row_passes_on_what_comes(client):
    steps = [*STEPS, {"type": MODERATE, "config": {"threshold": 0.5}}]
    for score, status in ((0.4, 200), (0.6, 400)):
        job = workflow(steps, "job") | {"config": {"emulator": {"moderation": score}}}
        reply = await send(client, job, accept="multipart/form-data")
        assert reply.status == status
        assert [part.picture().size for part in reply.outputs()] == [(128, 128)] * (status == 200)


# --- Schemas ---

FLUX_2 = "inference.flux-2.pro.img2img.v1"
CONFIGS = [
    (
        "inference.flux-fast.schnell.txt2img.v1",
        {"prompt": "abc", "steps": 4},
        {"prompt": "ab"},
        "config.prompt: ",
    ),
    ("inference.flux-fast.schnell.txt2img.v0", {"prompt": "abc"}, {"prompt": "abc", "width": 64}, "config: "),
    (
        "inference.flux-fast.schnell.txt2img.v1",
        {"prompt": "abc"},
        {"prompt": "abc", "steps": 5},
        "config.steps: ",
    ),
    (TXT2IMG, {"prompt": "x", "width": 64, "new": 1}, {"prompt": "x", "width": "64"}, "config.width: "),
    (FLUX_2, {"prompt": "x", "width": 64, "more": 1}, {"prompt": "x", "width": 65}, "config.width: "),
    (
        FLUX_2,
        {"prompt": "x", "safety_tolerance": 5},
        {"prompt": "x", "safety_tolerance": 6},
        "config.safety_",
    ),
    (FLUX_2, {"prompt": "x", "images": ["in.png"]}, {"width": 64}, "config: "),
    (
        "inference.flux-2.flex.img2img.v1",
        {"prompt": "x", "guidance": 2},
        {"prompt": "x", "guidance": 1},
        "config.g",
    ),
    ("inference.veo.img2vid.v1", {"prompt": ""}, {"prompt": "", "fps": 24}, "config: "),
    (
        "inference.veo.img2vid.v1",
        {"prompt": "", "resolution": "1080p", "aspect_ratio": "16:9"},
        {"prompt": "", "resolution": "1080p", "aspect_ratio": "9:16"},
        "config.resolution: 1080p only with 16:9",
    ),
    (
        "inference.veo.fast.img2vid.v2",
        {"duration_seconds": 4},
        {"duration_seconds": 5},
        "config.duration_seconds: ",
    ),
    (
        "inference.sora-2.pro.img2vid.v1",
        {"prompt": "abc", "duration": 8},
        {"prompt": "abc", "duration": 9},
        "config",
    ),
    ("inference.sam3.segment.v1", {"prompt": "x"}, {"prompt": "x" * 501}, "config.prompt: "),
    (
        "inference.segment.v2",
        {"prompt": "x"},
        {"prompt": "x", "confidence_threshold": 2},
        "config.confidence_",
    ),
    (
        "inference.nano-banana.img2img.v2",
        {"prompt": "x"},
        {"prompt": "x", "include_messages": 1},
        "config.include",
    ),
    (
        "inference.birefnet.segment.v1",
        {"contour_tolerance": 9},
        {"contour_tolerance": 256},
        "config.contour_",
    ),
]


@pytest.mark.parametrize(("job_type", "good", "bad", "reason"), CONFIGS)
async def test_a_strict_emulator_refuses_what_is_outside_a_types_schema(start, job_type, good, bad, reason):
    strict, lenient = await start(strict=True), await start()
    short = {"emulator": {"price": 1}}
    refused = await made(strict, job_type, landscape(), **bad | short)
    assert refused.status == 400
    assert refused.result()["error"].startswith(reason)
    for client in (strict, lenient):
        if "vid" not in job_type:  # a film takes its time
            assert (await made(client, job_type, landscape(), **good | short)).status == 200
    assert strict.emulator.stats().refused == 1


async def test_a_type_that_is_not_known_takes_any_config(start):
    client = await start(strict=True)
    assert (await made(client, "inference.new.txt2img.v9", prompt="x", anything=[1])).status == 200


# --- Prices ---


@pytest.mark.parametrize(
    ("job_type", "config", "dollars"),
    [
        (TXT2IMG, {"prompt": "x"}, 0.0025),
        (UPSCALE, {}, 0.001),
        (UPSCALE, {"upscale": 2}, 0.001),
        (UPSCALE, {"upscale": 4}, 0.002),
        (UPSCALE, {"upscale": 8}, 0.003),
        ("inference.gemini-3-pro.txt2img.v1", {"prompt": "x"}, 0.15),
        ("inference.gemini-3-pro.txt2img.v1", {"prompt": "x", "resolution": "4K"}, 0.3),
        ("inference.gemini-3-1-flash.txt2img.v1", {"prompt": "x", "resolution": "2K"}, 0.12),
        ("inference.gemini-3-1-flash.txt2img.v1", {"prompt": "x", "resolution": ["2K"]}, 0.08),
        ("inference.nano-banana.img2img.v2", {"prompt": "x"}, 0.039),
        ("inference.remove-background.v1", {}, 0.02),
        ("inference.flux-2.flex.img2img.v1", {"prompt": "x"}, 0.06),
        ("inference.ping.v1", {}, None),
    ],
)
async def test_a_listed_price_depends_on_the_config(start, job_type, config, dollars):
    client = await start(price="list")
    reply = await made(client, job_type, landscape((16, 16)), "?price=true", **config)
    price = reply.result()["price"]
    assert price == (
        dollars and {"product": job_type.rpartition(".")[0].replace(".", "-"), "dollars": dollars}
    )
    assert client.emulator.stats().dollars == (dollars or 0)


async def test_a_row_costs_what_its_jobs_cost(start):
    client = await start(price="list")
    steps = [*STEPS, {"type": UPSCALE, "config": {"upscale": 4}}, {"type": "inference.ping.v1"}]
    reply = await send(client, workflow(steps, "job"), "?price=true", accept="application/json")
    assert reply.json()["price"]["dollars"] == pytest.approx(0.0025 + 0.001 + 0.002)
    unknown = await send(client, workflow(steps[-1:], "job"), "?price=true", accept="application/json")
    assert unknown.json()["price"] is None
