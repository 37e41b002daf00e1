from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prodia_async import Limits
from prodia_async._wire import decoder as decoders
from prodia_async._wire.decoder import JobPart, MalformedReplyError
from prodia_async._wire.heads import Head

B = "b3d4fb976dce6e5d036fa7fb3da645bcfcc56384abb2cb618f8c8bdfd360"
MULTIPART = f"multipart/form-data; boundary={B}"
JOB = b'{"type":"t","id":"1","state":{"current":"completed"}}'
PNG = b"\x89PNG\r\n\x1a\n\r\n--" + b"\r\n-" + b"\0" * 40 + b"\r"
MALFORMED = "malformed"


def part(name: str, content: bytes, filename: str | None = None, kind: str | None = "image/png") -> bytes:
    file = "" if filename is None else f'; filename="{filename}"'
    lines = [f'Content-Disposition: form-data; name="{name}"{file}']
    lines += [] if kind is None else [f"Content-Type: {kind}"]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + content


def body(*parts: bytes, boundary: str = B) -> bytes:
    mark = b"--" + boundary.encode()
    return b"".join(mark + b"\r\n" + one + b"\r\n" for one in parts) + mark + b"--\r\n"


JOB_PART = part("job", JOB, "job.json", "application/json")


def merged(events: list) -> list:
    """Join the neighbouring pieces of an output; their number depends on the cuts."""
    found: list = []
    for event in events:
        if isinstance(event, bytes):
            assert type(event) is bytes
            if event and found and isinstance(found[-1], bytes) and found[-1]:
                found[-1] += event
                continue
        found.append(event)
    return found


def decoded(
    pieces: list[bytes], content_type: str | None = MULTIPART, limits: Limits | None = None
) -> list | str:
    try:
        decoder = decoders.decoder_for(content_type, limits or Limits())
        events = [event for piece in pieces for event in decoder.feed(piece)]
        return merged(events + decoder.close())
    except MalformedReplyError:
        return MALFORMED


def splits(reply: bytes) -> list[list[bytes]]:
    single = [reply[i : i + 1] for i in range(len(reply))]
    return [[reply], single, [b"", *single, b""], *([reply[:i], reply[i:]] for i in range(1, len(reply)))]


def verdict(reply: bytes, content_type: str | None = MULTIPART, limits: Limits | None = None) -> list | str:
    """Decode `reply` whole, byte by byte and cut at every position: all must agree."""
    found = decoded([reply], content_type, limits)
    for pieces in splits(reply):
        assert decoded(pieces, content_type, limits) == found, pieces
    return found


def output(
    content: bytes = PNG,
    filename: str | None = "a.png",
    kind: str = "image/png",
    length: int | None = None,
) -> list:
    """Return the events of an output: nothing is empty but the piece at its end."""
    return [Head("output", filename, kind, length), *([content] if content else []), b""]


GOOD = {
    "job first": (body(JOB_PART, part("output", PNG, "a.png")), [JobPart(JOB), *output()]),
    "job last": (body(part("output", PNG, "a.png"), JOB_PART), [*output(), JobPart(JOB)]),
    "job only": (body(JOB_PART), [JobPart(JOB)]),
    "output only": (body(part("output", PNG, "a.png")), output()),
    "several outputs": (
        body(part("output", b"hi", "message.txt", "text/plain"), JOB_PART, part("output", PNG, "a.png")),
        [*output(b"hi", "message.txt", "text/plain"), JobPart(JOB), *output()],
    ),
    "preamble": (b"This is MIME.\r\n--" + B[:9].encode() + b"\r\n" + body(JOB_PART), [JobPart(JOB)]),
    "blank preamble": (b"\r\n" + body(JOB_PART), [JobPart(JOB)]),
    "epilogue": (body(JOB_PART) + b"\r\nmore\r\n--" + B.encode() + b"\r\n", [JobPart(JOB)]),
    "no line break at the end": (body(JOB_PART)[:-2], [JobPart(JOB)]),
    "other parts are skipped": (
        body(part("log", b"x" * 30), JOB_PART, part("", b"y"), b"Content-Disposition: form-data\r\n\r\nz"),
        [JobPart(JOB)],
    ),
    "no file name, no type": (
        body(part("output", PNG, None, None)),
        output(PNG, None, "application/octet-stream"),
    ),
    "a senseless type": (
        body(part("output", b"x", "a", "\x1b[31m")),
        output(b"x", "a", "application/octet-stream"),
    ),
    "an empty output": (body(part("output", b"", "a.png")), output(b"")),
    "an empty job part": (body(part("job", b"")), [JobPart(b"")]),
    "hostile name": (body(part("output", PNG, "../../x")), output(PNG, "../../x")),
    "Go's escapes": (body(part("output", PNG, 'a\\"b\\\\c%22.png')), output(PNG, 'a"b\\c%22.png')),
    "a name in UTF-8": (body(part("output", PNG, "日本.png")), output(PNG, "日本.png")),
    "a name in Latin-1": (
        body(b'Content-Disposition: form-data; name="output"; filename="\xe9"\r\n\r\nx'),
        output(b"x", "\ufffd", "application/octet-stream"),
    ),
    "any case, folded, further headers": (
        body(
            b'content-DISPOSITION: form-data;\r\n name="output"; filename="a.png"\r\nX-More: 1\r\n'
            b"CONTENT-type: image/png\r\nContent-Length: 2\r\n\r\nhi"
        ),
        output(b"hi", length=2),
    ),
    "content like a delimiter": (
        body(part("output", b"\r\n--" + B[:-1].encode(), "a.png")),
        output(b"\r\n--" + B[:-1].encode()),
    ),
}

