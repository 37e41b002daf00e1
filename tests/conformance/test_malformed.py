"""Replies that are broken: where the client reads one at all, it reads what Go reads."""

from __future__ import annotations

import re

import pytest
from conformance.bodies import BOUNDARY, CONTENT_TYPE, read_by_client
from hypothesis import given, settings
from hypothesis import strategies as st

from prodia_async import Limits
from prodia_async._wire.decoder import JobPart, MalformedReplyError, decoder_for

pytestmark = pytest.mark.newest

DELIMITER = b"--" + BOUNDARY.encode()
FORM = b'Content-Disposition: form-data; name="'
JOB = FORM + b'job"; filename="job.json"\r\nContent-Type: application/json\r\n\r\n{}'
OUTPUT = FORM + b'output"; filename="a.png"\r\nContent-Type: image/png\r\n\r\nPNG'
EMPTY = FORM + b'output"\r\nContent-Type: image/png\r\n\r\n'
BARE = EMPTY.removesuffix(b"\r\n")


def body_of(*parts, preamble=b"", end=b"--\r\n"):
    return preamble + b"".join(DELIMITER + b"\r\n" + part + b"\r\n" for part in parts) + DELIMITER + end


def read_by_go(go, body):
    """Return form name, base of the file name, and content of each part; None for a body that Go refuses."""
    found = go.read(CONTENT_TYPE, body)
    parts = [(part["name"], part["filename"], bytes.fromhex(part["hex"])) for part in found["parts"]]
    return None if found["error"] else parts


def read_by_us(body, cuts=()):
    """Return the same of what the client reads; None for a body that it refuses."""
    try:
        found = read_by_client(body, cuts)
    except MalformedReplyError:
        return None
    return [
        (name or "", (filename or "").rpartition("/")[2], bytes(content))
        for name, filename, _, content in found
    ]


PIECES = st.sampled_from(
    [
        *(
            b"",
            b"\r\n",
            b"\n",
            b"\r",
            b"--",
            b" ",
            b"\t",
            b":",
            b"\0",
            b'"',
            b";",
            b"-",
            b"a",
            b"\xff",
            b"\r\n\r\n",
        ),
        *(
            DELIMITER,
            b"\r\n" + DELIMITER,
            b"\r\n" + DELIMITER + b"--",
            b"X: y\r\n",
            b"X y: z\r\n",
            b" folded\r\n",
        ),
    ]
)
WHOLE = body_of(JOB, OUTPUT + b"\r\n--x\r\n", EMPTY)
EDGES = [index for index, byte in enumerate(WHOLE) if byte in b'\r\n-:;" ']
PLACES = st.sampled_from(EDGES) | st.integers(0, len(WHOLE))
CHANGES = st.lists(st.tuples(PLACES, st.sampled_from([0, 0, 1, 2, 4]), PIECES), min_size=1, max_size=3)


def changed(changes):
    body = WHOLE
    for at, length, piece in changes:
        body = body[:at] + piece + body[at + length :]
    return body


def is_known(body, ours):
    """Tell whether a body has one of the differences that have a test of their own below."""
    after_end = re.search(re.escape(DELIMITER) + rb"--(?![ \t]*(?:\r\n|\Z))", body)
    space_before_colon = re.search(rb"[ \t]:", body)
    return bool(after_end or space_before_colon)


@pytest.mark.parametrize("count", [300, pytest.param(10_000, marks=pytest.mark.nightly)])
def test_a_broken_reply_is_refused_or_read_as_go_reads_it(go, count):
    @settings(max_examples=count, deadline=None)
    @given(changes=CHANGES, cuts=st.lists(st.integers(0, len(WHOLE) + 50), max_size=4))
    def check(changes, cuts):
        body = changed(changes)
        ours = read_by_us(body, cuts)
        assert ours == read_by_us(body)
        if ours is not None and not is_known(body, ours):
            assert ours == read_by_go(go, body)

    check()


def named(parameters):
    return b"Content-Disposition: form-data; " + parameters + b"\r\n\r\nPNG"


