from __future__ import annotations

import os

import pytest

from prodia_async._files.pieces import Pieces


def written(pieces: Pieces, path) -> bytes:
    with path.open("wb", buffering=0) as file:
        pieces.write_to(file.fileno())
    return path.read_bytes()


@pytest.mark.parametrize("size", [1, 4095, 4096, 5000])
def test_more_pieces_than_the_system_takes_at_once(size, tmp_path):
    parts = [os.urandom(size) for _ in range(1200)]
    pieces = Pieces()
    for part in parts:
        pieces.add(part)
    assert pieces.size == 1200 * size
    assert written(pieces, tmp_path / "x") == b"".join(parts)


def test_small_pieces_go_together_and_order_is_kept(tmp_path):
    parts = [b"", b"a" * 10, b"b" * 5000, b"", b"c" * 4090, b"d" * 10, b"e", b"f" * 4096]
    pieces = Pieces()
    for part in parts:
        pieces.add(part)
    assert len(pieces._pieces) < len(parts)
    assert written(pieces, tmp_path / "x") == b"".join(parts)
    assert written(Pieces(), tmp_path / "y") == b""


@pytest.mark.parametrize("size", [10, 10_000])
def test_what_may_still_change_is_copied(size, tmp_path):
    buffer = bytearray(b"x" * size)
    pieces = Pieces(buffer)
    buffer[:] = b"y" * size
    assert written(pieces, tmp_path / "x") == b"x" * size
