"""Frames of ours that a small job's own work in this room enters: what is added here, every job pays."""

from __future__ import annotations

import itertools
import json
import os
import sys
from collections.abc import Callable

import pytest

import prodia_async
from prodia_async import Job, Limits
from prodia_async._wire import decoder as decoders
from prodia_async._wire import job as jobs
from prodia_async._wire import result as results

B = "b3d4fb976dce6e5d036fa7fb3da645bcfcc56384abb2cb618f8c8bdfd360"
JOB = Job("inference.test.v1", {"prompt": "a cat", "steps": 4, "scale": 0.5, "raw": False, "seed": None})
RESULT = json.dumps(
    {
        "type": "inference.test.v1",
        "id": "c83d7027-240a-484a-aeba-96014e568711",
        "created_at": "2025-01-01T00:00:14.885Z",
        "state": {"current": "completed"},
        "config": {"prompt": "a cat"},
        "metrics": {"elapsed": 5.1, "ips": 4},
        "price": {"product": "test", "dollars": 0.01},
    }
).encode()
REPLY = (
    f'--{B}\r\nContent-Disposition: form-data; name="job"; filename="job.json"\r\n'
    "Content-Type: application/json\r\n\r\n"
).encode()
REPLY += (
    RESULT
    + (
        f'\r\n--{B}\r\nContent-Disposition: form-data; name="output"; filename="image.png"\r\n'
        "Content-Type: image/png\r\n\r\n"
    ).encode()
)
REPLY += bytes(20_000) + f"\r\n--{B}--\r\n".encode()
LIMITS = Limits()
OURS = os.path.dirname(prodia_async.__file__)


def frames(work: Callable[[], object]) -> list[str]:
    """Return the functions of ours that `work` enters, once what it caches is there."""
    entered: list[str] = []

    def note(frame, event, _):
        if event == "call" and frame.f_code.co_filename.startswith(OURS):
            entered.append(frame.f_code.co_qualname)

    work()
    before = sys.getprofile()
    sys.setprofile(note)
    try:
        work()
    finally:
        sys.setprofile(before)
    return entered


def decoded(*pieces: bytes) -> None:
    decoder = decoders.decoder_for(f"multipart/form-data; boundary={B}", LIMITS)
    for piece in pieces:
        decoder.feed(piece)
    decoder.close()


def test_a_flat_config_is_written():
    assert 1 <= len(frames(lambda: jobs.job_json(JOB))) <= 2


@pytest.mark.parametrize(("cuts", "most"), [((), 10), ((9_000,), 12)])
def test_a_small_reply_is_decoded(cuts, most):
    edges = [0, *cuts, len(REPLY)]
    pieces = [REPLY[begin:end] for begin, end in itertools.pairwise(edges)]
    entered = frames(lambda: decoded(*pieces))
    assert len(entered) <= most, entered


def test_a_result_is_read():
    assert len(frames(lambda: results.job_result(RESULT, JOB))) <= 1


def test_a_line_that_is_one_stays():
    assert len(frames(lambda: results.one_line("c83d7027-240a-484a-aeba-96014e568711"))) <= 1
