"""Every fault: the bytes on the wire, the account, and that nothing is left."""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Callable
from typing import Any

import pytest
from emulator.raw import Got, a_job, run
from support.leaks import Census

from prodia_async.emulator import Emulator, pattern_blocks
from prodia_async.emulator._faults.body import HOSTILE
from prodia_async.emulator._faults.table import FAULTS

OUTPUT = b"".join(pattern_blocks(7, 3000))
CHECKS: dict[str, Callable[[Got], None]] = {}


def check(*names: str) -> Callable[[Callable[..., None]], Any]:
    def register(function: Callable[..., None]) -> Callable[..., None]:
        CHECKS.update(dict.fromkeys(names, function))
        return function

    return register


@check("hang-upload", "hang")
def nothing_and_a_close(got: Got) -> None:
    assert (got.data, got.end) == (b"", "eof")


@check("reset-upload", "reset")
def nothing_and_a_reset(got: Got) -> None:
    assert (got.data, got.end) == (b"", "reset")


@check("early-429", "shed")
def shed(got: Got) -> None:
    assert (got.status, got.header("Retry-After"), got.end) == (429, "0.25", "eof")
    assert (json.loads(got.body)["message"], got.missing) == ("Too many requests", 0)


@check("early-429-reset")
def shed_and_reset(got: Got) -> None:
    assert got.end == "reset"
    shed(Got(got.data, "eof"))


@check("500", "502", "503", "413", "500-after", "502-after")
def an_error(got: Got, status: int) -> None:
    assert (got.status, got.missing, got.end) == (status, 0, "eof")
    assert got.header("Content-Type") == ("text/html; charset=utf-8" if status == 502 else "application/json")
    assert got.header("Retry-After") == ("0.25" if status == 503 else None)


@check("redirect")
def to_another_host(got: Got) -> None:
    assert (got.status, got.header("Location")) == (307, "https://elsewhere.invalid/v2/job")


@check(*(f"retry-after-{kind}" for kind in ("negative", "huge", "nan", "past", "missing")))
def senseless_wait(got: Got, kind: str) -> None:
    waits = {"negative": "-5", "huge": "86400000", "nan": "nan", "past": "Wed, 21 Oct 2015 07:28:00 GMT"}
    assert (got.status, got.header("Retry-After")) == (429, waits.get(kind))


@check("html")
def a_page(got: Got) -> None:
    assert (got.status, got.header("Content-Type")) == (200, "text/html; charset=utf-8")
    assert got.body.startswith(b"<html>")


@check("empty")
def no_body(got: Got) -> None:
    assert (got.status, got.header("Content-Length"), got.body) == (200, "0", b"")


@check("header-64k")
def a_long_header(got: Got) -> None:
    assert got.header("x-padding") == "x" * 64 * 1024
    assert got.parts()[1][1] == OUTPUT


@check("gzip")
def compressed(got: Got) -> None:
    assert got.header("Content-Encoding") == "gzip"
    body = zlib.decompress(got.body, wbits=31)
    assert got.parts(body=body)[1][1] == OUTPUT


@check("gzip-bomb")
def a_bomb(got: Got) -> None:
    assert got.header("Content-Encoding") == "gzip"
    assert len(got.body) < 2 * 1024**2
    unpacker, size, rest = zlib.decompressobj(wbits=31), 0, got.body
    first = last = b""
    while rest and not unpacker.eof:
        piece = unpacker.decompress(rest, 16 * 1024**2)
        first, last, size = first or piece, piece[-100:] or last, size + len(piece)
        rest = unpacker.unconsumed_tail
    assert unpacker.eof  # and so the checksum and the size are right
    assert OUTPUT in first
    assert last.endswith(b"\0\r\n--" + got.boundary + b"--\r\n")
    assert 0 < size - 1024**3 < 6000


@check("gzip-bad")
def not_compressed(got: Got) -> None:
    assert got.header("Content-Encoding") == "gzip"
    assert got.parts()[1][1] == OUTPUT


@check("reset-headers", "hang-headers")
def half_of_the_headers(got: Got, kind: str) -> None:
    assert got.data.startswith(b"HTTP/1.1 200 OK\r\nContent-Type: ")
    assert b"\r\n\r\n" not in got.data
    assert got.end == ("reset" if kind == "reset-headers" else "eof")


@check("reset-body", "hang-body", "cut")
def half_of_the_body(got: Got, kind: str) -> None:
    assert got.status == 200
    assert len(got.body) - got.missing in (0, -1)
    assert len(got.body) > 1500
    assert got.end == ("reset" if kind == "reset-body" else "eof")


@check("cut-chunked")
def chunks_without_the_last(got: Got) -> None:
    assert (got.header("Content-Length"), got.end) == (None, "eof")
    assert len(got.body) > 1500
    assert got.chunks[-1] != b""
    assert got.data.endswith(got.chunks[-1] + b"\r\n")


@check("cut-close")
def half_of_a_body_without_an_end(got: Got) -> None:
    assert (got.header("Content-Length"), got.header("Transfer-Encoding")) == (None, None)
    assert (got.header("Connection"), got.end) == ("close", "eof")
    assert len(got.body) > 1500
    assert not got.body.endswith(b"--\r\n")


@check("bad-chunk")
def a_chunk_of_no_size(got: Got) -> None:
    assert len(got.chunks) > 1
    assert got.data.endswith(got.chunks[-1] + b"\r\nsize\r\nx\r\n")


