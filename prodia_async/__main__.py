"""`python -m prodia_async` is the command `prodia-async`."""

from __future__ import annotations

from prodia_async.cli import main

if __name__ == "__main__":
    main()
