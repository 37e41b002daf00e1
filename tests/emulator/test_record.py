"""Recordings: what is written down, and that a replayed run gives the same without the recorded server."""

from __future__ import annotations

import json
import time

import pytest
from conformance.conftest import go, go_binary
from emulator.helpers import landscape
from support import goserver

from prodia_async import BadRequestError, Folder, Job, Prodia
from prodia_async.emulator import Emulator, pattern_blocks

__all__ = ["go", "go_binary"]

TXT2IMG, PING, BYTES = "inference.flux.txt2img.v1", "inference.ping.v1", "emulator.bytes.v1"
IMG2IMG = "inference.nano-banana.img2img.v2"
PICTURE = {"prompt": "a hill", "width": 64, "height": 64}
TOKEN = "a-very-secret-token"


def jobs():
    return [
        Job(TXT2IMG, PICTURE, custom_id="picture"),
        Job(TXT2IMG, PICTURE | {"seed": 3}, accept="image/png", custom_id="png"),
        Job(IMG2IMG, {"prompt": "snow", "image": "a.png"}, [("a.png", landscape())], custom_id="two"),
        Job(BYTES, {"size": 300_000, "outputs": 3, "filename": ["a", "b", None]}, custom_id="bytes"),
        Job(PING, custom_id="nothing"),
        Job("workflow.serial.v1", custom_id="row", extra={"jobs": [{"type": TXT2IMG, "config": PICTURE}]}),
    ]


async def run_all(emulator, out, mode="sync", token=None):
    """Run all jobs; return their outputs' bytes and what their results tell."""
    found = {}
    async with Prodia(base_url=emulator.base_url, token=token or emulator.token, price=True) as prodia:
        for job in jobs():
            result = await prodia.run(job, mode=mode, to=Folder(out))
            outputs = sorted((output.content_type, output.path.read_bytes()) for output in result.outputs)
            found[job.custom_id] = (
                outputs,
                result.config,
                result.metrics,
                result.price and result.price.dollars,
            )
    return found


