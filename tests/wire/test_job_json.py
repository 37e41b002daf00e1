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


@pytest.mark.parametrize(
    ("value", "result"),
    [({"state": None}, True), ({"id": "x"}, True), ({"type": "t"}, False), ({}, False), (None, False)],
)
def test_a_job_result_says_its_state_or_its_id(value, result):
    assert job_json.is_result(value) is result
