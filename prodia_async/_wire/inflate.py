"""Compressed replies (RFC 9110, section 8.4.1): taken apart piece by piece, and only so far.

None is asked for, but a proxy in between may compress all the same. A bomb of a few kilobytes can expand to
gigabytes: what comes out is bounded by what came in.
"""

from __future__ import annotations

import zlib

from prodia_async._wire.decoder import MalformedReplyError

_ENCODINGS = ("gzip", "x-gzip", "deflate")
_EITHER = zlib.MAX_WBITS | 32  # a gzip or a zlib header
_PIECE = 256 * 1024
_WINDOW = 16 * 1024
"""Bytes that zlib is given at once: at the end of a member it copies what is left of them, and members of a
few bytes would make it copy a whole block for each."""
_FREE = 1024 * 1024
"""Bytes that may come out whatever came in: a short text of one repeated word is no bomb."""


def is_compressed(content_encoding: str | None) -> bool:
    """Tell whether a reply of this Content-Encoding is to be inflated. Raises MalformedReplyError."""
    encoding = (content_encoding or "").strip().lower()
    if encoding in ("", "identity"):
        return False
    if encoding not in _ENCODINGS:
        raise MalformedReplyError(f"it is encoded as {content_encoding!r}, which was not asked for")
    return True


class Inflater:
    """Inflates gzip and zlib data: `feed` what has come, then `take` until it gives nothing.

    `max_expansion`: how many times the data fed may come out, beyond the first MiB. All methods raise
    MalformedReplyError.
    """

    def __init__(self, max_expansion: int) -> None:
        self._max_expansion = max_expansion
        self._stream = zlib.decompressobj(_EITHER)
        self._rest = b""
        self._at = 0
        self._fed = self._taken = 0

    def feed(self, data: bytes) -> None:
        """Add what has come."""
        self._fed += len(data)
        self._rest, self._at = self._rest[self._at :] + data, 0

    def take(self) -> bytes:
        """Return the next piece, at most 256 KiB; b"" when more has to come first."""
        while self._at < len(self._rest):
            if self._stream.eof:  # another member (RFC 1952, section 2.2)
                self._stream = zlib.decompressobj(_EITHER)
            window = self._rest[self._at : self._at + _WINDOW]
            try:
                piece = self._stream.decompress(window, _PIECE)
            except zlib.error as error:
                raise MalformedReplyError(f"it is compressed, and damaged: {error}") from None
            left = self._stream.unused_data if self._stream.eof else self._stream.unconsumed_tail
            self._at += len(window) - len(left)
            self._taken += len(piece)
            if self._taken > _FREE + self._max_expansion * self._fed:
                most = f"Limits.max_expansion={self._max_expansion}"
                raise MalformedReplyError(f"it expands to more than {most} times what was sent")
            if piece:
                return piece
        return b""

    def close(self) -> None:
        """Say that no more comes: it must be whole."""
        if self._fed and not self._stream.eof:
            raise MalformedReplyError("it is compressed, and breaks off")
