from __future__ import annotations

import enum
import json
import types
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prodia_async import InputError, Job, Limits
from prodia_async._wire import decoder as decoders
from prodia_async._wire.job import Plan, accept_header, check_names, job_json, plan

BOUNDARY = "0" * 60


class Size(float):
    pass


class Mode(enum.StrEnum):
    FAST = "fast"


class Sent(NamedTuple):
    """An input, as a plan knows it."""

    filename: str
    content_type: str
    size: int | None


def unquote_by_gos_rule(text: str) -> str:
    name, position = "", 0
    while position < len(text):
        if text[position] == "\\" and text[position + 1] in '()<>@,;:\\"/[]?=':
            position += 1
        name += text[position]
        position += 1
    return name


def read_by_gos_rule(body: bytes, boundary: str) -> list[tuple[str, str, str, bytes]]:
    """Read a multipart body without any code of ours: (name, file name, media type, content) of each part."""
    assert body.endswith(f"\r\n--{boundary}--\r\n".encode())
    parts = []
    for piece in (b"\r\n" + body).split(f"\r\n--{boundary}".encode())[1:-1]:
        head, _, content = piece.removeprefix(b"\r\n").partition(b"\r\n\r\n")
        disposition, content_type = head.decode().split("\r\n")
        name, filename = disposition.removeprefix('Content-Disposition: form-data; name="')[:-1].split(
            '"; filename="', 1
        )
        parts.append(
            (name, unquote_by_gos_rule(filename), content_type.removeprefix("Content-Type: "), content)
        )
    return parts


def assemble(planned: Plan, contents: list[bytes]) -> bytes:
    return (
        b"".join(prelude + content for prelude, content in zip(planned.preludes, contents, strict=True))
        + planned.tail
    )


def test_the_configuration_is_left_out_when_empty():
    assert job_json(Job("inference.ping.v1")) == b'{"type":"inference.ping.v1"}'


def test_every_kind_of_json_value():
    config = {
        "p": "é",
        "n": 4,
        "big": 2**70,
        "f": Size(0.5),
        "t": True,
        "no": None,
        "l": (1, [2]),
        "m": Mode.FAST,
    }
    body = job_json(Job("t", types.MappingProxyType(config)))
    assert json.loads(body) == {"type": "t", "config": {**config, "l": [1, [2]], "m": "fast"}}


def endless():
    value = []
    value.append(value)
    return value


@pytest.mark.parametrize(
    ("job", "why"),
    [
        (Job(""), "type must be"),
        (Job(None), "type must be"),
        (Job("t\ud800"), "type holds a lone surrogate"),
        (Job("t", ["x"]), "config must be a mapping, not list"),
        (Job("t", {"a": {"b": [1, float("nan")]}}), r"config\.a\.b\[1\] is nan"),
        (Job("t", {"a": float("-inf")}), r"config\.a is -inf"),
        (Job("t", {"image": b"x"}), r"config\.image is of type bytes.*send files as inputs"),
        (Job("t", {"a": {1, 2}}), r"config\.a is of type set"),
        (Job("t", {"a": {1: 2}}), r"config\.a has the key 1"),
        (Job("t", {"a": "\ud800"}), r"config\.a holds a lone surrogate"),
        (Job("t", {"\udfff": 1}), "a key of config holds a lone surrogate"),
        (Job("t", {"a": endless()}), "nested too deeply"),
        (Job("t", {"a": 10**5000}), "cannot be written as JSON"),
        (Job("t", extra=[1]), r"extra must be a mapping such as \{'jobs': \[\.\.\.\]\}, not list"),
        (Job("t", extra=None), "extra must be a mapping .* not NoneType"),
        (Job("t", extra={"type": "u"}), "extra cannot have 'type': a job has it already"),
        (Job("t", extra={"config": {}}), "extra cannot have 'config': a job has it already"),
        (Job("t", extra={"jobs": [{"a": b"x"}]}), r"extra\.jobs\[0\]\.a is of type bytes"),
        (Job("t", extra={1: 2}), "extra has the key 1"),
    ],
)
def test_what_json_cannot_say_is_named(job, why):
    with pytest.raises(InputError, match=why):
        job_json(job)


