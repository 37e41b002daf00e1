"""The official JavaScript client against the emulator, and against the Go server: both read it alike."""

from __future__ import annotations

import base64
import json
import os
import pathlib
import shutil
import subprocess

import pytest
from conformance.cases import HARD_NAMES, SIZES
from conformance.helpers import pattern, sha256
from support import goserver

from prodia_async.emulator import background_emulator

pytestmark = pytest.mark.nightly

VERSION = "1.6.0"
SCRIPT = pathlib.Path(__file__).with_name("official_client.mjs")
ECHO, BYTES = "emulator.echo.v1", "emulator.bytes.v1"
ANSWERED_BY = pytest.mark.parametrize("base_url", ["emulator", "go"], indirect=True)


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """A folder with the official client in it, from the npm registry; nothing of it is kept."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        pytest.skip("Node.js is not installed: the official JavaScript client needs it")
    folder = tmp_path_factory.mktemp("npm")
    command = ["npm", "install", "--ignore-scripts", "--no-audit", "--no-fund", f"prodia@{VERSION}"]
    settings = {"npm_config_cache": str(folder / "cache")}
    (folder / "package.json").write_text("{}")
    done = subprocess.run(
        command,
        cwd=folder,
        env=os.environ | settings,
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    if done.returncode:
        pytest.skip(f"npm cannot install prodia@{VERSION}: {done.stderr.strip()[-300:]}")
    return folder


@pytest.fixture
def run(folder):
    """Return a function that runs jobs with the official client, and returns what became of each."""

    def run(base_url, jobs, *, at_once=4, **options):
        client = {"token": goserver.TOKEN, "baseUrl": f"{base_url}/v2", **options}
        task = {"folder": str(folder), "client": client, "jobs": jobs, "atOnce": at_once}
        done = subprocess.run(
            ["node", str(SCRIPT)],
            input=json.dumps(task),
            capture_output=True,
            text=True,
            timeout=120,
            check=True,
        )
        assert done.stderr == ""
        return json.loads(done.stdout)

    return run


@pytest.fixture
def base_url(request):
    if request.param == "go":
        yield request.getfixturevalue("go").base_url
        return
    with background_emulator(latency=0, token=goserver.TOKEN) as emulator:
        yield emulator.base_url


def an_input(content, form="bytes", name="", kind="image/png"):
    return {"form": form, "name": name, "type": kind, "content": base64.b64encode(content).decode()}


def a_job(kind=ECHO, inputs=(), accept=None, **config):
    return {"params": {"type": kind, "config": config}, "inputs": list(inputs), "accept": accept}


def hashes(result):
    return [output["sha256"] for output in result["outputs"]]


def test_it_finishes_every_job_under_shedding_if_it_may_try_often_enough(run):
    contents = [pattern(1000 + 997 * number, number) for number in range(100)]
    jobs = [a_job(ECHO, [an_input(content)], number=number) for number, content in enumerate(contents)]
    with background_emulator(capacity=4, latency=0.02, retry_after=0.05, token=goserver.TOKEN) as emulator:
        found = run(emulator.base_url, jobs, at_once=100, maxRetries=100_000)
        account = emulator.stats()
    assert [hashes(result) for result in found] == [[sha256(content)] for content in contents]
    assert [result["job"]["config"]["number"] for result in found] == list(range(100))
    assert (account.completed, account.billed, account.repeated) == (100, 100, 0)
    assert account.shed > 0


def test_it_gives_jobs_up_that_were_shed_as_often_as_it_allows(run):
    """Ours waits as long as it takes: `Retry.patience` bounds it by time, never by a count."""
    jobs = [a_job("any.ping.v1", number=number) for number in range(40)]
    with background_emulator(capacity=1, latency=0.2, retry_after=0.05, token=goserver.TOKEN) as emulator:
        found = run(emulator.base_url, jobs, at_once=40)
        account = emulator.stats()
    lost = [result for result in found if "error" in result]
    assert {result["error"] for result in lost} == {"ProdiaCapacityError"}
    assert account.completed == len(found) - len(lost) > 0


@ANSWERED_BY
@pytest.mark.parametrize("form", ["bytes", "buffer", "blob"])
def test_inputs_of_every_size_come_back(run, base_url, form):
    contents = [pattern(size, size) for size in SIZES]
    found = run(base_url, [a_job(ECHO, [an_input(content, form)]) for content in contents])
    assert [hashes(result) for result in found] == [[sha256(content)] for content in contents]
    kind = "image/png" if form == "blob" else "image/jpeg"
    assert {(output["name"], output["type"]) for result in found for output in result["outputs"]} == {
        ("image.jpg", kind)
    }


CHANGED = {
    "quote": ["a%22b.png", "image.jpg"],
    "backslashes": [r"a\b.png", "image.jpg"],
    "backslash and quote": [r"a\%22.png", "image.jpg"],
    "backslash at the end": ["image.jpg"],  # the header's last quote is escaped: the part has no name at all
}
"""What arrives of a name that goes out by the browsers' rule: `"` as `%22`, a backslash as it is."""


