"""The site: `nox -s docs` builds it into out/site, with each page's plain text beside it and an llms.txt."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import prodia_async

if TYPE_CHECKING:
    from sphinx.application import Sphinx

project = "prodia-async"
author = copyright = "The prodia-async authors"  # noqa: A001 - Sphinx's name
version = release = prodia_async.__version__
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.viewcode", "sphinx_click", "sphinx_copybutton"]

html_theme = "furo"
html_title = project
html_short_title = "The async-first Python SDK for the Prodia Inference API v2."
html_copy_source = False
exclude_patterns = ["pictures"]
myst_heading_anchors = 3
myst_url_schemes = ("http", "https", "mailto")
default_role = "code"

autodoc_typehints = "none"  # they stand in the signature's source, one click away
autodoc_member_order = "bysource"
autodoc_default_options = {"members": True, "show-inheritance": True}

DOCS = Path(__file__).parent


def plain_twins(app: Sphinx, error: Exception | None) -> None:
    """Put each page's source beside it, and a list of all for programs that read: llmstxt.org."""
    if error is not None or app.builder.name != "html":
        return
    lines = [f"# {project}", "", "> " + app.config.html_short_title, ""]
    for page in sorted(DOCS.glob("*.md")):
        shutil.copy(page, app.outdir / page.name)
        title = page.read_text(encoding="utf-8").partition("\n")[0].removeprefix("# ")
        lines.append(f"- [{title}]({page.name})")
    (app.outdir / "llms.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")


def examples_as_code(
    _app: Sphinx, _what: str, _name: str, _thing: object, _options: object, lines: list[str]
) -> None:
    """Have each indented example of a docstring shown as code."""
    shown: list[str] = []
    was_example = False
    for line in lines:
        is_example = line.startswith("    ") or (was_example and not line.strip())
        if is_example and not was_example and shown and not shown[-1].strip():
            shown += [".. code-block:: python", ""]
        elif is_example and not was_example:
            is_example = False  # a list's second line
        if was_example and not is_example:
            shown.append("")
        shown.append(line)
        was_example = is_example
    lines[:] = shown


def help_as_text(_app: Sphinx, _context: object, lines: list[str]) -> None:
    """Have the stars of patterns in the command's help shown as stars."""
    lines[:] = [line.replace("*", r"\*") for line in lines]


def without_hidden(_app: Sphinx, _context: object, lines: list[str]) -> None:
    """Leave out an argument that the command's own help does not show: it has no name."""
    while ".. option:: " in lines:
        start = lines.index(".. option:: ")
        rest = [number for number in range(start + 1, len(lines)) if lines[number].startswith("..")]
        del lines[start : rest[0] if rest else len(lines)]


def setup(app: Sphinx) -> None:
    """Have all of them called."""
    app.connect("autodoc-process-docstring", examples_as_code)
    app.connect("build-finished", plain_twins)
    app.connect("sphinx-click-process-description", help_as_text)
    app.connect("sphinx-click-process-epilog", help_as_text)
    app.connect("sphinx-click-process-arguments", without_hidden)
