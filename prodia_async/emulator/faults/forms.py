"""Faults of the multipart form, of the outputs in it, and of the job result."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from prodia_async.emulator.answer import form_answer, to_json
from prodia_async.emulator.jobs import OutputFile
from prodia_async.emulator.media import MULTIPART

if TYPE_CHECKING:
    from collections.abc import Callable

    from prodia_async.emulator.answer import Answer, Form

    Files = tuple[OutputFile, ...]

EPILOGUE = 1024**2
ENDLESS = 1024**3
HUGE = 8 * 1024**2
_BLOCK = bytes(256 * 1024)
_PREAMBLE = b"This is a message with several parts.\r\n" * 50
HOSTILE = (
    "../../../escape.png", "/etc/passwd", "..\\..\\escape.png", "C:\\escape.png", "a/../../b.png", ".", "..",
    "", "~", "-rf", "CON", "%2e%2e%2fescape.png", "%0d%0aSet-Cookie: a=b", "a\x1b[31mb.png", 'a"; name="job',
    "<script>alert(1)</script>.html", "\u202egnp.exe", "a" * 300 + ".png", ".bashrc", "x.png ",
)  # fmt: skip
"""Names that are dangerous as a path, in a terminal, in a page or in a header."""


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
    first = _first(outputs)
    return first, first, first, *outputs[1:]


def drop_names(outputs: Files) -> Files:
    """Send each output, and one more, without a name."""
    return tuple(replace(output, filename=None) for output in (*outputs, _small("")))


def break_json(result: dict[str, Any]) -> bytes:
    """Send half of the job result."""
    text = to_json(result)
    return text[: len(text) // 2]


def change_state(result: dict[str, Any]) -> bytes:
    """Send a state that nobody knows."""
    return to_json(result | {"state": {"current": "paused", "history": None}})


def pad_result(result: dict[str, Any]) -> bytes:
    """Send a job result of 8 MiB."""
    return to_json(result | {"padding": "x" * HUGE})


def _first(outputs: Files) -> OutputFile:
    return outputs[0] if outputs else _small("part.txt")


def _small(name: str) -> OutputFile:
    content = b"a small output\n"
    return OutputFile(name, "text/plain", len(content), lambda: [content])