def names(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


async def test_each_request_and_reply_is_a_file_without_the_token(tmp_path):
    async with Emulator(latency=0, record=tmp_path / "r", token=TOKEN) as emulator, fresh(emulator) as prodia:
        await prodia.run(TXT2IMG, PICTURE)
        with pytest.raises(BadRequestError):
            await prodia.run(TXT2IMG, {})
    first, second = sorted((tmp_path / "r").iterdir())
    expected = ["reply.body", "reply.json", "request.body", "request.json"]
    assert names(first) == names(second) == expected
    asked, told = (json.loads((first / f"{name}.json").read_text()) for name in ("request", "reply"))
    assert (asked["method"], asked["path"], told["status"]) == ("POST", "/v2/job", 200)
    assert json.loads((first / "request.body").read_bytes()) == {"type": TXT2IMG, "config": PICTURE}
    assert b"\xff\xd8\xff" in (first / "reply.body").read_bytes()
    assert json.loads((second / "reply.json").read_text())["status"] == 400
    for path in (tmp_path / "r").rglob("*"):
        assert not path.is_file() or TOKEN.encode() not in path.read_bytes()


@pytest.mark.parametrize("replayed", ["sync", "async"])
@pytest.mark.parametrize("recorded", ["sync", "async"])
async def test_a_replayed_run_gives_the_same_bytes(tmp_path, recorded, replayed):
    async with Emulator(latency=0.05, record=tmp_path / "r", price=0.04) as emulator:
        first = await run_all(emulator, tmp_path / "first", recorded)
    async with Emulator(replay=str(tmp_path / "r"), at_once=True) as emulator:
        again = await run_all(emulator, tmp_path / "again", replayed)
        stats = emulator.stats()
    assert again == first
    assert (stats.completed, stats.dollars) == (6, pytest.approx(6 * 0.04))


async def test_what_a_service_answered_is_recorded_and_given_again_without_it(tmp_path):
    """The client's token goes on to the service, and into no file."""
    async with (
        Emulator(latency=0.02, token=TOKEN, price=0.5) as service,
        Emulator(upstream=service.base_url + "/v2", record=tmp_path / "r") as emulator,
    ):
        first = await run_all(emulator, tmp_path / "first", token=TOKEN)
        slow = await run_all(emulator, tmp_path / "slow", "async", token=TOKEN)
        async with Prodia(base_url=emulator.base_url, token="wrong") as prodia:
            with pytest.raises(Exception, match="401"):
                await prodia.run(PING)
        stats = emulator.stats()
        assert (stats.requests, stats.completed, stats.submitted, stats.refused) == (13, 6, 6, 1)
        assert service.stats().completed == 12
    async with Emulator(replay=tmp_path / "r", at_once=True) as emulator:
        assert await run_all(emulator, tmp_path / "again") == first
        assert (await run_all(emulator, tmp_path / "later")).keys() == slow.keys()
    for path in (tmp_path / "r").rglob("*"):
        assert not path.is_file() or TOKEN.encode() not in path.read_bytes()


@pytest.mark.newest
async def test_go_servers_answers_are_given_again(tmp_path, go):
    jobs = [
        ("any.txt2img.v1", {"seed": 3}, "image/png"),
        ("emulator.bytes.v1", {"size": 70_000, "outputs": 2}, None),
    ]

    async def run(base_url):
        async with Prodia(base_url=base_url, token=goserver.TOKEN) as prodia:
            results = [await prodia.run(kind, config, accept=accept) for kind, config, accept in jobs]
        return [(output.filename, output.data) for result in results for output in result.outputs]

    async with Emulator(upstream=go.base_url, record=tmp_path / "r") as emulator:
        first = await run(emulator.base_url)
    async with Emulator(replay=tmp_path / "r", token=goserver.TOKEN) as emulator:
        assert await run(emulator.base_url) == first
    assert len(first) == 3


async def test_a_service_that_is_gone_is_a_504(tmp_path):
    async with Emulator() as other:
        gone = other.base_url
    async with Emulator(upstream=gone, record=tmp_path / "r") as emulator:
        async with Prodia(base_url=emulator.base_url, token="x") as prodia:
            with pytest.raises(Exception, match="504"):
                await prodia.with_options(retry=None).run(PING, timeout=20)
        assert emulator.stats().failed == emulator.stats().requests > 0


@pytest.fixture
async def recording(tmp_path):
    """A recording of two replies to one job, and of one that failed."""
    async with Emulator(latency=0.3, record=tmp_path / "r") as emulator, fresh(emulator) as prodia:
        for key in "ab":
            await prodia.run(BYTES, {"size": 9, "emulator": {"key": key, "shed": 1, "retry_after": 0}})
        with pytest.raises(BadRequestError):
            await prodia.run(PING, {"mine": 1, "emulator": {"fail": "too dark"}})
    return tmp_path / "r"


def fresh(emulator):
    return Prodia(base_url=emulator.base_url, token=emulator.token)


async def test_replies_come_in_their_order_and_the_last_one_stays(recording):
    async with Emulator(replay=recording, at_once=True) as emulator, fresh(emulator) as prodia:
        given = [(await prodia.run(BYTES, {"size": 9})) for _ in range(3)]
    seeds = [result.config["seed"] for result in given]
    assert seeds[0] != seeds[1] == seeds[2]
    for result, seed in zip(given, seeds, strict=True):
        assert result.outputs[0].data == b"".join(pattern_blocks(seed, 9))
    assert len({result.id for result in given}) == 3


@pytest.mark.parametrize("at_once", [False, True])
async def test_a_reply_takes_its_recorded_time_or_none(recording, at_once):
    async with Emulator(replay=recording, at_once=at_once) as emulator, fresh(emulator) as prodia:
        began = time.monotonic()
        await prodia.run(BYTES, {"size": 9})
        assert (time.monotonic() - began >= 0.3) is not at_once or at_once


async def test_a_job_that_failed_fails_again(recording):
    async with Emulator(replay=recording, at_once=True) as emulator, fresh(emulator) as prodia:
        with pytest.raises(BadRequestError, match="too dark"):
            await prodia.run(PING, {"mine": 1})
        assert (emulator.stats().failed, emulator.stats().billed) == (1, 0)


@pytest.mark.parametrize(
    "job",
    [
        Job(BYTES, {"size": 8}),
        Job(BYTES, {"size": 9}, [("a", b"x")]),
        Job(BYTES + "x", {"size": 9}),
        Job(BYTES, {"size": 9}, extra={"name": "x"}),
        Job(PING),
    ],
)
async def test_another_job_has_no_reply(recording, job):
    async with Emulator(replay=recording) as emulator, fresh(emulator) as prodia:
        with pytest.raises(BadRequestError, match="the recording has no reply to this job"):
            await prodia.run(job)


async def test_a_replayed_job_sheds_and_meets_faults_as_it_orders(recording):
    async with Emulator(replay=recording, at_once=True) as emulator, fresh(emulator) as prodia:
        orders = {"shed": 1, "retry_after": 0, "fault": "503", "times": 2, "key": "k"}
        result = await prodia.run(BYTES, {"size": 9, "emulator": orders})
    assert [attempt.verdict for attempt in result.attempts] == ["shed", "server_error", "done"]


async def test_files_that_are_broken_are_passed_over(recording):
    for number, name in enumerate(["request.json", "reply.json", "request.body", "reply.json"]):
        folder = recording / f"0-{number}"
        folder.mkdir()
        for other in ("request.json", "reply.json", "request.body", "reply.body"):
            (folder / other).write_bytes(b"{" if other == name else b"{}")
    async with Emulator(replay=recording, at_once=True) as emulator, fresh(emulator) as prodia:
        await prodia.run(BYTES, {"size": 9})


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("replay", "/no/such/folder", "replay= takes a folder that was recorded, such as 'recording'"),
        ("replay", 5, "replay= takes a folder that was recorded"),
        ("record", 5, "record= takes a folder"),
        ("at_once", 1, "at_once= takes True or False"),
        ("strict", "yes", "strict= takes True or False"),
        ("upstream", "inference.prodia.com", "upstream= takes a URL, such as 'https://inference.prodia.com'"),
        ("upstream", "ftp://x", "upstream= takes a URL"),
        ("price", "dear", "price= takes dollars"),
    ],
)
def test_what_is_no_recording_is_refused(name, value, said):
    with pytest.raises(ValueError, match=said):
        Emulator(**{name: value})
