"""How many jobs the process may run at once, by what it may open."""

from __future__ import annotations

import contextlib
import os
import pathlib

import pytest
from support.expect import JOB, assert_told, failure
from support.leaks import client
from support.replies import DONE
from support.servers import answer, serving

from prodia_async import Retry, TransportError
from prodia_async._settings import allowed_concurrency

resource = pytest.importorskip("resource")


@contextlib.contextmanager
def at_most(descriptors):
    """Let the process open no more than this many descriptors inside the block."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_what_fits_is_allowed(caplog):
    with at_most(1024):
        assert allowed_concurrency(50, told=True) == 50
    assert caplog.records == []


def test_what_does_not_fit_is_lowered_with_a_warning(caplog):
    with at_most(500):
        allowed = allowed_concurrency(10_000, told=True)
    assert 20 < allowed < (500 - 64) // 4
    [record] = caplog.records
    assert record.getMessage().startswith(f"max_concurrency lowered from 10000 to {allowed}")
    assert "ulimit -n" in record.getMessage()


def test_one_job_is_always_allowed(caplog):
    with at_most(len(list(pathlib.Path("/dev/fd").iterdir())) + 30):
        assert allowed_concurrency(8, told=True) == 1
    assert len(caplog.records) == 1


@pytest.mark.usefixtures("nothing_left")
async def test_a_client_keeps_to_what_is_allowed(caplog):
    async with serving(answer(DONE)) as server, client(server.base_url, max_concurrency=5000) as prodia:
        with at_most(400):
            await prodia.run(JOB)
        assert prodia.stats().by_type[JOB.type].limit < 100


@pytest.mark.usefixtures("nothing_left")
async def test_no_descriptor_left_is_told_as_such_and_was_never_sent():
    async with (
        serving(answer(DONE)) as server,
        client(server.base_url, retry=Retry(max_errors=0)) as prodia,
    ):
        free = os.open(os.devnull, os.O_RDONLY)
        os.close(free)
        with at_most(free):
            error = await failure(TransportError, prodia)
        assert server.requests == []
    assert_told(error, ["not_sent"], may_have_run=False, says="no file descriptor is left")
