"""Generated jobs, names and headers: what one side writes, the other reads, byte for byte."""

from __future__ import annotations

import json
from typing import NamedTuple

import pytest
from conformance.bodies import BOUNDARY, CONTENT_TYPE, read_by_client
from conformance.cases import MEDIA_TYPES
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from prodia_async import InputError, Job
from prodia_async._wire.heads import read_disposition
from prodia_async._wire.job import job_json, plan
from prodia_async.emulator import _names as names
from prodia_async.emulator._answer import multipart_answer
from prodia_async.emulator._form import FormReader
from prodia_async.emulator._plans import OutputFile

pytestmark = pytest.mark.newest


class Sent(NamedTuple):
    """An input, as a plan knows it."""

    filename: str
    content_type: str
    size: int | None


COUNTS = pytest.mark.parametrize("count", [200, pytest.param(5000, marks=pytest.mark.nightly)])

SPECIAL = st.sampled_from("\"\\;=%'()<>@,:[]?* .é日🦊\u2028\u0085\ufeff%22%0A")
ANY = st.characters(exclude_categories=["Cs"])
TEXT = st.text(SPECIAL | ANY, max_size=20)
NAMES = st.text(
    SPECIAL | ANY.filter(lambda char: char >= " " and char not in "/\x7f"), min_size=1, max_size=40
)
"""What the client sends as a file name."""

UNBROKEN = st.text(SPECIAL | ANY.filter(lambda char: char not in "\r\n\0"), max_size=40)
"""What Go's writer can write as a file name and still read."""

CONTENTS = st.binary(max_size=300) | st.lists(
    st.sampled_from([b"\r\n", b"--", b"\r\n--" + BOUNDARY.encode()[:-1], b"-", b"\n", b"\r", b"x"]),
    max_size=20,
).map(b"".join)
MEDIA = st.sampled_from(MEDIA_TYPES)
JSON = st.recursive(
    st.none() | st.integers(-(2**63), 2**64) | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=5,
)
PARTS = st.lists(st.tuples(UNBROKEN | st.none(), MEDIA, CONTENTS), max_size=4)


def framed(job, inputs):
    """Return the Content-Type and the body that the client makes of a job and its inputs."""
    heads = [Sent(name, media, len(content)) for name, (media, content) in inputs.items()]
    frame = plan(job_json(job), heads, BOUNDARY)
    contents = [content for _, content in inputs.values()]
    body = b"".join(prelude + content for prelude, content in zip(frame.preludes, contents, strict=True))
    assert frame.size == len(body + frame.tail)
    return frame.content_type, body + frame.tail


@COUNTS
def test_what_the_client_encodes_is_what_go_reads(go, count):
    @settings(max_examples=count, deadline=None)
    @given(
        kind=TEXT.filter(bool),
        config=st.dictionaries(TEXT, JSON, max_size=3),
        inputs=st.dictionaries(NAMES, st.tuples(MEDIA, CONTENTS), max_size=4),
    )
    def check(kind, config, inputs):
        found = go.read(*framed(Job(kind, config), inputs))
        job, *rest = found["parts"]
        assert found["error"] == ""
        assert (job["name"], job["filename"], job["content_type"]) == ("job", "job.json", "application/json")
        assert json.loads(job["text"]) == {"type": kind, **({"config": config} if config else {})}
        assert [(part["name"], part["filename"], part["content_type"]) for part in rest] == [
            ("input", name, media) for name, (media, _) in inputs.items()
        ]
        assert [bytes.fromhex(part["hex"]) for part in rest] == [content for _, content in inputs.values()]

    check()


@COUNTS
def test_a_name_is_refused_or_arrives(go, count):
    @settings(max_examples=count, deadline=None)
    @given(name=st.text(SPECIAL | st.characters(), max_size=5))
    @example(name="a/b")
    @example(name="\x1f")
    def check(name):
        try:
            content_type, body = framed(Job("t"), {name: ("image/png", b"PNG")})
        except InputError:
            assert not name or any(
                char < " " or char in "/\x7f" or "\ud800" <= char <= "\udfff" for char in name
            )
        else:
            assert go.read(content_type, body)["parts"][1]["filename"] == name

    check()


