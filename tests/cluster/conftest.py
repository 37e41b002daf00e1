"""A Ray cluster of this computer, beside an emulator and a bucket: `nox -s cluster`, for Ray is large."""

from __future__ import annotations

import importlib.util
import os
import shutil
import tempfile

import pytest
from cluster.nodes import Nodes, Place
from support.buckets import bucket, object_server  # noqa: F401 - fixtures

from prodia_async.emulator import background_emulator

collect_ignore = [] if importlib.util.find_spec("ray") else ["test_ray.py", "test_daft.py"]


@pytest.fixture
def place(request, tmp_path):
    with background_emulator(capacity=24, latency=0.2, retry_after=0.1) as emulator:
        yield Place(emulator, request.getfixturevalue("bucket"), tmp_path)


@pytest.fixture
def nodes(place):
    # Outside of virtual environments, where nox has its temporary files: Ray's workers would not start there.
    # And short: a socket's path has 107 bytes at most.
    folder = tempfile.mkdtemp(prefix="ray-", dir="/tmp")
    before = dict(os.environ)
    try:
        made = Nodes(folder, place)
        try:
            yield made
        finally:
            made.close()
    finally:
        os.environ.clear()
        os.environ.update(before)
        shutil.rmtree(folder, ignore_errors=True)
