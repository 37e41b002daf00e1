"""What faults do to an answer, to its multipart form, to the outputs in it, and to the job result."""

from __future__ import annotations

import itertools
import zlib
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from prodia_async.emulator._answer import Answer, error_answer, form_answer, refusal, to_json
from prodia_async.emulator._plans import OutputFile
from prodia_async.emulator._request import MULTIPART

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from prodia_async.emulator._answer import Form, RetryAfter

    Files = tuple[OutputFile, ...]

HEADER = 64 * 1024
BOMB = 1024**3
HUGE = 8 * 1024**2
_ZEROS = bytes(1024**2)
_BLOCK = bytes(256 * 1024)
_GZIP = 31
"""The window of zlib that writes gzip (RFC 1952)."""
_ORDERED = "a fault was ordered"
_PAGE = b"<html><body><h1>Please log in</h1></body></html>\n"
_PREAMBLE = b"This is a message with several parts.\r\n" * 50
HOSTILE = (
    "../../../escape.png", "/etc/passwd", "..\\..\\escape.png", "C:\\escape.png", "a/../../b.png", ".", "..",
    "", "~", "-rf", "CON", "%2e%2e%2fescape.png", "%0d%0aSet-Cookie: a=b", "a\x1b[31mb.png", 'a"; name="job',
    "<script>alert(1)</script>.html", "\u202egnp.exe", "a" * 300 + ".png", ".bashrc", "x.png ",
)  # fmt: skip
"""Names that are dangerous as a path, in a terminal, in a page or in a header."""


def refuse(status: int) -> Callable[[RetryAfter], Answer]:
    """Return a refusal of this status; 429 and 503 tell when to come again."""
    return lambda retry_after: refusal(status, _ORDERED, retry_after)


def refuse_with(retry_after: str | None) -> Callable[[RetryAfter], Answer]:
    """Return a 429 with this Retry-After."""
    return lambda _: error_answer(429, _ORDERED, retry_after)


def redirect(_: RetryAfter) -> Answer:
    """Send the client, and its POST, to another host (RFC 9110 section 15.4.8)."""
    return replace(error_answer(307, _ORDERED), headers=(("Location", "https://elsewhere.invalid/v2/job"),))


def be_error(status: int) -> Callable[[Answer], Answer]:
    """Return a change that puts an error in the place of the answer."""
    return lambda _: error_answer(status, _ORDERED)


def be_html(_: Answer) -> Answer:
    """Answer 200 with a page, as a captive portal does."""
    return Answer(200, "text/html; charset=utf-8", (_PAGE,))


def be_empty(answer: Answer) -> Answer:
    """Send no body."""
    return replace(answer, pieces=(), sized=True)


def add_header(name: str, value: str) -> Callable[[Answer], Answer]:
    """Return a change that adds a header, such as one that says that the body is compressed."""
    return lambda answer: replace(answer, headers=(*answer.headers, (name, value)))


def be_gzip(answer: Answer) -> Answer:
    """Send the body compressed, whether the client takes that or not."""
    return _encoded(answer, lambda: _compressed(answer.blocks()))


def be_bomb(answer: Answer) -> Answer:
    """Send a gigabyte of zeros at the end of the last part, compressed to a megabyte."""
    end = len(answer.pieces) - (len(answer.pieces) > 1)
    before, after = (replace(answer, pieces=part) for part in (answer.pieces[:end], answer.pieces[end:]))
    return _encoded(answer, lambda: _bomb(before.blocks(), after.blocks()))


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
    checksum, size = 0, BOMB
    yield b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"
    for block in before:
        checksum, size = zlib.crc32(block, checksum), size + len(block)
        yield packer.compress(block)
    yield packer.flush(zlib.Z_FULL_FLUSH)
    packed = packer.compress(_ZEROS) + packer.flush(zlib.Z_FULL_FLUSH)
    for _ in range(BOMB // len(_ZEROS)):
        checksum = zlib.crc32(_ZEROS, checksum)
        yield packed
    for block in after:
        checksum, size = zlib.crc32(block, checksum), size + len(block)
        yield packer.compress(block)
    yield packer.flush() + checksum.to_bytes(4, "little") + (size % 2**32).to_bytes(4, "little")


def drop_end(form: Form) -> Answer:
    """Leave the final boundary out."""
    answer = form.answer()
    return replace(answer, pieces=answer.pieces[:-1])


def drop_job(form: Form) -> Answer:
    """Leave the job part out."""
    return form_answer(form.status, [part for part in form.parts if part[0] != "job"], sized=form.sized)


def put_job_last(form: Form) -> Answer:
    """Send the job part after the outputs."""
    return replace(form, job_last=True).answer()


def repeat_job(form: Form) -> Answer:
    """Send the job part before and after the outputs."""
    first, last = (replace(form, job_last=job_last).parts for job_last in (False, True))
    return form_answer(form.status, [*first, last[-1]], sized=form.sized)


def rename_boundary(form: Form) -> Answer:
    """Name another boundary in Content-Type than stands in the body."""
    return replace(form.answer(), content_type=f"{MULTIPART}; boundary={'0' * 60}")


def end_lines_with_lf(form: Form) -> Answer:
    """End the lines of boundaries and headers with LF alone."""
    answer = form.answer()
    pieces = [piece.replace(b"\r\n", b"\n") if isinstance(piece, bytes) else piece for piece in answer.pieces]
    return replace(answer, pieces=tuple(pieces))


def add_preamble(form: Form) -> Answer:
    """Send text before the first boundary."""
    answer = form.answer()
    return replace(answer, pieces=(_PREAMBLE, *answer.pieces))


def add_epilogue(size: int, *, sized: bool) -> Callable[[Form], Answer]:
    """Return a change that sends so many bytes after the final boundary."""
    epilogue = OutputFile(None, "", size, lambda: itertools.repeat(_BLOCK, size // len(_BLOCK)))

    def change(form: Form) -> Answer:
        answer = form.answer()
        return replace(answer, pieces=(*answer.pieces, epilogue), sized=sized and answer.sized)

    return change


def fill_up(parts: int) -> Callable[[Files], Files]:
    """Return a change that adds small outputs until there are so many parts, with the job part."""
    return lambda outputs: (
        outputs + tuple(_small(f"part-{number}.txt") for number in range(len(outputs) + 1, parts))
    )


def rename(*names: str | None) -> Callable[[Files], Files]:
    """Return a change that sends the first output under each of these names."""
    return lambda outputs: tuple(replace(_first(outputs), filename=name) for name in names) + outputs[1:]


def repeat_name(outputs: Files) -> Files:
    """Send the first output three times under its name."""
    return (_first(outputs),) * 3 + outputs[1:]


def drop_names(outputs: Files) -> Files:
    """Send each output, and one more, without a name."""
    return tuple(replace(output, filename=None) for output in (*outputs, _small("")))


def break_json(result: dict[str, Any]) -> bytes:
    """Send half of the job result."""
    text = to_json(result)
    return text[: len(text) // 2]


def set_field(**fields: Any) -> Callable[[dict[str, Any]], bytes]:
    """Return a change that sends other fields in the job result."""
    return lambda result: to_json(result | fields)


def _first(outputs: Files) -> OutputFile:
    return outputs[0] if outputs else _small("part.txt")


def _small(name: str) -> OutputFile:
    content = b"a small output\n"
    return OutputFile(name, "text/plain", len(content), lambda: [content])
