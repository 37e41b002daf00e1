"""Each extra, where it is not installed: whatever needs it says so, with the line that installs it."""

from __future__ import annotations

import pathlib
import subprocess
import sys
import tomllib

import pytest

ROOT = pathlib.Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]

RUN = "import asyncio\nfrom prodia_async import Prodia\nasyncio.run(Prodia(token='t').run('t', {}, **%r))"
REPORT = "import asyncio\nfrom prodia_async.batch import write_report\nasyncio.run(write_report('.'))"
FIXTURE = """
import os, pathlib, pytest
os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
pathlib.Path("test_it.py").write_text("def test_it(prodia): pass")
options = ["-p", "no:cacheprovider", "-p", "prodia_async.pytest_plugin", "-c", "/dev/null", "test_it.py"]
pytest.main(options)
raise SystemExit(1)
"""
COMMAND = "import sys\nfrom prodia_async.cli import main\nsys.argv = ['prodia-async', '--help']\nmain()"

CASES = [  # the extra, the module that is missing, how it is called, and what needs it
    ("cli", "click", "click", "prodia-async", COMMAND),
    ("emulator", "PIL", "Pillow", "the emulator", "from prodia_async.emulator import Emulator"),
    ("emulator", "PIL", "Pillow", "the emulator", "from prodia_async.emulator import background_emulator"),
    (
        "emulator",
        "PIL",
        "Pillow",
        "the emulator",
        "from prodia_async.emulator import EmulatorProcess\nEmulatorProcess()",
    ),
    ("emulator", "PIL", "Pillow", "the emulator", FIXTURE),
    ("report", "PIL", "Pillow", "the report", REPORT),
    ("cloud", "obstore", "obstore", "to=: s3://bucket", RUN % {"to": "s3://bucket/a/"}),
    ("otel", "opentelemetry", "OpenTelemetry", "prodia_async.telemetry", "import prodia_async.telemetry"),
    ("web", "starlette", "Starlette", "prodia_async.web", "from prodia_async.web import respond"),
    ("progress", "rich", "rich", "prodia_async.progress", "import prodia_async.progress"),
]
WITHOUT_A_WORD = {
    "fast": "everything works without it",
    "ray": "whoever uses it has imported Ray",
    "notebook": "it is `progress`, and what rich itself asks for in a notebook",
}


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case[0]}-{case[1]}")
def test_what_needs_it_says_so(case, tmp_path):
    extra, module, called, what, code = case
    words = [sys.executable, "-c", f"import sys\nsys.modules[{module!r}] = None\n{code}"]
    ended = subprocess.run(
        words, cwd=tmp_path, env=None, capture_output=True, text=True, timeout=60, check=False
    )
    said = f'{what} needs {called}, which is not installed: pip install "prodia-async[{extra}]"'
    assert ended.returncode == 1
    assert said in ended.stdout + ended.stderr


def test_no_extra_is_left_out():
    assert {case[0] for case in CASES} | set(WITHOUT_A_WORD) == set(PROJECT["optional-dependencies"])
