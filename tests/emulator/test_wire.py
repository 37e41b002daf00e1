from __future__ import annotations

import re
import uuid
from datetime import UTC, datetime, timedelta

import pytest
from emulator.helpers import as_json, landscape, sha256

from prodia_async.emulator._answer import timestamp

TXT2IMG = "inference.flux-fast.schnell.txt2img.v2"
NAMES = {
    b"two words.png": "two words.png",
    "é.png".encode(): "é.png",
    "日本.png".encode(): "日本.png",
    rb"a\"b.png": 'a"b.png',
    rb"a\\b.png": r"a\b.png",
    b"100%25.png": "100%25.png",
    b"a;b.png": "a;b.png",
    b"+.png": "+.png",
}


async def test_a_result_mirrors_the_job_and_tells_of_the_run(client):
    job = {"type": TXT2IMG, "config": {"prompt": "a hill", "loras": ["x"]}, "mine": [1]}
    reply = await client.send(as_json(job), "application/json")
    result = reply.result()
    assert reply.status == 200
    assert (result["type"], result["mine"]) == (TXT2IMG, [1])
    assert result["config"].items() >= {"prompt": "a hill", "loras": ["x"], "width": 512, "steps": 4}.items()
    assert isinstance(result["config"]["seed"], int)
    assert result["state"] == {"current": "completed", "history": None}
    assert uuid.UUID(result["id"]).version == 4
    assert result["metrics"]["ips"] == pytest.approx(4 / result["metrics"]["elapsed"])
    times = [
        datetime.fromisoformat(result[f"{name}_at"].replace("Z", "+00:00")[:19])
        for name in ("created", "expires")
    ]
    assert times[1] - times[0] == timedelta(minutes=5)
    assert re.fullmatch(r"[0-9T:-]+(\.\d{1,3})?Z", result["updated_at"])
    assert "price" not in result


def test_timestamps_have_no_trailing_zeros():
    moment = datetime(2025, 1, 1, 0, 0, 20, 110_900, UTC)
    assert timestamp(moment) == "2025-01-01T00:00:20.11Z"
    assert timestamp(moment.replace(microsecond=900)) == "2025-01-01T00:00:20Z"


@pytest.mark.parametrize("job_last", [False, True])
async def test_inputs_are_received_in_either_order(client, job_last):
    content = landscape()
    job = {"type": "emulator.echo.v1", "config": {"image": "a.png"}}
    reply = await client.run_form(job, {b"a.png": content, b"b.png": b""}, job_last=job_last)
    assert reply.result()["emulator"] == {
        "attempt": 1,
        "inputs": [
            {
                "filename": "a.png",
                "content_type": "image/png",
                "size": len(content),
                "sha256": sha256(content),
            },
            {"filename": "b.png", "content_type": "image/png", "size": 0, "sha256": sha256(b"")},
        ],
    }
    assert [(part.filename, part.content_type, part.content) for part in reply.outputs()] == [
        ("a.png", "image/png", content),
        ("b.png", "image/png", b""),
    ]


async def test_names_are_read_by_gos_rule_and_written_back(client):
    job = {"type": "emulator.echo.v1", "config": {"images": list(NAMES.values())}}
    reply = await client.run_form(job, dict.fromkeys(NAMES, b"x"))
    assert [part.filename for part in reply.outputs()] == list(NAMES.values())
    assert [item["filename"] for item in reply.result()["emulator"]["inputs"]] == list(NAMES.values())


@pytest.mark.parametrize(("where", "index"), [("first", 0), ("last", -1)])
async def test_the_job_part_stands_first_or_last(client, where, index):
    reply = await client.run(TXT2IMG, {"prompt": "x", "emulator": {"job_part": where}})
    assert reply.parts()[index].name == "job"
    assert len(reply.parts()) == 2


async def test_the_price_is_told_when_asked_for(start):
    client = await start(price={TXT2IMG: 0.25})
    asked = await client.run(TXT2IMG, {"prompt": "x"}, "?price=true")
    assert asked.result()["price"] == {"product": "inference-flux-fast-schnell-txt2img", "dollars": 0.25}
    unpriced = await client.run("inference.ping.v1", {}, "?price=true")
    assert unpriced.result()["price"] is None
    assert (client.emulator.stats().billed, client.emulator.stats().dollars) == (2, 0.25)


@pytest.mark.parametrize("accept", ["image/png", "image/jpeg", "image/webp"])
async def test_a_single_output_may_come_directly(client, accept):
    reply = await client.run(TXT2IMG, {"prompt": "x"}, accept=accept)
    assert (reply.status, reply.headers["Content-Type"]) == (200, accept)
    assert reply.body[:4] in (b"\x89PNG", b"\xff\xd8\xff\xe0", b"RIFF")


async def test_a_multipart_answer_takes_the_type_after_the_semicolon(client):
    for accept, expected in [
        (None, "image/jpeg"),
        ("multipart/form-data", "image/jpeg"),
        ("multipart/form-data; image/png", "image/png"),
    ]:
        reply = await client.run(TXT2IMG, {"prompt": "x"}, accept=accept)
        [output] = reply.outputs()
        assert output.content_type == expected
        assert output.picture().get_format_mimetype() == expected
        assert uuid.UUID(output.filename)


async def test_json_is_the_job_result_alone(client):
    reply = await client.run(TXT2IMG, {"prompt": "x"}, accept="application/json")
    assert reply.headers["Content-Type"] == "application/json"
    assert reply.json()["state"]["current"] == "completed"


