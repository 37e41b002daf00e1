"""The project's commands. `.ci/run` runs the same sessions; `nox -l` lists them."""

from __future__ import annotations

import os
import platform
import shutil
from pathlib import Path

import nox

MINORS = ["3.14", "3.13", "3.12", "3.11"]


def installed_with_pyenv() -> dict[str, str]:
    """Return the newest release of each minor version that pyenv has."""
    versions = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    found: dict[str, tuple[int, ...]] = {}
    for folder in versions.glob("3.*.*"):
        parts = folder.name.split(".")
        if all(part.isdigit() for part in parts):
            number = tuple(map(int, parts))
            minor = ".".join(parts[:2])
            found[minor] = max(number, found.get(minor, ()))
    return {minor: ".".join(map(str, number)) for minor, number in found.items()}


PYENV = installed_with_pyenv()
if PYENV:
    # pyenv's shims offer only the versions named here; the active one stays first, as plain `python`.
    active = platform.python_version()
    wanted = [PYENV[minor] for minor in MINORS if minor in PYENV]
    os.environ["PYENV_VERSION"] = ":".join([active, *(version for version in wanted if version != active)])

nox.needs_version = ">=2024.10.9"
nox.options.default_venv_backend = "venv"
nox.options.error_on_missing_interpreters = False
nox.options.sessions = ["lint", "types", "contracts", "docs", "tests", "cluster", "demo"]


def newest() -> str:
    """Return the newest supported Python that is on this machine."""
    for minor in MINORS:
        if minor in PYENV or shutil.which(f"python{minor}"):
            return minor
    return ".".join(platform.python_version_tuple()[:2])


NEWEST = newest()
PYTHONS = MINORS if NEWEST in MINORS else [NEWEST, *MINORS]
GROUPS = nox.project.load_toml("pyproject.toml")["dependency-groups"]


UNITS = ["wire", "files", "pacing", "http", "test_models.py", "test_errors.py", "test_settings.py"]
ENDS = ["client", "as_completed", "stream", "stream_ends", "drain", "handles", "events"]
CLIENT = ["blocking", "cancellation", "lifetimes", "test_loops.py", *(f"e2e/test_{name}.py" for name in ENDS)]

LANES = min(8, 2 * (os.cpu_count() or 1))
"""Tests run at once: more than there are cores, for most of them wait for sockets and disks."""


@nox.session(python=NEWEST)
def demo(session: nox.Session) -> None:
    """Run the main job: 200 picture jobs against the local emulator, which sheds load."""
    session.install(".[cli,emulator]")
    shutil.rmtree("out/demo", ignore_errors=True)  # the demo's own folder: a batch never goes over an old one
    session.run(
        *("prodia-async", "batch", "examples/demo.jsonl", "--out", "out/demo"),
        *("--emulator", "--capacity", "8", "--latency", "0.5"),
    )
    session.run("python", "examples/check_demo.py", "out/demo")


def run_tests(session: nox.Session, *words: str, lanes: int = LANES, only_units: bool = False) -> None:
    """Run tests on the installed package: `words` are pytest's, with paths as seen from here."""
    if only_units:  # the library as it is without any extra
        session.install(".", *GROUPS["units"])
    else:
        session.install(".[cli,cloud,emulator,fast,notebook,otel,web]", *GROUPS["units"], *GROUPS["test"])
    run_pytest(session, *words, lanes=lanes)


def run_pytest(session: nox.Session, *words: str, lanes: int = 1) -> None:
    """Run pytest from another folder: here, `python -c` in a test would import the tree instead."""
    root = Path.cwd()
    pytest = ["python", "-X", "dev", str(Path(session.bin) / "pytest"), "-c", str(root / "pyproject.toml")]
    pytest += ["-n", str(lanes), "--dist", "worksteal"] if lanes > 1 else []
    wanted = [str(root / word) if (root / word.partition("::")[0]).exists() else word for word in words]
    with session.chdir(session.create_tmp()):
        # Each lane reads all tests: it would compile them all where no bytecode is kept.
        session.run(*pytest, *wanted, env={"PYTHONDONTWRITEBYTECODE": ""})


@nox.session(python=PYTHONS)
def tests(session: nox.Session) -> None:
    """Run the tests: on the newest Python all of them, and some elsewhere.

    The oldest Python differs most: it has the client's own tests too; those between have the unit tests.
    """
    if session.posargs:
        run_tests(session, *session.posargs)
    elif session.python == NEWEST:
        run_tests(session, "tests")
    elif session.python == MINORS[-1]:
        run_tests(session, "-m", "not newest", *(f"tests/{name}" for name in UNITS + CLIENT))
    else:
        run_tests(session, "-m", "not newest", *(f"tests/{name}" for name in UNITS), only_units=True)


@nox.session(python=NEWEST)
def coverage(session: nox.Session) -> None:
    """Print which branches all of these tests leave out on the newest Python, and fail above 5 %."""
    run_tests(
        session, "--cov", f"--cov-config={Path('pyproject.toml').absolute()}", "tests", *session.posargs
    )


@nox.session(python=NEWEST)
def nightly(session: nox.Session) -> None:
    """Run the tests that take minutes, and those that look at the report in headless Chromium."""
    run_tests(session, "--nightly", "-m", "nightly", "--timeout=3600", "tests", *session.posargs, lanes=1)