@ANSWERED_BY
def test_a_file_is_sent_under_its_name_and_once_more_under_another(run, base_url):
    """A File is a Blob, too: it goes out twice."""
    jobs = [a_job(ECHO, [an_input(b"PNG", "file", name)]) for name in HARD_NAMES.values()]
    arrived = {}
    for case, result in zip(HARD_NAMES, run(base_url, jobs), strict=True):
        told = result["job"]
        inputs = told["emulator"]["inputs"] if "emulator" in told else told["received"]["parts"]
        arrived[case] = [each["filename"] for each in inputs if each.get("name", "input") == "input"]
    assert arrived == {case: [name, "image.jpg"] for case, name in HARD_NAMES.items()} | CHANGED


@ANSWERED_BY
def test_two_files_in_one_job_are_refused(run, base_url):
    """Both are also named `image.jpg`."""
    inputs = [an_input(b"1", "file", "a.png"), an_input(b"2", "file", "b.png")]
    [result] = run(base_url, [a_job(ECHO, inputs)], maxErrors=0)
    assert result["error"] == "ProdiaBadResponseError"
    assert "400" in result["message"]


@ANSWERED_BY
@pytest.mark.parametrize("place", ["first", "last"])
@pytest.mark.parametrize("length", [True, False])
def test_it_reads_every_output(run, base_url, place, length):
    names = ["a.png", "a.png", "../x.png", "写真 🦊.png"]
    job = a_job(BYTES, outputs=4, size=70_000, filename=names, length=length, emulator={"job_part": place})
    [result] = run(base_url, [job])
    assert result["job"]["state"]["current"] == "completed"
    assert [(output["name"], output["size"]) for output in result["outputs"]] == [
        (name, 70_000) for name in names
    ]
    assert len(set(hashes(result))) == 4


@ANSWERED_BY
def test_it_cannot_read_every_name_that_the_service_can_send(run, base_url):
    """An output without a name is a text to it, and one with a quote in its name spoils the whole answer."""
    jobs = [a_job(BYTES, size=9, filename=name) for name in (None, 'a"b.png', r"a\b.png")]
    without, quote, backslash = run(base_url, jobs)
    assert without["outputs"] == [{"text": True}]
    assert quote["error"] == "TypeError"
    assert backslash["outputs"][0]["name"] == r"a\\b.png"


@ANSWERED_BY
def test_it_gets_the_type_that_it_accepts(run, base_url):
    jobs = [a_job("any.txt2img.v1", accept=kind, prompt="a hill", width=64) for kind in (None, "image/png")]
    found = run(base_url, jobs)
    assert [output["type"] for result in found for output in result["outputs"]] == ["image/jpeg", "image/png"]


@ANSWERED_BY
def test_it_is_told_why_a_job_was_refused(run, base_url):
    jobs = [
        a_job(BYTES, emulator={"fail": "the prompt"}),
        a_job(ECHO, image="gone.png"),
        a_job("emulator.bytes.forbidden.v1"),
    ]
    found = run(base_url, jobs)
    assert [result["error"] for result in found] == [
        "ProdiaUserError",
        "ProdiaBadResponseError",
        "ProdiaBadResponseError",
    ]
    assert "the prompt" in found[0]["message"]
    assert "Missing input image" in found[1]["message"]
    assert found[2]["message"].startswith("403")
