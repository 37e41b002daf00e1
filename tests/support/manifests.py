"""Reading whole manifests."""

from __future__ import annotations

from prodia_async.batch._manifest import Entry, Manifest, Problem


async def read_manifest(source, **options) -> tuple[list[Entry], list[Problem]]:
    """All entries and problems of a manifest."""
    manifest = Manifest(source, **options)
    entries: list[Entry] = []
    problems: list[Problem] = []
    try:
        await manifest.open()
        while (block := await manifest.read()) is not None:
            for item in block:
                problem = item if isinstance(item, Problem) else item.problem
                if problem is None:
                    entries.append(item)
                else:
                    problems.append(problem)
    finally:
        await manifest.aclose()
    return entries, problems
