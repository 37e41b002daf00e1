from __future__ import annotations

import pytest

from prodia_async._wire import job_json


def test_an_object_is_read_with_all_it_holds():
    assert job_json.read_job(b' {"a": {"b": [1, null]}}\n') == {"a": {"b": [1, None]}}


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"7", b"{", b'{"a": NaN}', b'"\xff"', b'{"a": 1e999}', b"[" * 100_000]
)
def test_anything_else_is_none(body):
    assert job_json.read_job(body) is None


@pytest.mark.parametrize(("begin", "end"), [(b'{"a":', b"}"), (b"[", b"]"), (b"[0, ", b', "}{"]')])
def test_what_is_nested_too_deep_is_none(begin, end):
    """It could be read, but not be put into a record, or not be read from there again."""

    def nested(levels):
        return b'{"config":' + begin * (levels - 1) + b"1" + end * (levels - 1) + b"}"

    assert job_json.read_job(nested(100)) is not None
    assert [job_json.read_job(nested(levels)) for levels in (101, 400, 4000)] == [None] * 3


def test_what_is_wide_is_read():
    wide = b'{"config": [' + b",".join([b'{"a": [1]}'] * 5000) + b"]}"
    assert len(job_json.read_job(wide)["config"]) == 5000
    text = b'{"error": "' + b"[{" * 5000 + b'"}'
    assert job_json.read_job(text) == {"error": "[{" * 5000}


@pytest.mark.parametrize(
    ("value", "result"),
    [({"state": None}, True), ({"id": "x"}, True), ({"type": "t"}, False), ({}, False), (None, False)],
)
def test_a_job_result_says_its_state_or_its_id(value, result):
    assert job_json.is_result(value) is result
