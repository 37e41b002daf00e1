"""Users who mock aiohttp with aioresponses can go on: it needs a shim on aiohttp 3.14 and later."""

from __future__ import annotations

import inspect
import pathlib

import aiohttp
import pytest
from aioresponses import aioresponses
from support.expect import JOB
from support.leaks import client
from support.replies import DONE, JOB_ID, PNG

pytestmark = pytest.mark.usefixtures("nothing_left")

URL = "https://service.invalid/v2/job"


class Written:
    """What aiohttp asks of the writer of a request that was never written."""

    output_size = 0


class Response(aiohttp.ClientResponse):
    """aioresponses 0.7.9 does not know the argument `stream_writer`, which aiohttp now wants."""

    def __init__(self, *args, **options):
        try:
            super().__init__(*args, **{"stream_writer": Written()} | options)
        except TypeError:  # an aiohttp that does not take it yet
            super().__init__(*args, **options)


async def test_a_mocked_session_sheds_and_then_answers():
    async with client("https://service.invalid") as prodia:
        with aioresponses() as mocked:
            mocked.post(URL, status=429, headers={"Retry-After": "0"}, response_class=Response)
            mocked.post(URL, body=DONE.body, headers=dict(DONE.headers), response_class=Response)
            result = await prodia.run(JOB)
    assert [attempt.verdict for attempt in result.attempts] == ["shed", "done"]
    assert (result.id, result.outputs[0].data) == (JOB_ID, PNG)


def test_the_documentation_shows_the_same_shim():
    shown = (pathlib.Path(__file__).parents[2] / "docs" / "testing.md").read_text()
    assert f"{inspect.getsource(Written)}\n\n{inspect.getsource(Response)}" in shown
