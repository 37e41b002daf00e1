"""What the client sends, Go reads: every name, media type, size and byte."""

from __future__ import annotations

import re

import pytest
from conformance.cases import HARD_NAMES, MEDIA_TYPES, REFUSED_NAMES, SIZES
from conformance.helpers import ECHO, WAYS, carry, go_client, pattern, refusing_early, sha256

from prodia_async import Fixed, InputError, Job

pytestmark = [pytest.mark.newest, pytest.mark.usefixtures("nothing_left")]

MIB = 1024 * 1024
CONTENT = pattern(10_000)


@pytest.mark.parametrize("name", HARD_NAMES.values(), ids=HARD_NAMES)
async def test_a_hard_name_reaches_go_and_comes_back(go, name):
    job = Job(ECHO, {"image": name, "images": [name]}, [(name, CONTENT, "image/png")])
    async with go_client(go) as prodia:
        done = await carry(prodia, job)
    assert done.received() == [("input", name, "image/png", len(CONTENT), sha256(CONTENT))]
    assert done.outputs == [(name, "image/png", CONTENT)]
    assert done.result.config == {"image": name, "images": [name]}


@pytest.mark.parametrize("name", REFUSED_NAMES.values(), ids=REFUSED_NAMES)
async def test_a_name_that_would_not_arrive_is_refused_before_anything_is_sent(go, name):
    before = go.ask("account")
    async with go_client(go) as prodia:
        with pytest.raises(InputError, match="name"):
            await prodia.run(ECHO, inputs=[(name, CONTENT)])
    assert go.ask("account") == before


async def test_two_inputs_of_one_name_are_refused_before_anything_is_sent(go):
    before = go.ask("account")
    async with go_client(go) as prodia:
        with pytest.raises(InputError, match="both named"):
            await prodia.run(ECHO, inputs=[("a.png", CONTENT), ("a.png", CONTENT)])
    assert go.ask("account") == before


@pytest.mark.parametrize("way", WAYS)
async def test_every_way_of_running_a_job_carries_every_hard_name_at_once(go, way):
    inputs = [(name, pattern(number * 100, number)) for number, name in enumerate(HARD_NAMES.values())]
    async with go_client(go) as prodia:
        done = await carry(prodia, Job(ECHO, {"images": list(HARD_NAMES.values())}, inputs), way)
    assert [(part[1], part[3], part[4]) for part in done.received()] == [
        (name, len(content), sha256(content)) for name, content in inputs
    ]
    assert [(name, content) for name, _, content in done.outputs] == inputs
    done.assert_outputs_agree()


@pytest.mark.parametrize("kind", MEDIA_TYPES)
async def test_a_media_type_reaches_go_and_comes_back(go, kind):
    async with go_client(go) as prodia:
        done = await carry(prodia, Job(ECHO, inputs=[("a.bin", CONTENT, kind)]))
    assert [part[2] for part in done.received()] == [kind]
    assert [output[1] for output in done.outputs] == [kind]


@pytest.mark.parametrize("way", ["bytes", "path", "file", "one-shot"])
@pytest.mark.parametrize("size", SIZES)
async def test_every_form_and_size_of_an_input_is_whole(go, tmp_path, size, way):
    content = pattern(size, size)
    path = tmp_path / "input.bin"
    path.write_bytes(content)
    with path.open("rb") as file:
        given = {"bytes": content, "path": path, "file": file, "one-shot": pieces(content)}[way]
        async with go_client(go) as prodia:
            done = await carry(prodia, Job(ECHO, inputs=[("input.bin", given)]))
    assert [part[3:] for part in done.received()] == [(size, sha256(content))]
    assert done.outputs[0][2] == content
    received = done.result.raw["received"]
    if way == "one-shot":
        assert (received["transfer_encoding"], received["content_length"]) == (["chunked"], -1)
        assert received["expect"] == "100-continue"
    else:
        assert (received["transfer_encoding"], received["expect"]) == (None, "")
        assert received["content_length"] > size


async def test_many_inputs_are_one_request(go):
    inputs = [(f"{number}.bin", pattern(number * 37, number)) for number in range(300)]
    async with go_client(go) as prodia:
        done = await carry(prodia, Job(ECHO, inputs=inputs))
    assert [part[1:2] + part[4:] for part in done.received()] == [
        (name, sha256(content)) for name, content in inputs
    ]
    assert [(name, content) for name, _, content in done.outputs] == inputs


@pytest.mark.parametrize("expect_continue", [True, False, 1000])
async def test_expect_100_continue_is_asked_as_told(go, expect_continue):
    async with go_client(go) as prodia:
        result = await prodia.run(ECHO, inputs=[("a.bin", CONTENT)], expect_continue=expect_continue)
        assert result.raw["received"]["expect"] == ("100-continue" if expect_continue else "")
        assert result.outputs[0].data == CONTENT


