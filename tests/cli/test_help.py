from __future__ import annotations

import subprocess
import sys

import pytest

import prodia_async


def run_code(code: str, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code], env=environment, text=True, capture_output=True, timeout=60, check=False
    )


@pytest.mark.parametrize(
    ("command", "light"),
    [
        ([], "{'asyncio', 'anyio', 'msgspec'}"),
        (["batch"], "{'anyio', 'msgspec'}"),
        (["results"], "{'anyio'}"),
    ],
)
def test_help_loads_no_http_client(environment, command, light):
    code = (
        "import sys, prodia_async.cli as cli\n"
        f"sys.argv = ['prodia-async', *{command}, '--help']\n"
        "try: cli.main()\n"
        "except SystemExit as end: assert end.code == 0\n"
        f"heavy = {light} | {{'aiohttp', 'rich', 'PIL', 'uvloop'}}\n"
        "print(heavy & set(sys.modules))\n"
    )
    ended = run_code(code, environment)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout.splitlines()[-1] == "set()"


@pytest.mark.parametrize(
    ("name", "called", "extra"), [("click", "click", "cli"), ("PIL", "Pillow", "emulator")]
)
def test_a_missing_extra_is_named(environment, name, called, extra):
    ended = run_code(batch_without(name), environment)
    said = f'prodia-async needs {called}, which is not installed: pip install "prodia-async[{extra}]"\n'
    assert (ended.returncode, ended.stderr) == (1, said)


def test_any_other_missing_module_is_a_fault_and_says_so(environment):
    ended = run_code(batch_without("aiohttp"), environment)
    assert ended.returncode == 1
    assert ended.stderr.endswith("ModuleNotFoundError: No module named 'aiohttp'\n")


def test_uvloop_is_not_needed(environment):
    ended = run_code(batch_without("uvloop"), environment)
    assert ended.returncode == 0
    assert ended.stdout.startswith("0 done, 0 failed\n")


def batch_without(name: str) -> str:
    """A program that runs a batch on a terminal where a module is not installed."""
    return f"""
import pathlib, sys
import prodia_async.cli as cli
from importlib.abc import MetaPathFinder

class Missing(MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name.partition(".")[0] == {name!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Missing())
sys.stderr.isatty = lambda: True
pathlib.Path("jobs.jsonl").write_text("")
sys.argv = ["prodia-async", "batch", "jobs.jsonl", "--out", "out", "--emulator"]
cli.main()
"""


@pytest.mark.parametrize("name", ["run", "batch", "results", "emulator"])
def test_the_help_of_each_command_ends_with_an_example(invoke, name):
    text = " ".join(invoke(name, "--help").stdout.split())
    assert f"Example: prodia-async {name} " in text


def test_the_group_lists_its_commands_and_refuses_others(invoke):
    assert "emulator  Run a local server that behaves like the service." in invoke("-h").stdout
    result = invoke("rnu")
    assert result.exit_code == 2
    assert "No such command 'rnu'" in result.stderr
    assert invoke("--version").stdout == f"prodia-async, version {prodia_async.__version__}\n"
