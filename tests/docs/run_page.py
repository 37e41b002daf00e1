"""Run a page's Python blocks in order, in one namespace: `python run_page.py PAGE BEFORE AFTER`.

`await` may stand outside of functions, as in a notebook. What is called `test_...` is called, with what
its arguments are called. BEFORE is code that the page leaves to its reader; AFTER looks at what came of it.
"""

from __future__ import annotations

import ast
import asyncio
import inspect
import sys
from typing import Any

from support.pages import Block, blocks

from prodia_async import Prodia


def run(block: Block, names: dict[str, Any], loop: asyncio.AbstractEventLoop) -> None:
    """Run a block; its traceback tells the page and the line."""
    known = set(names)
    text = "\n" * (block.line - 1) + block.text
    code = compile(text, block.page, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    if code.co_flags & inspect.CO_COROUTINE:
        loop.run_until_complete(eval(code, names))
    else:
        exec(code, names)
    for name in sorted(set(names) - known):
        if name.startswith("test_"):
            loop.run_until_complete(
                names[name](**{key: names[key] for key in inspect.signature(names[name]).parameters})
            )


def main() -> None:
    """Run the page."""
    page, before, after = sys.argv[1:]
    loop = asyncio.new_event_loop()
    names: dict[str, Any] = {"__name__": "__main__"}
    wanted = [block for block in blocks(page, "python") if block.reason is None]
    for block in [
        Block("before", 1, "python", before, None),
        *wanted,
        Block("after", 1, "python", after, None),
    ]:
        run(block, names, loop)
    for value in names.values():
        if isinstance(value, Prodia):
            loop.run_until_complete(value.aclose())
    loop.close()


if __name__ == "__main__":
    main()
