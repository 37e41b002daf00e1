"""Each Python and console block of the README and the docs runs as it stands, against the emulator.

A block that does not says why, in a comment before its fence: `<!-- not run: REASON -->`. Lines that install,
clone, or start this project's own sessions are not run but looked at: what they name must exist.
"""

from __future__ import annotations

import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator

import pytest
from support.buckets import Bucket
from support.pages import ROOT, blocks, saved

import prodia_async
from prodia_async.emulator import Emulator, background_emulator

pytestmark = [
    pytest.mark.newest,
    pytest.mark.skipif(sys.platform == "win32", reason="the console is a Unix shell"),
]

PAGES = [
    "README.md",
    "CONTRIBUTING.md",
    *sorted(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md")),
]
ELSEWHERE = {"docs/testing.md": "tests/test_pytest_plugin.py runs its test modules"}
MOST_NOT_RUN = 6
PICTURE = ROOT / "examples" / "pictures" / "rocket.jpg"

CLIENT = "from prodia_async import Job, Prodia\nprodia = Prodia()\n"
BEFORE = {
    "README.md": CLIENT,
    "docs/async-jobs.md": CLIENT
    + "job_id = (await prodia.submit('inference.wan2-2.lightning.txt2vid.v0', {'prompt': 'x'})).id\n"
    + "store = print",
    "docs/batches.md": CLIENT
    + "import sqlite3\n"
    + "database = sqlite3.connect(':memory:')\n"
    + "database.execute('create table pictures as select 7 as name, \"a cat\" as caption')",
    "docs/clusters.md": "import asyncio\ntable = [{'sku': sku, 'caption': 'a cat'} for sku in 'abc']",
    "docs/first-steps.md": CLIENT,
    "docs/many-jobs.md": CLIENT + "prompts = ['a cat', 'a dog']",
    "docs/one-job.md": CLIENT,
    "docs/stores.md": CLIENT + "job = Job('inference.flux-fast.schnell.txt2img.v2', {'prompt': 'a cat'})",
    "docs/telemetry.md": CLIENT,
    "docs/workers.md": CLIENT
    + "job_id = (await prodia.submit('inference.wan2-2.lightning.txt2vid.v0', {'prompt': 'x'})).id",
}
"""What a page leaves to its reader."""

AFTER = {
    "README.md": """
import pathlib
assert pathlib.Path("explorer.jpg").stat().st_size
assert report.done == 2
""",
    "docs/batches.md": "assert report.done == 1\ndatabase.close()",
    "docs/first-steps.md": "import pathlib\nassert len(list(pathlib.Path('animals').iterdir())) == 3",
    "docs/many-jobs.md": "import pathlib\nassert len(list(pathlib.Path('out').iterdir())) == 2",
    "docs/one-job.md": "import pathlib\nassert len(list(pathlib.Path('paintings').iterdir())) == 1",
    "docs/notebooks.md": "assert [row['status'] for row in rows] == ['done'] * 4",
    "docs/web.md": """
import asyncio, urllib.request
import uvicorn
server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="warning"))
serving = asyncio.ensure_future(server.serve())
while not server.started:
    await asyncio.sleep(0.05)
url = "http://127.0.0.1:%d/pictures" % server.servers[0].sockets[0].getsockname()[1]
order = urllib.request.Request(url, b'{"prompt": "a cat"}', {"Content-Type": "application/json"})
answer = await asyncio.to_thread(urllib.request.urlopen, order, timeout=30)
assert answer.headers["content-type"] == "image/jpeg"
content = await asyncio.to_thread(answer.read)  # the server runs in this loop
assert content[:2] == bytes([0xFF, 0xD8])
answer.close()
server.should_exit = True
await serving
""",
}
"""What must have come of it, where that is more than that nothing was raised."""

ENDLESS = re.compile(r"prodia-async emulator\b.*(?<!&)$|python examples/worker\.py run .*")
LOOKED_AT = re.compile(r"pip install |nox |git (clone|tag)|pytest |ruff |python3? benchmarks/|pre-commit ")
PORTS = re.compile(r"\b(?:8000|8080|9000|9100)\b")


@pytest.fixture(scope="module")
def emulator() -> Iterator[Emulator]:
    with background_emulator(capacity=8, latency=0.02, retry_after=0.1) as emulator:
        yield emulator


@pytest.fixture(scope="module")
def bucket(object_server: str) -> Bucket:
    bucket = Bucket(object_server, "bucket")
    bucket.put("photos/in.jpg", PICTURE.read_bytes())
    return bucket


@pytest.fixture
def environment(emulator: Emulator, bucket: Bucket) -> dict[str, str]:
    ours = [str(pathlib.Path(prodia_async.__file__).parents[1]), str(ROOT / "tests")]
    paths = [str(pathlib.Path(sys.executable).parent), os.environ["PATH"]]
    return (
        os.environ
        | bucket.environment
        | {
            "PRODIA_BASE_URL": emulator.base_url,
            "PRODIA_TOKEN": emulator.token,
            "PYTHONPATH": os.pathsep.join(ours),
            "PATH": os.pathsep.join(paths),
        }
    )


@pytest.fixture
def folder(tmp_path: pathlib.Path) -> pathlib.Path:
    """A folder with what the pages speak of: pictures, a manifest, a program of one's own, the examples."""
    (tmp_path / "photos").mkdir()
    for name in ("in.jpg", "input.jpg", "cat.jpg", "photos/in.jpg", "photos/input.jpg", "photos/cat.jpg"):
        shutil.copy(PICTURE, tmp_path / name)
    job = {"type": "inference.flux-fast.schnell.txt2img.v2", "config": {"prompt": "a cat"}}
    lines = [json.dumps(job | {"custom_id": str(number)}) for number in range(2)]
    (tmp_path / "jobs.jsonl").write_text("\n".join(lines), encoding="utf-8")
    (tmp_path / "my_program.py").write_text("import prodia_async\nprodia_async.Prodia()\n", encoding="utf-8")
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    return tmp_path


def with_blocks(language: str) -> list[str]:
    return [page for page in PAGES if any(block.reason is None for block in blocks(page, language))]


@pytest.mark.parametrize("page", [page for page in with_blocks("python") if page not in ELSEWHERE])
def test_the_python_of(page, folder, environment):
    program = pathlib.Path(__file__).with_name("run_page.py")
    words = [sys.executable, "-X", "dev", str(program), page, BEFORE.get(page, ""), AFTER.get(page, "")]
    ended = subprocess.run(
        words, cwd=folder, env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr


def look_at(line: str) -> None:
    """Check that the extras, groups, sessions and files that a line names are there."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    for extras in re.findall(r"\[([\w,]+)\]", line):
        assert set(extras.split(",")) <= set(project["project"]["optional-dependencies"]), line
    assert set(re.findall(r"--group (\w+)", line)) <= set(project["dependency-groups"]), line
    sessions = set(
        re.findall(r"^def (\w+)\(session", (ROOT / "noxfile.py").read_text(encoding="utf-8"), re.MULTILINE)
    )
    for named in re.findall(r"nox -s ((?:[a-z]+ ?)+)", line):
        assert set(named.split()) <= sessions, line
    for path in re.findall(r"(?<![\w/])(?:tests|benchmarks|examples)/[\w/.]+", line):
        assert (ROOT / path).exists(), line


def script(text: str, emulator: Emulator) -> str:
    """Return a console block as a program of a shell: what it would run for ever is ended."""
    lines = ["set -eu"]
    for line in text.replace("PRODIA_TOKEN=...", f"PRODIA_TOKEN={emulator.token}").splitlines():
        command = re.sub(r"\s+#.*", "", line)
        if LOOKED_AT.search(command):
            look_at(command)
        elif ENDLESS.fullmatch(command):
            lines.append(f"timeout --signal INT 6 {command} || test $? -eq 124")
        else:
            lines.append(line)
            port = PORTS.search(command) or re.search("--port|uvicorn|_app", command)
            if command.endswith("&") and port:
                lines.append(
                    f"until (exec 3<>/dev/tcp/127.0.0.1/{port_of(command)}) 2>/dev/null; do sleep 0.1; done"
                )
    return "\n".join(lines)


def port_of(command: str) -> str:
    named = PORTS.search(command)
    return named[0] if named else "8000" if "uvicorn" in command else "8080"


@pytest.mark.parametrize("page", with_blocks("sh"))
def test_the_console_of(page, folder, environment, emulator, request):
    if "REDIS_URL" in (ROOT / page).read_text(encoding="utf-8"):
        environment["REDIS_URL"] = request.getfixturevalue("redis_url")
    for name, text in saved(page).items():
        (folder / name).write_text(text, encoding="utf-8")
    for block in blocks(page, "sh"):
        if block.reason is None:
            text = script(block.text, emulator)
            ended = subprocess.run(
                ["bash", "-c", f"trap 'kill $(jobs -p) 2>/dev/null || true' EXIT\n{text}"],
                cwd=folder,
                env=environment,
                capture_output=True,
                text=True,
                timeout=120,
                check=False,
            )
            assert ended.returncode == 0, f"{page}:{block.line}\n{text}\n{ended.stdout}{ended.stderr}"


def test_what_is_not_run_says_why_and_is_rare():
    left = [block for page in PAGES for block in blocks(page) if block.reason is not None]
    assert len(left) <= MOST_NOT_RUN, [f"{block.page}:{block.line}: {block.reason}" for block in left]
