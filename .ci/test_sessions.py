"""Every wanted session ran: one that is skipped for want of its Python would leave a green run that lies."""

import json
import os
import pathlib
import shutil
from typing import Any

import pytest

REPORTS = map(pathlib.Path, os.environ["NOX_REPORTS"].split(":"))
SESSIONS = [session for report in REPORTS for session in json.loads(report.read_text())["sessions"]]


def installed(minor: str) -> bool:
    versions = pathlib.Path(os.environ.get("PYENV_ROOT", pathlib.Path.home() / ".pyenv")) / "versions"
    return any(versions.glob(f"{minor}.*")) or shutil.which(f"python{minor}") is not None


@pytest.mark.parametrize("session", SESSIONS, ids=lambda session: session["signatures"][-1])
def test_session_ran(session: dict[str, Any]) -> None:
    minor = session["signatures"][-1].rpartition("-")[2]
    if session["result"] == "skipped" and not installed(minor):
        pytest.skip(f"no Python {minor} on this machine")
    if session["result"] == "skipped" and session["name"] == "cluster":
        pytest.skip(f"Ray has no wheel for Python {minor} on this machine")
    assert session["result"] == "success"
