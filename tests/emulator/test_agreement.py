"""The forms of workflows and of further types: Go's server, which is another program, answers the same."""

from __future__ import annotations

import json

import pytest
from conformance.conftest import go, go_binary
from conformance.test_emulator import JSON, an_input, ask, outlined, part
from emulator.helpers import landscape
from support import goserver

from prodia_async.emulator import background_emulator

__all__ = ["go", "go_binary"]

pytestmark = pytest.mark.newest

ECHO, BYTES, TXT2IMG, PING = "emulator.echo.v1", "emulator.bytes.v1", "any.txt2img.v1", "any.ping.v1"
SERIAL, MODERATE = "workflow.serial.v1", "workflow.moderate.v1"
PICTURE = an_input("a.png", landscape())
SMALL = {"type": TXT2IMG, "config": {"prompt": "a hill", "width": 64, "height": 64}}
TWO = {"type": BYTES, "config": {"outputs": 2, "size": 9, "filename": ["a", "b"]}}
CUT, LABEL = {"type": "any.remove-background.v1"}, {"type": "any.vit.img2label.v2"}


@pytest.fixture(scope="module")
def emulator():
    with background_emulator(latency=0, token=goserver.TOKEN) as server:
        yield server


def sent(job, *inputs, **more):
    body = json.dumps(job).encode()
    return {"parts": [part("job", "job.json", JSON, body), *inputs]} | more


def both(job, *inputs, **more):
    """Return the request with the jobs in the job, and with the jobs in its config."""
    top = {name: job[name] for name in ("jobs", "threshold") if name in job}
    rest = {name: value for name, value in job.items() if name not in top}
    return [
        sent(job, *inputs, **more),
        sent(rest | {"config": top | job.get("config", {})}, *inputs, **more),
    ]


GIF, PNG = {"headers": {"Accept": "image/gif"}}, {"headers": {"Accept": "image/png"}}
PRICED = {"query": "?price=true"}
REFUSED = {"config": {"emulator": {"moderation": 0.96}}}
CASES = {
    "one job": (ECHO, both({"type": SERIAL, "jobs": [{"type": ECHO}]}, PICTURE)),
    "three": (BYTES, both({"type": SERIAL, "jobs": [TWO, {"type": ECHO}, {"type": ECHO}]}, PICTURE)),
    "a picture": (TXT2IMG, both({"type": SERIAL, "jobs": [SMALL]}, **PNG)),
    "a picture in parts": (
        TXT2IMG,
        both({"type": SERIAL, "jobs": [SMALL]}, headers={"Accept": "multipart/form-data; image/png"}),
    ),
    "a type that cannot be": (TXT2IMG, both({"type": SERIAL, "jobs": [SMALL]}, **GIF)),
    "as JSON": ("", both({"type": SERIAL, "jobs": [SMALL]}, headers={"Accept": JSON})),
    "a picture cut out": ("", both({"type": SERIAL, "jobs": [SMALL, CUT]})),
    "labels of a picture": ("", both({"type": SERIAL, "jobs": [{"type": ECHO}, LABEL]}, PICTURE)),
    "a price": (BYTES, both({"type": SERIAL, "jobs": [TWO, {"type": ECHO}]}, **PRICED)),
    "nothing comes out": ("", both({"type": SERIAL, "jobs": [{"type": PING}, {"type": ECHO}]}, PICTURE)),
    "a name of its own": ("", both({"type": SERIAL, "name": "mine", "jobs": [TWO]})),
    "no jobs": ("", [sent({"type": SERIAL})]),
    "none in the list": ("", both({"type": SERIAL, "jobs": []})),
    "seventeen": ("", both({"type": SERIAL, "jobs": [{"type": PING}] * 17})),
    "no list": ("", [sent({"type": SERIAL, "jobs": 1})]),
    "a job without a type": ("", both({"type": SERIAL, "jobs": [{}]})),
    "an unknown job": ("", both({"type": SERIAL, "jobs": [{"type": "any.unheard-of.v1"}]})),
    "a job that lacks its input": ("", both({"type": SERIAL, "jobs": [{"type": PING}, CUT]})),
    "another workflow": ("", [sent({"type": "workflow.parallel.v1", "jobs": [TWO]})]),
    "moderated": (BYTES, both({"type": MODERATE, "jobs": [TWO]})),
    "moderated, and refused": ("", both({"type": MODERATE, "jobs": [TWO], **REFUSED})),
    "moderated less": (BYTES, both({"type": MODERATE, "jobs": [TWO], "threshold": 0.97, **REFUSED})),
    "moderated alone": (ECHO, both({"type": MODERATE}, PICTURE)),
    "moderated in a row": (BYTES, both({"type": SERIAL, "jobs": [TWO, {"type": MODERATE}]})),
    "refused in a row": ("", both({"type": SERIAL, "jobs": [TWO, {"type": MODERATE}], **REFUSED})),
    "birefnet": ("", [sent({"type": "any.birefnet.segment.v1"}, PICTURE)]),
    "birefnet directly": ("", [sent({"type": "any.birefnet.segment.v1"}, PICTURE, **PNG)]),
    "remove-background": ("", [sent(CUT, PICTURE)]),
    "an input that is named": (
        "",
        [sent(LABEL | {"config": {"image": "b.txt"}}, PICTURE, an_input("b.txt", landscape((9, 9))))],
    ),
    "no input": ("", [sent(CUT), sent(LABEL)]),
    **{
        f"masks of {word}": ("", [sent({"type": "any.sam3.segment.v1", "config": {"prompt": word}}, PICTURE)])
        for word in ("hill", "sky", "sun", "tree")
    },
    "masks of nothing": ("", [sent({"type": "any.sam3.segment.v1"}, PICTURE)]),
    "a vector drawing": (TXT2IMG, [sent({"type": "any.recraft.txt2vec.v1", "config": {"prompt": "x"}})]),
    "a vector drawing as PNG": (
        "",
        [sent({"type": "any.recraft.txt2vec.v1", "config": {"prompt": "x"}}, **PNG)],
    ),
    "a vector drawing of nothing": ("", [sent({"type": "any.recraft.txt2vec.v1"})]),
}


@pytest.mark.parametrize("case", CASES)
def test_the_emulator_answers_new_forms_as_the_go_server_does(go, emulator, case):
    kind, requests = CASES[case]
    for request in requests:
        by_emulator = outlined(ask(go, emulator.base_url, request), kind)
        assert by_emulator == outlined(ask(go, go.base_url, request), kind)