STRICTER = {
    "line feeds alone": body_of(JOB, OUTPUT).replace(b"\r\n", b"\n"),
    "white space after a boundary": body_of(JOB, OUTPUT).replace(DELIMITER + b"\r\n", DELIMITER + b" \r\n"),
    "a line feed alone in a header": body_of(JOB, OUTPUT.replace(b"\r\nContent-Type", b"\nContent-Type")),
    "a NUL in a header": body_of(JOB, named(b'name="output"; filename="a\0b"')),
    "Unicode white space between parameters": body_of(JOB, named('name="output";\u2003x=y'.encode())),
    "no Content-Disposition": body_of(JOB, b"Content-Type: image/png\r\n\r\nPNG"),
    "a Content-Disposition that is no form-data": body_of(JOB, OUTPUT.replace(b"form-data", b"attachment")),
    "a part without headers": body_of(JOB, b"\r\nPNG"),
    "an empty part at the end without a line end of its own": body_of(JOB, BARE),
    "an unquoted name with a space": body_of(JOB, named(b"name=output; filename=a b.png")),
}


@pytest.mark.parametrize("case", STRICTER)
def test_the_client_refuses_what_go_reads_somehow(go, case):
    assert read_by_go(go, STRICTER[case]) is not None
    assert read_by_us(STRICTER[case]) is None


READ_OTHERWISE = {
    "a name in pieces": (named(b'name="output"; filename*0="a"; filename*1=".png"'), ["a.png"], [""]),
    "a folded header": (OUTPUT.replace(b"; filename", b";\r\n filename"), ["a.png"], ["a.png"]),
}


@pytest.mark.parametrize("case", READ_OTHERWISE)
def test_a_name_is_read_otherwise(go, case):
    part, by_go, by_us = READ_OTHERWISE[case]
    assert [filename for _, filename, _ in read_by_go(go, body_of(part))] == by_go
    assert [filename for _, filename, _ in read_by_us(body_of(part))] == by_us


MORE_LENIENT = {
    "a parameter twice with one value": body_of(JOB, named(b'name="output"; x=y; x=y')),
    "bytes right after the final boundary": body_of(JOB, OUTPUT, end=b"--x\r\n"),
    "a space before the colon": body_of(JOB, OUTPUT.replace(b"Disposition:", b"Disposition :")),
}


@pytest.mark.parametrize("case", MORE_LENIENT)
def test_the_client_reads_what_some_releases_of_go_do_not(go, case):
    found = read_by_go(go, MORE_LENIENT[case])
    if found is not None:
        assert found[1][0] in ("", "output")
    assert read_by_us(MORE_LENIENT[case])[1][0] == "output"


READ_ALIKE = {
    "multipart/form-data; boundary=abc": True,
    'multipart/form-data; boundary="abc"': True,
    "Multipart/Form-Data;BOUNDARY=abc": True,
    "multipart/form-data ; boundary = abc ": True,
    "multipart/form-data;charset=utf-8;boundary=abc;": True,
    'multipart/form-data; x="; boundary=y"; boundary=abc': True,
    "multipart/form-data; boundary='abc'": False,
    "multipart/form-data; boundary=": False,
    "multipart/form-data": False,
    "multipart/form-data, boundary=abc": False,
    "multipart/form-data; boundary=abc, x": False,
    'multipart/form-data; boundary="abc': False,
}


@pytest.mark.parametrize("header", READ_ALIKE)
def test_a_content_type_is_read_as_go_reads_it(go, header):
    body = body_of(JOB, OUTPUT).replace(BOUNDARY.encode(), b"abc")
    assert (go.read(header, body)["error"] == "") is READ_ALIKE[header]
    try:
        decoder = decoder_for(header, Limits())
        events = [*decoder.feed(body), *decoder.close()]
    except MalformedReplyError:
        events = []
    assert (JobPart(b"{}") in events) is READ_ALIKE[header]


WRONG = {
    "an empty part without a line end of its own": body_of(JOB, BARE, OUTPUT),
    "a preamble that ends in a line feed": body_of(OUTPUT, JOB, preamble=b"hello\n"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_no_good_reply_is_not_read_otherwise(go, case):
    assert read_by_us(WRONG[case]) in (None, read_by_go(go, WRONG[case]))