@nox.session(python=NEWEST)
def cluster(session: nox.Session) -> None:
    """Run Ray Data and Daft on a cluster of this computer; `-- --nightly` kills parts of it, too."""
    session.install(".[cloud,emulator]", *GROUPS["units"], *GROUPS["cluster"])
    found = session.run(
        *("python", "-m", "pip", "install", "--quiet", "--only-binary=ray", ".[ray]"),
        success_codes=[0, 1],
        silent=True,
    )
    if "No matching distribution found for ray" in str(found):
        session.skip(f"Ray has no wheel for Python {session.python} on this system")
    session.run("mypy", "--strict", "examples/ray_pictures.py", "examples/daft_pictures.py")
    run_pytest(session, "tests/cluster", *session.posargs)


@nox.session(python=NEWEST)
def lint(session: nox.Session) -> None:
    """Check style and formatting, and the workflows."""
    session.install(*GROUPS["lint"])
    session.run("ruff", "format", "--check", ".")
    session.run("ruff", "check", ".")
    workflows = [str(path) for path in sorted(Path(".github/workflows").iterdir())]
    session.run("check-jsonschema", "--builtin-schema", "vendor.github-workflows", *workflows)
    session.run("check-jsonschema", "--builtin-schema", "vendor.dependabot", ".github/dependabot.yml")
    session.run("zizmor", "--offline", "--quiet", ".github")


@nox.session(python=NEWEST)
def package(session: nox.Session) -> None:
    """Build the sdist, and the wheel from it, into dist/, and check both as the index would."""
    session.install(*GROUPS["package"])
    shutil.rmtree("dist", ignore_errors=True)
    session.run("python", "-m", "build", "--quiet")
    built = [str(path) for path in sorted(Path("dist").iterdir())]
    session.run("twine", "check", "--strict", *built)
    session.run("check-wheel-contents", *(path for path in built if path.endswith(".whl")))


@nox.session(python=NEWEST)
def types(session: nox.Session) -> None:
    """Check types, strictly, and that whatever is public has one, in pyright's eyes too.

    tests/typing asserts the types of the public face.
    """
    session.install(".[cli,cloud,emulator,fast,notebook,otel,web]", "nox", "pytest", *GROUPS["types"])
    session.run("mypy")
    with session.chdir(session.create_tmp()):  # here it would take the tree for the package
        session.run("basedpyright", "--verifytypes", "prodia_async", "--ignoreexternal")


@nox.session(python=NEWEST)
def contracts(session: nox.Session) -> None:
    """Check that imports run one way through the rooms."""
    session.install("-e", ".[cli,cloud,emulator,notebook,otel,web]", *GROUPS["contracts"])
    session.run("lint-imports")


@nox.session(python=NEWEST)
def docs(session: nox.Session) -> None:
    """Build the site into out/site, with warnings as errors."""
    session.install(".[cli,cloud,emulator,notebook,otel,web]", *GROUPS["docs"])
    session.run("sphinx-build", "-W", "--keep-going", "-q", "-E", "docs", "out/site")


@nox.session(python=NEWEST)
def bench(session: nox.Session) -> None:
    """Print what the SDK costs: beside its peers, alone, in a batch, in a web server, at import."""
    session.install(".[cli,emulator,fast]", "httpx", "requests", "requests-toolbelt")
    session.install("fastapi", "uvicorn", "python-multipart")
    # It exits with 1 where a goal was missed, which a busy machine may do.
    session.run("python", "benchmarks/wire", *session.posargs, success_codes=[0, 1])
    session.run("python", "benchmarks/frames.py")
    session.run("python", "benchmarks/own_cost.py")
    session.run("python", "benchmarks/batches", "scale", "--lines", "50000")
    session.run("python", "benchmarks/web_stream.py")
    session.run("python", "benchmarks/imports.py")
    session.run("python", "benchmarks/limiter_cost.py")


@nox.session(python=NEWEST)
def shedding(session: nox.Session) -> None:
    """Simulate the limiter in every scenario that it was designed for, beside its goals. Takes minutes."""
    session.install(".")
    session.run("python", "benchmarks/shedding", *session.posargs)


@nox.session(python=NEWEST)
def sockets(session: nox.Session) -> None:
    """Run the limiter through load shedding over real sockets, beside what other clients do."""
    session.install(".[emulator]")
    session.run("python", "benchmarks/sockets", *session.posargs)


@nox.session(python=NEWEST)
def batches(session: nox.Session) -> None:
    """Print what a batch of a million lines costs, and run one through a minute without a network."""
    session.install(".[cli,emulator,fast]")
    session.run("python", "benchmarks/batches", *session.posargs)


@nox.session(python=NEWEST)
def live(session: nox.Session) -> None:
    """Compare the emulator with the real service, for at most 5 cents; skipped without PRODIA_TOKEN."""
    session.install(".[emulator]")
    # It exits with 1 where something differs, which it has written to out/live.json.
    session.run("python", "tests/live", *session.posargs, success_codes=[0, 1])


@nox.session(python=NEWEST)
def verdicts(session: nox.Session) -> None:
    """Print what the client makes of each fault of the wire, with every warning an error."""
    session.install(".[emulator]", *GROUPS["units"], *GROUPS["test"])
    session.run("python", "-X", "dev", "-W", "error", "tests/verdicts")
