"""Reading whole manifests."""

from __future__ import annotations

from prodia_async.batch.manifest import Entry, Manifest, Problem


async def read_manifest(source, **options) -> tuple[list[Entry], list[Problem]]:
    """All entries and problems of a manifest."""
    problems: list[Problem] = []
    manifest = Manifest(source, problems.append, **options)
    entries: list[Entry] = []
    try:
        await manifest.open()
        while (block := await manifest.read()) is not None:
            entries += block
    finally:
        await manifest.aclose()
    return entries, problems
