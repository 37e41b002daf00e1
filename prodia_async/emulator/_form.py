"""A multipart/form-data body, read piece by piece in flat memory."""

from __future__ import annotations

import hashlib

from prodia_async.emulator._names import Disposition, read_disposition

MAX_PARTS = 1000
MAX_HEADER = 16 * 1024


class FormError(ValueError):
    """The body is not the multipart form that its Content-Type promised."""


class Part:
    """One part: its names, its type, the size and SHA-256 of its bytes.

    The bytes themselves are kept only up to `keep`: `content` is None for a larger part.
    """

    def __init__(self, disposition: Disposition, content_type: str, keep: int) -> None:
        self.name: str = disposition.name
        self.filename: str = disposition.filename
        self.content_type = content_type
        self.size: int = 0
        self._digest = hashlib.sha256()
        self._keep = keep
        self._kept: bytearray | None = bytearray()

    def write(self, data: bytes) -> None:
        """Take the next bytes."""
        self.size += len(data)
        self._digest.update(data)
        if self._kept is not None:
            self._kept += data
            if self.size > self._keep:
                self._kept = None

    @property
    def content(self) -> bytes | None:
        """The bytes, or None where there were more than could be kept."""
        return None if self._kept is None else bytes(self._kept)

    @property
    def sha256(self) -> str:
        """The SHA-256 of all bytes, in hex."""
        return self._digest.hexdigest()


class FormReader:
    """Takes a body in any pieces; `parts` holds what came, each part with at most `keep` bytes in memory."""

    def __init__(self, boundary: bytes, *, keep: int) -> None:
        self.parts: list[Part] = []
        self._delimiter = b"\r\n--" + boundary
        self._keep = keep
        # The first delimiter may stand at the very beginning, without a line end before it.
        self._buffer = bytearray(b"\r\n")
        self._read = self._preamble

    def feed(self, data: bytes) -> None:
        """Take the next piece of the body. Raises FormError."""
        self._buffer += data
        while self._read():
            pass

    @property
    def ended(self) -> bool:
        """Whether the last boundary has come."""
        return self._read == self._epilogue

    def close(self) -> None:
        """Say that the body has ended. Raises FormError where the last boundary has not come."""
        if not self.ended:
            raise FormError("the multipart body ends before its last boundary")

    def _preamble(self) -> bool:
        return self._until_delimiter(None)

    def _body(self) -> bool:
        return self._until_delimiter(self.parts[-1])

    def _until_delimiter(self, part: Part | None) -> bool:
        """Pass what stands before the next delimiter to `part`."""
        found = self._buffer.find(self._delimiter)
        end = found if found >= 0 else len(self._buffer) - len(self._delimiter) + 1
        if end > 0:
            if part is not None:
                part.write(bytes(self._buffer[:end]))
            del self._buffer[:end]
        if found < 0:
            return False
        del self._buffer[: len(self._delimiter)]
        self._read = self._after_delimiter
        return True

    def _after_delimiter(self) -> bool:
        """Tell a further part (line end) from the end of the form (two dashes)."""
        head = bytes(self._buffer[:2])
        if len(head) < len(b"--"):
            return False
        if head not in (b"--", b"\r\n"):
            raise FormError("a boundary is followed by something else than a line end")
        self._read = self._epilogue if head == b"--" else self._headers
        if head == b"--":
            self._buffer.clear()
        return True

    def _headers(self) -> bool:
        """Read a part's headers; the line end of the boundary still stands before them."""
        end = self._buffer.find(b"\r\n\r\n")
        if max(end, len(self._buffer) if end < 0 else 0) > MAX_HEADER:
            raise FormError(f"the headers of a part are longer than {MAX_HEADER} bytes")
        if end < 0:
            return False
        if len(self.parts) == MAX_PARTS:
            raise FormError(f"there are more than {MAX_PARTS} parts")
        headers = _fields(bytes(self._buffer[:end]))
        # One line end stays: an empty body ends at a delimiter that begins with it.
        del self._buffer[: end + 4]
        self._buffer[:0] = b"\r\n"
        content_type = headers.get(b"content-type", b"application/octet-stream").decode("latin-1")
        disposition = read_disposition(headers.get(b"content-disposition", b""))
        self.parts.append(Part(disposition, content_type, self._keep))
        self._read = self._body_start
        return True

    def _body_start(self) -> bool:
        """Tell an empty part, whose delimiter follows its headers at once, from one with bytes."""
        if len(self._buffer) < len(self._delimiter) and self._delimiter.startswith(self._buffer):
            return False
        if not self._buffer.startswith(self._delimiter):
            del self._buffer[:2]
        self._read = self._body
        return True

    def _epilogue(self) -> bool:
        self._buffer.clear()
        return False


def _fields(block: bytes) -> dict[bytes, bytes]:
    fields: dict[bytes, bytes] = {}
    for line in block.split(b"\r\n"):
        name, colon, value = line.partition(b":")
        if colon:
            fields.setdefault(name.strip().lower(), value.strip())
        elif line.strip():
            raise FormError("a part has a header line without a colon")
    return fields
