"""Faults of the connection: it hangs, is reset or cut, or carries something else than HTTP."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prodia_async.emulator.answer import error_answer
from prodia_async.emulator.faults.line import head

if TYPE_CHECKING:
    from prodia_async.emulator.answer import Answer
    from prodia_async.emulator.faults.line import Line

_EARLY = "no idle capacity, told during the upload"
_GARBAGE = b"\x00\x15\x03\x01 this is no HTTP \xff\xfe\r\n\r\n"


async def hang_upload(line: Line) -> None:
    """Read no further."""
    await line.hang()


async def reset_upload(line: Line) -> None:
    """Read no further, and end it."""
    await line.reset()


async def early_429(line: Line) -> Answer:
    """Answer before the rest of the body is read."""
    return error_answer(429, _EARLY, line.terms.retry_after)


async def early_429_reset(line: Line) -> None:
    """Answer before the rest of the body is read, and end it."""
    answer = error_answer(429, _EARLY, line.terms.retry_after)
    line.account.answered(answer.status)
    await line.write(head(answer))
    await line.write_body(answer.blocks())
    await line.reset()


async def reset(line: Line, _answer: Answer) -> None:
    """Send nothing."""
    await line.reset()


async def reset_headers(line: Line, answer: Answer) -> None:
    """Send half of the headers."""
    await line.write(_half_head(answer))
    await line.reset()


async def reset_body(line: Line, answer: Answer) -> None:
    """Send half of the body."""
    await _send_half(line, answer)
    await line.reset()


async def cut(line: Line, answer: Answer) -> None:
    """Send half of the bytes that Content-Length promises."""
    await _send_half(line, answer)
    line.close()


async def cut_chunked(line: Line, answer: Answer) -> None:
    """Send half of the body in chunks, without the last chunk."""
    await line.write(head(answer, "chunked"))
    await line.write_body(answer.first_half(), chunked=True)
    line.close()


async def cut_close(line: Line, answer: Answer) -> None:
    """Send half of a body that ends with the connection: for HTTP it is whole."""
    await line.write(head(answer, "close"))
    await line.write_body(answer.first_half())
    line.close()


async def bad_chunk(line: Line, answer: Answer) -> None:
    """Send half of the body in chunks, then one whose size is no number."""
    await line.write(head(answer, "chunked"))
    await line.write_body(answer.first_half(), chunked=True)
    await line.write(b"size\r\nx\r\n")
    line.close()


async def garbage(line: Line, _answer: Answer) -> None:
    """Send what is no HTTP."""
    await line.write(_GARBAGE)
    line.close()


async def drip(line: Line, answer: Answer) -> None:
    """Send the body a byte at a time, until the time is up."""
    await line.write(head(answer))
    for block in answer.blocks():
        for number in block:
            if not line.timely:
                line.close()
                return
            await line.write_body([bytes([number])])
            await line.pause()
    line.whole = True
    line.close()


async def hang(line: Line, _answer: Answer) -> None:
    """Send nothing."""
    await line.hang()


async def hang_headers(line: Line, answer: Answer) -> None:
    """Send half of the headers."""
    await line.write(_half_head(answer))
    await line.hang()


async def hang_body(line: Line, answer: Answer) -> None:
    """Send half of the body."""
    await _send_half(line, answer)
    await line.hang()


async def _send_half(line: Line, answer: Answer) -> None:
    await line.write(head(answer))
    await line.write_body(answer.first_half())


def _half_head(answer: Answer) -> bytes:
    whole = head(answer)
    return whole[: len(whole) // 2]
