"""The Go program itself: how it is built, and that it ends."""

from __future__ import annotations

import subprocess

import pytest
from support import goserver

pytestmark = pytest.mark.newest


def test_without_go_the_reason_is_told(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(goserver.NoGoError, match="Go is not installed"):
        goserver.build(tmp_path)


def test_a_go_that_cannot_build_it_is_told(tmp_path, monkeypatch):
    broken = tmp_path / "go"
    broken.write_text("#!/bin/sh\necho no such standard library >&2\nexit 2\n")
    broken.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(goserver.NoGoError, match="no such standard library"):
        goserver.build(tmp_path)


def test_it_ends_with_its_standard_input(go_binary):
    done = subprocess.run([go_binary], stdin=subprocess.DEVNULL, capture_output=True, timeout=10, check=True)
    assert 0 < int(done.stdout) < 65536
    assert done.stderr == b""


def test_a_command_that_it_does_not_know_is_told(go):
    assert go.ask("unheard-of") == {"error": "no such command: unheard-of"}