BAD = {
    "empty": (b"", "cut short"),
    "only the final boundary": (f"--{B}--\r\n".encode(), "neither"),
    "only other parts": (body(part("log", b"x")), "neither"),
    "no final boundary": (body(JOB_PART)[:-6], "cut short"),
    "cut in the final boundary": (body(JOB_PART)[:-3], "cut short"),
    "cut in a header": (body(JOB_PART)[:80], "cut short"),
    "cut after the first boundary": (body(JOB_PART)[:63], "cut short"),
    "another boundary": (body(JOB_PART, boundary="f" * 60), "cut short"),
    "a web page": (b"<html>502</html>", "cut short"),
    "preamble without a line break": (b"x" * 70 + body(JOB_PART), "neither"),
    "text after the first boundary": (body(JOB_PART).replace(B.encode(), B.encode() + b" ", 1), "malformed"),
    "text after a later boundary": (
        body(JOB_PART, JOB_PART).replace(B.encode() + b"\r\nC", B.encode() + b"x\r\nC"),
        "malformed",
    ),
    "LF only": (body(JOB_PART).replace(b"\r\n", b"\n"), "malformed|cut short"),
    "bare LF in a header": (body(part("output", PNG, "a\nb")), "bare CR"),
    "bare LF in another header": (body(b"X: a\nb\r\n" + JOB_PART), "bare CR"),
    "bare CR in a header": (body(part("output", PNG, "a\rb")), "bare CR"),
    "CR before a line break": (body(b"X: a\r\r\n" + JOB_PART), "bare CR"),
    "NUL in a name": (body(part("output", PNG, "a\0b")), "bare CR, LF or NUL"),
    "two job parts": (body(JOB_PART, JOB_PART), "two job parts"),
    "attachment": (body(JOB_PART, b'Content-Disposition: attachment; name="output"\r\n\r\nx'), "malformed"),
    "no disposition": (body(JOB_PART, b"Content-Type: image/png\r\n\r\nx"), "malformed"),
    "no headers": (body(JOB_PART, b"\r\nx"), "malformed"),
    "unreadable disposition": (
        body(b'Content-Disposition: form-data; name="output\r\n\r\nx'),
        "cannot be read",
    ),
    "two dispositions": (
        body(b'Content-Disposition: inline\r\nContent-Disposition: form-data; name="output"\r\n\r\nx'),
        "cannot be read",
    ),
    "a header without a colon": (body(b"oops\r\n" + JOB_PART), "malformed"),
    "a wrong Content-Length": (body(b"Content-Length: 7\r\n" + JOB_PART), "malformed"),
}


@pytest.mark.parametrize("case", GOOD)
def test_every_split_of_a_good_reply_gives_the_same_events(case):
    reply, events = GOOD[case]
    assert verdict(reply) == events


@pytest.mark.parametrize("case", BAD)
def test_every_split_of_a_bad_reply_gives_the_same_verdict(case):
    reply, why = BAD[case]
    assert verdict(reply) == MALFORMED
    decoder = decoders.decoder_for(MULTIPART, Limits())
    with pytest.raises(MalformedReplyError, match=why):
        decoder.feed(reply) + decoder.close()


def test_every_truncation_is_told():
    reply = body(JOB_PART, part("output", PNG, "a.png"))
    for end in range(len(reply) - 2):
        assert decoded([reply[:end]]) == MALFORMED, end