@check("garbage")
def no_http(got: Got) -> None:
    assert got.data.startswith(b"\x00\x15")
    assert (b"HTTP/" in got.data, got.end) == (False, "eof")


@check("drip")
def cut_at_the_time_limit(got: Got) -> None:
    assert got.status == 200
    assert 0 < len(got.body) < 100
    assert got.missing > 3000


@check("no-boundary")
def without_an_end(got: Got) -> None:
    assert got.missing == 0
    assert got.body.endswith(OUTPUT)


@check("no-job", "job-last", "two-jobs")
def parts_in_order(got: Got, kind: str) -> None:
    order = {"no-job": ["output"], "job-last": ["output", "job"], "two-jobs": ["job", "output", "job"]}
    assert (got.part_names(), got.missing) == (order[kind], 0)


@check("wrong-boundary")
def another_boundary(got: Got) -> None:
    assert got.boundary == b"0" * 60
    assert re.fullmatch(b"--[0-9a-f]{60}\r\n.*--\r\n", got.body, re.DOTALL)
    assert (got.boundary in got.body, got.missing) == (False, 0)


@check("lf")
def line_feeds(got: Got) -> None:
    assert b"\r" not in got.body.replace(OUTPUT, b"")
    assert [content for _, content in got.parts(b"\n")][1] == OUTPUT


@check("preamble")
def text_before(got: Got) -> None:
    preamble, _, rest = got.body.partition(b"--" + got.boundary)
    assert (len(preamble), preamble[-2:]) == (1950, b"\r\n")
    assert len(got.parts(body=b"--" + got.boundary + rest)) == 2


@check("epilogue")
def bytes_after(got: Got) -> None:
    end = got.body.index(b"--" + got.boundary + b"--\r\n") + 66
    assert got.body[end:] == bytes(1024**2)
    assert got.missing == 0


@check("epilogue-endless")
def many_bytes_after(got: Got) -> None:
    assert got.header("Transfer-Encoding") == "chunked"
    assert {len(chunk) for chunk in got.chunks[5:]} == {256 * 1024}
    assert (b"--" + got.boundary + b"--\r\n") in b"".join(got.chunks[:10])


@check("parts", "too-many-parts")
def many_parts(got: Got, kind: str) -> None:
    parts = got.parts()
    assert len(parts) == (1000 if kind == "parts" else 1001)
    assert (parts[1][1], parts[-1][1]) == (OUTPUT, b"a small output\n")
    assert len(set(got.file_names())) == len(parts) - 1


@check("names-hostile")
def hostile_names(got: Got) -> None:
    assert got.file_names() == [*HOSTILE]
    assert {content for _, content in got.parts()[1:]} == {OUTPUT}


@check("names-repeated")
def one_name(got: Got) -> None:
    assert got.file_names() == ["bytes.bin"] * 3


@check("names-missing")
def no_names(got: Got) -> None:
    assert got.file_names() == [None, None]


@check("name-nul")
def a_nul(got: Got) -> None:
    assert got.file_names() == ["a\0b.png"]


@check("bad-json")
def half_of_the_result(got: Got) -> None:
    job, output = got.parts()
    assert job[1].startswith(b'{"type":')
    with pytest.raises(json.JSONDecodeError):
        json.loads(job[1])
    assert output[1] == OUTPUT


@check("unknown-state")
def paused(got: Got) -> None:
    assert got.result()["state"] == {"current": "paused", "history": None}


@check("huge-job")
def a_long_result(got: Got) -> None:
    assert len(got.result()["padding"]) == 8 * 1024**2


def checked(name: str, got: Got) -> None:
    """Apply the check, which may want to know the status or the kind of fault."""
    function = CHECKS[name]
    wants = function.__code__.co_varnames[1 : function.__code__.co_argcount]
    known = {"kind": name.removeprefix("retry-after-"), "status": name.partition("-")[0]}
    values = {want: int(known[want]) if want == "status" else known[want] for want in wants}
    function(got, **values)


def test_every_fault_is_checked():
    assert CHECKS.keys() == FAULTS.keys()


LONG = {"gzip-bomb", "huge-job"}  # seconds of work, done once
RUNS = [(name, "headers") for name in FAULTS if name != "epilogue-endless"]


@pytest.mark.parametrize(("name", "free_at"), RUNS + [(name, "end") for name, _ in RUNS if name not in LONG])
async def test_a_fault_does_what_it_says_and_the_account_is_true(tmp_path, name, free_at):
    census = Census(tmp_path)
    options = {"retry_after": 0.25, "fault_time": 0.15, "free_at": free_at}
    async with Emulator(latency=0, price=2.0, **options) as emulator:
        got = await run(emulator, a_job(name))
        checked(name, got)
        stats = emulator.stats()
        ran = FAULTS[name].ran
        assert stats.faults == {name: 1}
        assert (stats.requests, stats.completed, stats.billed, stats.dollars) == (1, ran, ran, 2.0 * ran)
        assert (stats.busy, stats.failed) == (0, name in ("500", "502", "503"))
        assert (stats.shed, stats.refused) == (
            not ran and got.data[9:12] == b"429",
            name in ("413", "redirect"),
        )
        assert (stats.disconnected, stats.repeated) == (0, 0)
        assert stats.bytes_out == len(got.body)
        clean = await run(emulator, a_job(None))
        assert clean.parts()[1][1] == OUTPUT
        assert emulator.stats().faults == {name: 1}
    await census.assert_nothing_left()