@pytest.mark.parametrize(
    ("job_type", "accept"),
    [
        ("inference.ping.v1", "image/png"),
        ("inference.nano-banana.txt2img.v2", "image/png"),
        (TXT2IMG, "image/gif"),
        (TXT2IMG, "multipart/form-data; image/gif"),
        ("emulator.bytes.v1", "text/plain"),
    ],
)
async def test_what_cannot_be_sent_as_asked_is_406(client, job_type, accept):
    reply = await client.run(job_type, {"prompt": "x"}, accept=accept)
    assert (reply.status, reply.json()["message"]) == (406, "Not acceptable")
    assert client.emulator.stats().billed == 0


async def test_an_output_of_another_type_keeps_its_type_in_a_multipart_answer(client):
    reply = await client.run("emulator.bytes.v1", {"size": 3}, accept="multipart/form-data; image/png")
    assert [part.content_type for part in reply.outputs()] == ["application/octet-stream"]


async def test_ping_has_no_outputs(client):
    reply = await client.run("inference.ping.v1")
    assert [part.name for part in reply.parts()] == ["job"]
    assert "ips" not in reply.result()["metrics"]


@pytest.mark.parametrize(
    ("inputs", "extra", "detail"),
    [
        ({b"a/x.png": b"1", b"x.png": b"2"}, b"", "two input parts have the same filename"),
        ({b"y.png": b"1"}, b"", "Missing input image"),
        ({b"x.png": b"1"}, b"--bad", "boundary"),
    ],
)
async def test_a_form_that_is_not_in_order_is_400(client, inputs, extra, detail):
    job = {"type": "emulator.echo.v1", "config": {"image": "x.png"}}
    reply = await client.run_form(job, inputs, extra=extra)
    assert reply.status == 400
    assert reply.json()["message"] == "Bad request"
    assert detail in reply.json()["detail"]


async def test_a_named_input_is_missed_in_a_json_body_too(client):
    reply = await client.run("inference.flux.schnell.img2img.v1", {"image": "x.png"})
    assert (reply.status, reply.json()) == (400, {"message": "Bad request", "detail": "Missing input image"})


@pytest.mark.parametrize(
    ("content_type", "body", "detail"),
    [
        ("text/plain", b"x", "Content-Type must be"),
        ("multipart/form-data", b"x", "boundary of 1 to 70"),
        ("multipart/form-data; boundary=bb", b"--bb--", "one part named job, not 0"),
        ("application/json", b" " * (4 * 1024 * 1024 + 1), "longer than 4194304"),
        (
            "multipart/form-data; boundary=bb",
            b'--bb\r\nContent-Disposition: form-data; name="job"\r\n\r\n'
            + b" " * (5 * 1024 * 1024)
            + b"\r\n--bb--",
            "longer than 4194304",
        ),
    ],
)
async def test_a_body_that_cannot_be_read_is_400(client, content_type, body, detail):
    async def chunks():
        yield body

    reply = await client.send(chunks(), content_type)
    assert reply.status == 400
    assert detail in reply.json()["detail"]


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"{", "not valid JSON"),
        (b'{"type": NaN}', "not valid JSON"),
        (b"[" * 200_000, "not valid JSON"),
        (b"[]", "not a JSON object"),
        (b"{}", "no type"),
        (b'{"type": ""}', "no type"),
        (b'{"type": "inference.ping.v1", "config": []}', None),
        (b'{"type": "inference.ping.v1", "config": [1]}', "config is not a JSON object"),
        (b'{"type": "inference.nothing.v1"}', "no such job type"),
    ],
)
async def test_a_job_that_cannot_be_understood_is_a_failed_result(client, body, reason):
    for accept in ("multipart/form-data", "application/json"):
        reply = await client.send(body, "application/json", accept=accept)
        result = reply.result() if accept.startswith("multipart") else reply.json()
        if reason is None:
            assert (reply.status, result["state"]["current"]) == (200, "completed")
        else:
            assert (reply.status, result["state"]["current"]) == (400, "failed")
            assert reason in result["error"]
            assert {"id", "created_at", "updated_at", "expires_at"} <= result.keys()


@pytest.mark.parametrize(
    ("job_type", "config", "reason"),
    [
        (TXT2IMG, {}, "config.prompt"),
        (TXT2IMG, {"prompt": ""}, "config.prompt"),
        (TXT2IMG, {"prompt": "x" * 32769}, "config.prompt"),
        (TXT2IMG, {"prompt": "x", "width": 63}, "config.width"),
        (TXT2IMG, {"prompt": "x", "height": 4097}, "config.height"),
        (TXT2IMG, {"prompt": "x", "steps": True}, "config.steps"),
        (TXT2IMG, {"prompt": "x", "seed": -1}, "config.seed"),
        ("emulator.bytes.v1", {"size": "1"}, "config.size"),
        ("emulator.bytes.v1", {"length": 1}, "config.length"),
        ("emulator.bytes.v1", {"filename": ["a"], "outputs": 2}, "config.filename"),
        ("emulator.bytes.v1", {"filename": 7}, "config.filename"),
        ("inference.ping.v1", {"emulator": 1}, "config.emulator"),
        ("inference.ping.v1", {"emulator": {"latenci": 1}}, "config.emulator"),
        ("inference.ping.v1", {"emulator": {"latency": "x"}}, "config.emulator.latency"),
        ("inference.ping.v1", {"emulator": {"job_part": "middle"}}, "config.emulator.job_part"),
        ("inference.ping.v1", {"emulator": {"retry_after": []}}, "config.emulator.retry_after"),
        ("inference.ping.v1", {"emulator": {"status": 200}}, "config.emulator.status"),
    ],
)
async def test_a_bad_value_in_the_config_is_a_failed_result(client, job_type, config, reason):
    reply = await client.run(job_type, config, accept="application/json")
    assert (reply.status, reply.json()["state"]["current"]) == (400, "failed")
    assert reason in reply.json()["error"]
    assert client.emulator.stats().refused == 1