def test_a_quoted_boundary():
    reply = body(JOB_PART, boundary="a b;c")
    assert verdict(reply, 'Multipart/Form-Data; charset=x; Boundary="a b;c"') == [JobPart(JOB)]


@pytest.mark.parametrize("boundary", ["", '""', "é", '"a\nb"', "x" * 71, '"ends in space "', "\udcff"])
def test_an_impossible_boundary_is_refused(boundary):
    with pytest.raises(MalformedReplyError, match="boundary cannot be"):
        decoders.decoder_for(f"multipart/form-data; boundary={boundary}", Limits())


def test_chunks_pass_uncopied_and_the_end_is_left_alone():
    decoder = decoders.decoder_for(MULTIPART, Limits())
    decoder.feed(body(part("output", b"", "a.png"))[: -len(B) - 8])
    chunk = b"\0" * 65536
    assert decoder.feed(chunk)[0] is chunk
    decoder.feed(f"\r\n--{B}--".encode())
    assert decoder.feed(b"epilogue" * 1000) == []
    assert decoder.feed(b"") == []
    assert decoder.close() == []


class TestDirect:
    @pytest.mark.parametrize(
        ("header", "kind"),
        [
            ("image/png", "image/png"),
            ("text/plain; charset=utf-8", "text/plain; charset=utf-8"),
            ("", "application/octet-stream"),
            (None, "application/octet-stream"),
            ("nonsense\x1b", "application/octet-stream"),
        ],
    )
    def test_one_output(self, header, kind):
        assert verdict(PNG, header) == output(PNG, None, kind)

    def test_an_empty_body_is_no_output(self):
        assert verdict(b"", "image/png") == MALFORMED

    @pytest.mark.parametrize("header", ["text/html; charset=utf-8", "application/xhtml+xml"])
    def test_a_web_page_is_no_output(self, header):
        with pytest.raises(MalformedReplyError, match="HTML page"):
            decoders.decoder_for(header, Limits())


class TestJson:
    HEADER = "application/json; charset=utf-8"

    @pytest.mark.parametrize("reply", [JOB, b' {"id": "x"}', b'{"state": null}'])
    def test_a_job_result_is_the_job_part(self, reply):
        assert verdict(reply, self.HEADER) == [JobPart(reply)]

    @pytest.mark.parametrize("reply", [b'{"answer": 42}', b"[1]", b"7", b"{", b"\xff", b'["id"]'])
    def test_anything_else_is_an_output(self, reply):
        assert verdict(reply, self.HEADER) == output(reply, None, self.HEADER)

    def test_what_exceeds_the_job_part_is_an_output(self):
        limits = Limits(max_job_part=len(JOB) - 1)
        assert verdict(JOB, self.HEADER, limits) == output(JOB, None, self.HEADER)
        assert verdict(JOB[:-1], self.HEADER, limits) == output(JOB[:-1], None, self.HEADER)

    def test_an_empty_body_is_malformed(self):
        assert verdict(b"", self.HEADER) == MALFORMED


