"""Bytes for large outputs: made as they are sent, the same for the same seed."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

BLOCK = 256 * 1024


def pattern_blocks(seed: int, size: int) -> Iterator[bytes]:
    """Yield the `size` bytes that `emulator.bytes.v1` sends for `seed`, in blocks of 256 KiB at most.

    Each block begins with its number, so that a lost, repeated or exchanged block changes the digest.
    """
    base = hashlib.shake_256(str(seed).encode()).digest(BLOCK - 8)
    for index in range(-(-size // BLOCK)):
        block = index.to_bytes(8, "big") + base
        yield block[: size - index * BLOCK]