async def test_the_job_part_is_first_and_is_what_the_reference_says(go):
    config = {"prompt": "naïve 日本 \u2028 </script>", "number": 2**53, "none": None}
    async with go_client(go) as prodia:
        done = await carry(prodia, Job(ECHO, config, [("a.bin", CONTENT)]))
        job = done.result.raw["received"]["parts"][0]
        assert (job["name"], job["filename"], job["content_type"]) == ("job", "job.json", "application/json")
        assert set(job["header"]) == {"Content-Disposition", "Content-Type"}
        assert done.result.config == config


async def test_a_job_without_inputs_is_plain_json(go):
    async with go_client(go) as prodia:
        done = await carry(prodia, Job("go.ping.v1", {"prompt": "日本"}))
    received = done.result.raw["received"]
    assert (received["content_type"], received["parts"]) == ("application/json", None)
    assert received["accept"] == "multipart/form-data"
    assert done.outputs == []


async def test_every_header_is_sent_once(go):
    async with go_client(go, headers={"X-Team": "tests"}, user_agent="an agent") as prodia:
        plain = await prodia.run("go.ping.v1")
        form = await prodia.run(ECHO, inputs=[("a.bin", CONTENT)], accept="image/png", expect_continue=True)
    headers = {
        "Accept": ["multipart/form-data"],
        "Accept-Encoding": ["identity"],
        "Content-Type": ["application/json"],
        "User-Agent": ["an agent"],
        "X-Team": ["tests"],
    }
    found = plain.raw["received"]["headers"]
    assert int(*found.pop("Content-Length")) == plain.raw["received"]["content_length"]
    assert found == headers
    found = form.raw["received"]["headers"]
    assert int(*found.pop("Content-Length")) == form.raw["received"]["content_length"]
    [kind] = found.pop("Content-Type")
    assert re.fullmatch("multipart/form-data; boundary=[0-9a-f]{60}", kind)
    del headers["Content-Type"]
    assert found == headers | {"Accept": ["multipart/form-data; image/png"], "Expect": ["100-continue"]}


async def test_a_hundred_jobs_that_are_shed_up_to_twice_are_all_done(go):
    jobs = []
    for number in range(100):
        orders = {"key": f"of a hundred: {number}", "shed": number % 3, "retry_after": "0.01"}
        content = pattern(number * 700, number)
        jobs.append(Job(ECHO, {"emulator": orders}, [(f"{number}.bin", content)], custom_id=str(number)))
    before = go.ask("account")["requests"]
    async with go_client(go, limiter=Fixed(16)) as prodia, prodia.as_completed(jobs) as outcomes:
        async for outcome in outcomes:
            number = int(outcome.job.custom_id)
            assert outcome.error is None
            assert len(outcome.result.attempts) == 1 + number % 3
            assert outcome.result.outputs[0].data == outcome.job.inputs[0][1]
    assert go.ask("account")["requests"] - before == 100 + sum(number % 3 for number in range(100))


class OneShot:
    """An input that can be read once, and counts how often it was asked for its bytes."""

    def __init__(self, content):
        self.content = content
        self.asked = 0

    async def __aiter__(self):
        self.asked += 1
        for begin in range(0, len(self.content), 50_000):
            yield self.content[begin : begin + 50_000]


async def pieces(content):
    for begin in range(0, len(content), 50_000):
        yield content[begin : begin + 50_000]


async def test_go_sheds_a_one_shot_input_at_its_headers(go):
    """Go answers without saying 100, and so nothing of the input is spent."""
    source = OneShot(CONTENT)
    async with refusing_early(go, 429, times=2), go_client(go) as prodia:
        result = await prodia.run(ECHO, inputs=[("a.bin", source)])
    assert [attempt.verdict for attempt in result.attempts] == ["shed", "shed", "done"]
    assert [attempt.retry_after for attempt in result.attempts[:2]] == [0.01, 0.01]
    assert source.asked == 1
    assert result.outputs[0].data == CONTENT


@pytest.mark.parametrize("status", [429, 503])
async def test_go_refuses_an_upload_at_its_headers_and_gets_it_whole_later(go, tmp_path, status):
    """Go closes the connection while the client still sends."""
    path = tmp_path / "large.bin"
    path.write_bytes(pattern(8 * MIB))
    async with refusing_early(go, status, times=2), go_client(go) as prodia:
        result = await prodia.run(ECHO, inputs=[path], to=tmp_path / "out.bin")
    kind = "shed" if status == 429 else "server_error"
    assert [(attempt.verdict, attempt.status) for attempt in result.attempts] == [
        (kind, status),
        (kind, status),
        ("done", 200),
    ]
    assert [attempt.may_have_run for attempt in result.attempts] == [False, False, True]
    assert (tmp_path / "out.bin").read_bytes() == path.read_bytes()