@COUNTS
def test_what_go_writes_is_what_the_client_and_the_emulator_read(go, count):
    @settings(max_examples=count, deadline=None)
    @given(parts=PARTS, cuts=st.lists(st.integers(0, 2000), max_size=5))
    def check(parts, cuts):
        content_type, body = go.write(
            [
                {"name": "output", "filename": name, "content_type": media, "content": content}
                for name, media, content in parts
            ]
        )
        assert read_by_client(body, cuts, content_type) == [
            ("output", name, media, content) for name, media, content in parts
        ]
        found = go.read(content_type, body)
        reader = FormReader(content_type.partition("boundary=")[2].encode(), keep=10_000)
        for begin, end in zip([0, *sorted(cuts)], [*sorted(cuts), len(body)], strict=True):
            reader.feed(body[begin:end])
        reader.close()
        assert found["error"] == ""
        assert [(part.name, part.filename, part.content_type, part.sha256) for part in reader.parts] == [
            (part["name"], part["filename"], part["content_type"], part["sha256"]) for part in found["parts"]
        ]

    check()


@COUNTS
def test_what_the_emulator_writes_is_what_go_reads(go, count):
    @settings(max_examples=count, deadline=None)
    @given(parts=PARTS, result=st.dictionaries(TEXT, TEXT, max_size=3), job_last=st.booleans())
    def check(parts, result, job_last):
        outputs = [
            OutputFile(name, media, len(content), lambda content=content: [content])
            for name, media, content in parts
        ]
        answer = multipart_answer(200, result, outputs, job_last=job_last)
        body = b"".join(answer.blocks())
        found = go.read(answer.content_type, body)
        [job] = [part for part in found["parts"] if part["name"] == "job"]
        rest = [part for part in found["parts"] if part["name"] != "job"]
        assert (found["error"], answer.size) == ("", len(body))
        assert found["parts"].index(job) == (len(rest) if job_last else 0)
        assert json.loads(job["text"]) == result
        assert [(part["name"], part["content_type"], bytes.fromhex(part["hex"])) for part in rest] == [
            ("output", media, content) for _, media, content in parts
        ]
        assert [part["filename"] for part in rest] == [base(name) for name, _, _ in parts]

    check()


def base(name):
    """Return what Go's reader makes of a file name: its last element, "" for none."""
    return "" if not name else name.rstrip("/").rpartition("/")[2] or "/"


WORDS = st.sampled_from(
    [
        *(b"form-data", b"attachment", b";", b"; ", b" ", b"\t", b"=", b'"', b"\\", b'\\"', b"/", b"'", b","),
        *(
            b"name",
            b"filename",
            b"filename*",
            b"FILENAME",
            b"x",
            b"a.png",
            b"output",
            b"%41",
            b"(",
            b"{",
            b"}",
        ),
        *(b'"a.png"', b'name="output"', b'; filename="', b"utf-8''a%20b", b"us-ascii'en'x%zz", b"koi8-r''a"),
        *("é".encode(), "日".encode(), b"\xe9", b"|", b"~", b"\x7f", b"\x01", b"*"),
    ]
)
STARTS = st.sampled_from(
    [b"", b"form-data; ", b'form-data; name="output"', b'form-data; name="output"; filename=']
)
HEADERS = st.tuples(STARTS, st.lists(WORDS, max_size=8)).map(lambda pair: pair[0] + b"".join(pair[1]))


def repeats_or_continues(header):
    """Tell whether a parameter comes twice, on which releases of Go differ, or in pieces."""
    keys = [key.rpartition(b";")[2].strip().lower() for key in header.split(b"=")[:-1]]
    return len(set(keys)) < len(keys) or any(b"*" in key[:-1] for key in keys)


@COUNTS
def test_a_header_of_any_form_is_read_as_go_reads_it(go, count):
    @settings(max_examples=count, deadline=None)
    @given(header=HEADERS)
    @example(header=rb'form-data; name="output"; filename="a\b\"\\.png"')
    @example(header=b"form-data; name=output; filename=\"a\"; filename*=utf-8''%C3%A9")
    def check(header):
        assume(not repeats_or_continues(header))
        head = b"--" + BOUNDARY.encode() + b"\r\nContent-Disposition: " + header + b"\r\n\r\n\r\n--"
        [part] = go.read(CONTENT_TYPE, head + BOUNDARY.encode() + b"--\r\n")["parts"]
        kind, name, filename = read_disposition(header) or ("", None, None)
        assert (name or "" if kind == "form-data" else "") == part["name"]
        assert base(filename) == part["filename"]
        assert names.read_disposition(header).name == part["name"]
        if part["name"]:
            assert names.read_disposition(header).filename == part["filename"]

    check()
