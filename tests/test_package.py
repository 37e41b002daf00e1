"""The door: what it offers, and what it costs to come in."""

from __future__ import annotations

import ast
import importlib
import importlib.metadata
import importlib.resources
import inspect
import os
import re
import subprocess
import sys

import pytest

import prodia_async

PACKAGES = ["prodia_async", "prodia_async.batch", "prodia_async.emulator"]
HEAVY = {
    "PIL",
    "aiohttp",
    "anyio",
    "click",
    "ctypes",
    "msgspec",
    "multidict",
    "rich",
    "sqlite3",
    "yarl",
}


def loaded(*lines):
    """Return the modules that these lines load in a Python of its own, beside those that it starts with."""
    # Coverage would load modules of its own.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COV")}
    environment["PRODIA_TOKEN"] = "t"
    code = ["import sys", "before = set(sys.modules)", *lines, "print(*sorted(set(sys.modules) - before))"]
    ended = subprocess.run(
        [sys.executable, "-W", "error", "-c", "\n".join(code)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    return set(ended.stdout.split())


def tops(modules):
    return {name.partition(".")[0] for name in modules}


def imported_for_types(package):
    """Return name and home of what the package imports under `if TYPE_CHECKING`."""
    tree = ast.parse(inspect.getsource(package))
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    prefix = package.__name__ + "."
    return {
        alias.name: node.module.removeprefix(prefix)
        for node in imports
        if node.module and node.module.startswith(prefix)
        for alias in node.names
    }


@pytest.mark.parametrize("name", PACKAGES)
class TestNames:
    def test_all_is_sorted_and_says_what_is_loaded(self, name):
        package = importlib.import_module(name)
        names = [each for each in package.__all__ if each != "__version__"]
        assert package.__all__ == sorted(package.__all__)
        assert len(set(names)) == len(names)
        assert set(names) == set(package._HOME_OF)

    def test_type_checkers_see_the_same(self, name):
        package = importlib.import_module(name)
        assert imported_for_types(package) == package._HOME_OF

    def test_dir_shows_them(self, name):
        package = importlib.import_module(name)
        assert dir(package) == package.__all__

    def test_each_is_there_and_documented(self, name):
        package = importlib.import_module(name)
        for each in set(package.__all__) - {"__version__"}:
            value = getattr(package, each)
            assert value is getattr(package, each)
            assert value.__name__ == each
            assert value.__doc__, each
            assert not value.__doc__.startswith(f"{each}("), f"{each} has no docstring of its own"

    def test_an_unknown_name_is_an_attribute_error(self, name):
        package = importlib.import_module(name)
        with pytest.raises(AttributeError, match=f"module '{name}' has no attribute 'Nonsense'"):
            _ = package.Nonsense
        with pytest.raises(ImportError, match="Nonsense"):
            exec(f"from {name} import Nonsense")


def test_a_star_import_brings_all_names():
    scope = {}
    exec("from prodia_async import *", scope)
    assert set(prodia_async.__all__) <= set(scope)


def test_public_methods_are_documented():
    for each in set(prodia_async.__all__) - {"__version__"}:
        for name, value in vars(getattr(prodia_async, each)).items():
            if inspect.isfunction(value) and not name.startswith("_"):
                # Our sinks' methods are told of in the protocol.
                assert value.__doc__ or getattr(prodia_async.Sink, name).__doc__, (each, name)


class TestCost:
    def test_the_import_alone_loads_almost_nothing(self):
        modules = loaded("import prodia_async")
        assert "prodia_async" in modules
        assert not tops(modules) & (HEAVY | {"asyncio"})
        assert {name for name in modules if name.startswith("prodia_async.")} == set()

    @pytest.mark.parametrize("name", PACKAGES[1:])
    def test_the_other_doors_load_almost_nothing_too(self, name):
        assert not tops(loaded(f"import {name}")) & (HEAVY | {"asyncio"})

    def test_values_and_errors_load_no_http_client(self):
        modules = loaded("from prodia_async import Job, ProdiaError, Retry, Stats")
        assert not tops(modules) & (HEAVY - {"msgspec"} | {"asyncio"})

    def test_a_client_loads_little_more_than_aiohttp(self):
        aiohttp = loaded("import aiohttp")
        modules = loaded("from prodia_async import Prodia", "Prodia()")
        assert "aiohttp" in tops(modules)
        above = modules - aiohttp
        ours = {"anyio", "msgspec", "prodia_async"}
        ours |= {"sniffio", "typing_extensions"}  # what anyio needs in older releases, and before Python 3.13
        assert {top for top in tops(above) if top not in sys.stdlib_module_names} <= ours
        assert not tops(above) & {"concurrent.futures.process", "ctypes", "multiprocessing", "sqlite3"}
        inner = {name for name in above if name.startswith("prodia_async.")}
        assert not {
            name
            for name in inner
            if re.match(r"prodia_async\.(_display|_extras|batch|cli|emulator|progress|pytest|types)", name)
        }

    def test_the_command_s_help_loads_no_http_client(self):
        pytest.importorskip("click")
        modules = loaded(
            "from prodia_async.cli import main",
            "import contextlib, io",
            "sys.argv = ['prodia-async', '--help']",
            "with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit): main()",
        )
        assert "click" in tops(modules)
        assert not tops(modules) & {"PIL", "aiohttp", "anyio", "sqlite3"}


class TestPackaging:
    def test_it_says_that_it_is_typed(self):
        assert importlib.resources.files("prodia_async").joinpath("py.typed").is_file()

    @pytest.fixture
    def installed(self):
        """Return what is installed; an editable install says what the tree was when it was made."""
        try:
            found = importlib.metadata.distribution("prodia-async")
        except importlib.metadata.PackageNotFoundError:
            pytest.skip("runs from the source tree")
        if '"editable": true' in (found.read_text("direct_url.json") or ""):
            pytest.skip("runs from the source tree")
        return found

    def test_the_readme_s_links_lead_somewhere_from_an_index_too(self, installed):
        links = re.findall(r"\]\(([^)]+)\)", installed.metadata.get_payload())
        urls = [url.partition(", ")[2] for url in installed.metadata.get_all("Project-URL")]
        owner_and_name = urls[0].removeprefix("https://github.com/")
        assert len(links) > 20
        assert {link for link in links if not link.startswith("https://")} == set()
        assert {link for link in links if owner_and_name not in link} == set()

    def test_the_version_is_that_of_the_installed_package(self, installed):
        assert prodia_async.__version__ == installed.version