def test_extra_fields_stand_beside_the_config():
    jobs = [{"type": "a", "config": {"prompt": "x"}}, {"type": "b"}]
    body = job_json(Job("workflow.serial.v1", {"seed": 1}, extra={"jobs": jobs, "name": "mine"}))
    expected = {"type": "workflow.serial.v1", "config": {"seed": 1}, "jobs": jobs, "name": "mine"}
    assert json.loads(body) == expected
    assert [*json.loads(body)] == [*expected]
    assert job_json(Job("t", extra={})) == b'{"type":"t"}'


def test_the_job_part_comes_first_and_the_size_is_exact():
    job = b'{"type":"t"}'
    planned = plan(job, [Sent("a.jpg", "image/jpeg", 3), Sent("b.txt", "text/plain; x=1", 0)], BOUNDARY)
    body = assemble(planned, [b"abc", b""])
    assert planned.content_type == f"multipart/form-data; boundary={BOUNDARY}"
    assert planned.size == len(body)
    assert read_by_gos_rule(body, BOUNDARY) == [
        ("job", "job.json", "application/json", job),
        ("input", "a.jpg", "image/jpeg", b"abc"),
        ("input", "b.txt", "text/plain; x=1", b""),
    ]


def test_a_body_without_inputs_is_whole_in_its_tail():
    planned = plan(b"{}", [], BOUNDARY)
    assert planned.preludes == ()
    assert planned.size == len(planned.tail)
    assert read_by_gos_rule(planned.tail, BOUNDARY) == [("job", "job.json", "application/json", b"{}")]


def test_one_unknown_size_makes_the_whole_unknown():
    heads = [Sent("a", "image/png", 1), Sent("b", "image/png", None)]
    assert plan(b"{}", heads, BOUNDARY).size is None


def test_two_inputs_of_one_name_are_refused():
    check_names({"first": "a.png", "second": "b.png"}, "")
    with pytest.raises(InputError, match=r"first and third are both named 'a\.png': rename it"):
        check_names({"first": "a.png", "second": "b.png", "third": "a.png"}, "rename it")


names = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="/\x7f").filter(lambda c: c >= " "),
    min_size=1,
)


@settings(max_examples=100, deadline=None)
@given(st.dictionaries(names, st.binary(max_size=200), max_size=4))
def test_what_is_encoded_reaches_a_reader_by_gos_rule(inputs):
    heads = [Sent(name, "image/png", len(content)) for name, content in inputs.items()]
    planned = plan(b"{}", heads, BOUNDARY)
    body = assemble(planned, list(inputs.values()))
    assert planned.size == len(body)
    assert read_by_gos_rule(body, BOUNDARY)[1:] == [("input", n, "image/png", c) for n, c in inputs.items()]


@settings(max_examples=100, deadline=None)
@given(st.dictionaries(names, st.binary(max_size=200), max_size=4), st.integers(1, 50))
def test_what_is_encoded_comes_back_through_the_decoder(outputs, step):
    heads = [Sent(name, "image/png", len(content)) for name, content in outputs.items()]
    planned = plan(b"{}", heads, BOUNDARY)
    body = assemble(planned, list(outputs.values())).replace(b'name="input"', b'name="output"')
    decoder = decoders.decoder_for(planned.content_type, Limits())
    found: list[list] = []
    for start in range(0, len(body), step):
        for event in decoder.feed(body[start : start + step]):
            if isinstance(event, decoders.Head):
                found.append([event.filename, b""])
            elif isinstance(event, bytes):
                found[-1][1] += event
    decoder.close()
    assert found == [
        [name, content.replace(b'name="input"', b'name="output"')] for name, content in outputs.items()
    ]


def test_multipart_always():
    assert accept_header(None) == "multipart/form-data"
    assert accept_header("image/png") == "multipart/form-data; image/png"


@pytest.mark.parametrize(
    "bad", ["", "png", "image/", "/png", "image/png\r\nX: y", "image/png; q=1", "image/ png", 7]
)
def test_what_is_no_media_type_is_refused(bad):
    with pytest.raises(InputError, match="media type"):
        accept_header(bad)
