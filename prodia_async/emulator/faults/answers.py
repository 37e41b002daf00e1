"""Faults of a whole answer: refusals, answers of someone else, encodings."""

from __future__ import annotations

import zlib
from dataclasses import replace
from typing import TYPE_CHECKING

from prodia_async.emulator.answer import Answer, error_answer
from prodia_async.emulator.jobs import OutputFile

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from prodia_async.emulator.answer import RetryAfter

HEADER = 64 * 1024
BOMB = 1024**3
_BLOCK = 1024**2
_GZIP = 31
"""The window of zlib that writes gzip (RFC 1952)."""
_ORDERED = "a fault was ordered"
_PAGE = b"<html><body><h1>Please log in</h1></body></html>\n"


def refuse(status: int) -> Callable[[RetryAfter], Answer]:
    """Return a refusal of this status; 429 and 503 tell when to come again."""
    return lambda retry_after: error_answer(status, _ORDERED, retry_after if status in (429, 503) else None)


def refuse_with(retry_after: str | None) -> Callable[[RetryAfter], Answer]:
    """Return a 429 with this Retry-After."""
    return lambda _: error_answer(429, _ORDERED, retry_after)


def redirect(_: RetryAfter) -> Answer:
    """Send the client, and its POST, to another host (RFC 9110 section 15.4.8)."""
    return replace(error_answer(307, _ORDERED), headers=(("Location", "https://elsewhere.invalid/v2/job"),))


def lose(status: int) -> Callable[[Answer], Answer]:
    """Return a change that puts an error in the place of the answer."""
    return lambda _: error_answer(status, _ORDERED)


def be_html(_: Answer) -> Answer:
    """Answer 200 with a page, as a captive portal does."""
    return Answer(200, "text/html; charset=utf-8", (_PAGE,))


def be_empty(answer: Answer) -> Answer:
    """Send no body."""
    return replace(answer, pieces=(), sized=True)


def add_header(answer: Answer) -> Answer:
    """Send a header of 64 KiB."""
    return replace(answer, headers=(*answer.headers, ("x-padding", "x" * HEADER)))


def be_gzip(answer: Answer) -> Answer:
    """Send the body compressed, whether the client takes that or not."""
    return _encoded(answer, lambda: _compressed(answer.blocks()))


def be_bomb(answer: Answer) -> Answer:
    """Send a gigabyte of zeros at the end of the last part, compressed to a megabyte."""
    end = len(answer.pieces) - (len(answer.pieces) > 1)
    before, after = (replace(answer, pieces=part) for part in (answer.pieces[:end], answer.pieces[end:]))
    return _encoded(answer, lambda: _bomb(before.blocks(), after.blocks()))


def mislabel(answer: Answer) -> Answer:
    """Say that the body is compressed where it is not."""
    return replace(answer, headers=(*answer.headers, ("Content-Encoding", "gzip")))


def _encoded(answer: Answer, blocks: Callable[[], Iterable[bytes]]) -> Answer:
    body = OutputFile(None, answer.content_type, 0, blocks)
    headers = (*answer.headers, ("Content-Encoding", "gzip"))
    return Answer(answer.status, answer.content_type, (body,), headers, sized=False)


def _compressed(blocks: Iterable[bytes]) -> Iterator[bytes]:
    packer = zlib.compressobj(wbits=_GZIP)
    for block in blocks:
        yield packer.compress(block)
    yield packer.flush()


def _bomb(before: Iterable[bytes], after: Iterable[bytes]) -> Iterator[bytes]:
    """Yield gzip; the zeros are compressed once, for a full flush makes their blocks independent."""
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    checksum, size, zeros = 0, BOMB, bytes(_BLOCK)
    yield b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"
    for block in before:
        checksum, size = zlib.crc32(block, checksum), size + len(block)
        yield packer.compress(block)
    yield packer.flush(zlib.Z_FULL_FLUSH)
    packed = packer.compress(zeros) + packer.flush(zlib.Z_FULL_FLUSH)
    for _ in range(BOMB // _BLOCK):
        checksum = zlib.crc32(zeros, checksum)
        yield packed
    for block in after:
        checksum, size = zlib.crc32(block, checksum), size + len(block)
        yield packer.compress(block)
    yield packer.flush() + checksum.to_bytes(4, "little") + (size % 2**32).to_bytes(4, "little")