class TestLimits:
    def test_the_job_part(self):
        reply = body(JOB_PART)
        assert verdict(reply, limits=Limits(max_job_part=len(JOB))) == [JobPart(JOB)]
        assert verdict(reply, limits=Limits(max_job_part=len(JOB) - 1)) == MALFORMED

    def test_the_number_of_parts_counts_skipped_ones(self):
        reply = body(JOB_PART, part("log", b"x"), part("output", PNG, "a.png"))
        assert verdict(reply, limits=Limits(max_parts=3)) == [JobPart(JOB), *output()]
        assert verdict(reply, limits=Limits(max_parts=2)) == MALFORMED

    def test_a_thousand_parts(self):
        reply = body(*[part("output", b"x", "a.png")] * 999, JOB_PART)
        assert decoded([reply]) == [*output(b"x") * 999, JobPart(JOB)]
        assert decoded([body(*[part("output", b"x", "a.png")] * 1001)]) == MALFORMED

    def test_all_headers_of_a_part(self):
        size = JOB_PART.index(b"\r\n\r\n")
        assert verdict(body(JOB_PART), limits=Limits(max_header=size)) == [JobPart(JOB)]
        assert verdict(body(JOB_PART), limits=Limits(max_header=size - 1)) == MALFORMED

    def test_endless_headers_are_cut_off_early(self):
        decoder = decoders.decoder_for(MULTIPART, Limits(max_header=1000))
        decoder.feed(f"--{B}\r\n".encode())
        with pytest.raises(MalformedReplyError, match="exceed 1000 bytes"):
            list(map(decoder.feed, [b"X-Line: 12345678901234567890\r\n"] * 60))

    @pytest.mark.parametrize("excess", [0, 1, 2, 3, 60, 70])
    def test_a_header_line(self, excess):
        line = b"X: " + b"y" * (8192 - 3 + excess)
        reply = body(line + b"\r\n" + JOB_PART)
        near = len(B) + 4 + 8192
        cuts = [[reply[:i], reply[i:]] for i in range(near - 4, near + excess + 6)]
        single = [reply[i : i + 1] for i in range(len(reply))]
        for pieces in ([reply], single, *cuts):
            assert decoded(pieces) == (MALFORMED if excess else [JobPart(JOB)])

    @pytest.mark.parametrize(("count", "fine"), [(62, True), (63, False)])
    def test_the_number_of_headers(self, count, fine):
        reply = body(b"X: y\r\n" * count + JOB_PART)
        for pieces in splits(reply)[:3]:
            assert decoded(pieces) == ([JobPart(JOB)] if fine else MALFORMED)

    @pytest.mark.parametrize("excess", [0, 1])
    def test_the_preamble(self, excess):
        preamble = b"x" * (64 * 1024 - 2 + excess) + b"\r\n"
        reply = preamble + body(JOB_PART)
        cuts = [[reply[:i], reply[i:]] for i in range(len(preamble) - 3, len(preamble) + 70)]
        steps = [reply[i : i + 7] for i in range(0, len(reply), 7)]
        for pieces in ([reply], steps, *cuts):
            assert decoded(pieces) == (MALFORMED if excess else [JobPart(JOB)])

    def test_an_endless_preamble_is_cut_off(self):
        decoder = decoders.decoder_for(MULTIPART, Limits())
        with pytest.raises(MalformedReplyError, match="does not begin"):
            list(map(decoder.feed, [b"x" * 1024] * 100))


WHOLE = body(JOB_PART, part("log", b"x"), part("output", PNG, "a.png"))
SPLICES = [
    b"\r",
    b"\n",
    b"\r\n",
    b"\0",
    b"--",
    b'"',
    b";",
    b"\\",
    b" ",
    b":",
    b"\xff",
    f"\r\n--{B}".encode(),
    b"",
]


@settings(max_examples=150, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, len(WHOLE)), st.integers(0, 4), st.sampled_from(SPLICES)),
        min_size=1,
        max_size=4,
    ),
    st.randoms(use_true_random=False),
)
def test_a_mutated_reply_gets_one_verdict_and_no_other_error(edits, chance: random.Random):
    reply = WHOLE
    for at, cut, splice in edits:
        reply = reply[:at] + splice + reply[at + cut :]
    found = decoded([reply])
    assert decoded([reply[i : i + 1] for i in range(len(reply))]) == found
    for _ in range(10):
        marks = sorted(chance.randrange(len(reply) + 1) for _ in range(chance.randrange(1, 6)))
        assert decoded([reply[a:b] for a, b in zip([0, *marks], [*marks, len(reply)], strict=True)]) == found


def test_an_object_is_read_with_all_it_holds():
    assert decoders.read_json(b' {"a": {"b": [1, null]}}\n') == {"a": {"b": [1, None]}}


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"7", b"{", b'{"a": NaN}', b'"\xff"', b'{"a": 1e999}', b"[" * 100_000]
)
def test_anything_else_is_none(body):
    assert decoders.read_json(body) is None


@pytest.mark.parametrize(("begin", "end"), [(b'{"a":', b"}"), (b"[", b"]"), (b"[0, ", b', "}{"]')])
def test_what_is_nested_too_deep_is_none(begin, end):
    """It could be read, but not be put into a record, or not be read from there again."""

    def nested(levels):
        return b'{"config":' + begin * (levels - 1) + b"1" + end * (levels - 1) + b"}"

    assert decoders.read_json(nested(100)) is not None
    assert [decoders.read_json(nested(levels)) for levels in (101, 400, 4000)] == [None] * 3


def test_what_is_wide_is_read():
    wide = b'{"config": [' + b",".join([b'{"a": [1]}'] * 5000) + b"]}"
    assert len(decoders.read_json(wide)["config"]) == 5000
    text = b'{"error": "' + b"[{" * 5000 + b'"}'
    assert decoders.read_json(text) == {"error": "[{" * 5000}


@pytest.mark.parametrize(
    ("value", "result"),
    [({"state": None}, True), ({"id": "x"}, True), ({"type": "t"}, False), ({}, False), (None, False)],
)
def test_a_job_result_says_its_state_or_its_id(value, result):
    assert decoders.is_result(value) is result
