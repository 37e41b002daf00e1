from __future__ import annotations

import sys
from datetime import datetime, timedelta, timezone

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prodia_async import Job, JobResult
from prodia_async._wire import reply

JOB = Job("t", {"prompt": "p"})
RECORDED = {
    "type": "inference.nano-banana.img2img.v2",
    "created_at": "2026-08-25T18:53:30.622Z",
    "updated_at": "2026-08-25T18:53:38.51Z",
    "expires_at": "2026-08-25T18:58:30.622Z",
    "id": "b15460fe-0000-4000-8000-000000000000",
    "state": {"current": "completed", "history": None},
    "config": {"prompt": "p", "aspect_ratio": "auto", "output_message_count": 0, "output_image_count": 1},
    "metrics": {"elapsed": 7.865617990493774},
    "price": {"product": "inference-nano-banana", "dollars": 0.039},
    "new": {"field": [1]},
}


def test_the_recorded_result():
    raw = reply.read_job(msgspec.json.encode(RECORDED))
    result = reply.job_result(raw, JOB, request_id="r1", warnings=("w",))
    assert result.type == "inference.nano-banana.img2img.v2"
    assert result.id == "b15460fe-0000-4000-8000-000000000000"
    assert (result.state.current, result.state.history) == ("completed", None)
    assert result.config["aspect_ratio"] == "auto"
    assert (result.metrics.elapsed, result.metrics.ips) == (7.865617990493774, None)
    assert (result.price.product, result.price.dollars) == ("inference-nano-banana", 0.039)
    assert result.created_at == datetime(2026, 8, 25, 18, 53, 30, 622000, timezone.utc)
    assert result.updated_at == datetime(2026, 8, 25, 18, 53, 38, 510000, timezone.utc)
    assert result.expires_at - result.created_at == timedelta(minutes=5)
    assert (result.error, result.request_id, result.warnings) == (None, "r1", ("w",))
    assert result.raw == RECORDED
    assert reply.kind_of_result(result) == "done"


def test_without_a_job_part_a_warning_says_so():
    result = reply.job_result(None, JOB, warnings=("first",))
    assert (result.type, result.config, result.id, result.state) == ("t", {"prompt": "p"}, None, None)
    assert result.raw == {}
    assert result.warnings[0] == "first"
    assert "no readable job result" in result.warnings[1]
    assert reply.kind_of_result(result) == "done"


@pytest.mark.parametrize(
    ("state", "kind"),
    [
        ({"current": "completed"}, "done"),
        ({"current": "failed"}, "failed"),
        ({"current": "processing"}, "failed"),
        ({"current": "Completed"}, "failed"),
        ({"current": 5}, "failed"),
        ("completed", "failed"),
        (None, "failed"),
    ],
)
def test_only_completed_is_done(state, kind):
    assert reply.kind_of_result(reply.job_result({"id": "x", "state": state}, JOB)) == kind


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2025-01-01T00:00:14Z", datetime(2025, 1, 1, 0, 0, 14, tzinfo=timezone.utc)),
        ("2025-01-01T00:00:14.1Z", datetime(2025, 1, 1, 0, 0, 14, 100000, timezone.utc)),
        ("2025-01-01T00:00:14.123456Z", datetime(2025, 1, 1, 0, 0, 14, 123456, timezone.utc)),
        ("2025-01-01T00:00:14.123456400Z", datetime(2025, 1, 1, 0, 0, 14, 123456, timezone.utc)),
        ("2025-01-01T02:00:14+02:00", datetime(2025, 1, 1, 0, 0, 14, tzinfo=timezone.utc)),
        ("2025-01-01T00:00:14.5", datetime(2025, 1, 1, 0, 0, 14, 500000, timezone.utc)),
        ("yesterday", None),
        ("2025-13-01T00:00:14Z", None),
        (1735689614, None),
        ({}, None),
    ],
)
def test_timestamps(text, moment):
    found = reply.job_result({"id": "x", "created_at": text}, JOB).created_at
    assert found == moment
    assert found is None or found.tzinfo is not None


@pytest.mark.parametrize("digits", range(1, 10))
def test_up_to_nine_fractional_digits(digits):
    found = reply.job_result(
        {"id": "x", "updated_at": f"2025-01-01T00:00:14.{'1' * digits}Z"}, JOB
    ).updated_at
    assert found.second == 14
    assert 100000 <= found.microsecond <= 111111


odd_values = st.sampled_from(
    [
        *(None, True, 7, -0.5, 10**400, float("nan"), "", "text", [], ["completed"], {}),
        *({"current": "completed"}, {"current": None}, {"current": [1], "history": 7}),
        *({"elapsed": "1", "ips": 2}, {"elapsed": 10**400}, {"dollars": 1, "product": 5}, {"dollars": "0.1"}),
    ]
)


@settings(max_examples=100, deadline=None)
@given(st.dictionaries(st.sampled_from(sorted(RECORDED)), odd_values))
def test_wrong_types_become_none_and_nothing_raises(raw):
    result = reply.job_result(raw, JOB)
    assert isinstance(result, JobResult)
    assert isinstance(result.type, str)
    assert result.id is None or isinstance(result.id, str)
    assert result.metrics.elapsed is None or type(result.metrics.elapsed) is float
    assert result.price is None or type(result.price.dollars) is float
    assert result.raw == raw
    assert reply.kind_of_result(result) in ("done", "failed")


@pytest.mark.parametrize("value", [True, "1", 10**400, float("nan"), float("inf"), [1], None])
def test_what_is_no_number_is_none(value):
    result = reply.job_result({"id": "x", "metrics": {"elapsed": value}, "price": {"dollars": value}}, JOB)
    assert result.metrics.elapsed is None
    assert result.price is None


def multipart(job: bytes, end: bytes = b"\r\n--B--\r\n") -> bytes:
    head = (
        b'Content-Disposition: form-data; name="job"; filename="job.json"\r\nContent-Type: application/json'
    )
    return b"--B\r\n" + head + b"\r\n\r\n" + job + end


FAILED = b'{"id":"1","state":{"current":"failed"},"error":"Missing input image"}'
MULTIPART = "multipart/form-data; boundary=B"


@pytest.mark.parametrize(
    ("content_type", "body", "said"),
    [
        ("application/json", FAILED, "Missing input image"),
        (
            "application/json",
            b'{"message":"Bad request","detail":"Missing input image"}',
            "Bad request: Missing input image",
        ),
        (
            "application/json",
            b'{"message":"Bad request","detail":[{"loc":["a"]}]}',
            'Bad request: [{"loc":["a"]}]',
        ),
        ("application/json", b'{"detail":{"message":"deep"}}', "deep"),
        ("application/json", b'{"error":{"code":7,"message":"inner"}}', "inner"),
        ("application/json", b'{"error":"","message":" m "}', "m"),
        ("application/json", b'{"state":{"current":"failed"}}', "the job's state is failed"),
        ("application/json", b'{"code":7}', '{"code":7}'),
        ("application/json", b"{}", ""),
        ("application/json", b'["a"]', '["a"]'),
        ("application/json", b'{"id":"1","error":"line\\none', "line one"),
        ("application/json", b'{"id":"1","error":"bad \\q', "bad \\q"),
        ("application/json", b'{"id":"1"', '{"id":"1"'),
        (None, FAILED, "Missing input image"),
        (MULTIPART, multipart(FAILED), "Missing input image"),
        (MULTIPART, multipart(FAILED, b""), "Missing input image"),
        (MULTIPART, multipart(FAILED, b"\r\n--Bx"), "Missing input image"),
        (MULTIPART, multipart(FAILED[:-5], b""), "Missing input im"),
        (MULTIPART, b"garbage", ""),
        ("multipart/form-data", multipart(FAILED), ""),
        ("text/plain", b"  no \r\n capacity ", "no capacity"),
        ("text/plain", "z\u202e\x1b[31mrot\x07 é".encode(), "z [31mrot é"),
        ("text/plain", b"\xff\xfe", "\ufffd\ufffd"),
        ("text/html", b"<html><head><TITLE>502 Bad\nGateway</TITLE></head><h1>x</h1>", "502 Bad Gateway"),
        (
            None,
            b"<!doctype html><script>var x</script><!-- c --><p>Down &amp; out<br>now</p>",
            "Down & out now",
        ),
        ("text/html", b"<head><style>p{}</style></head><title> </title><p>only text", "only text"),
        ("text/html", b"<script>never closed", ""),
        ("image/png", b"picture", ""),
        ("application/octet-stream", b"\0\1\2", ""),
        ("text/plain", b"", ""),
        (None, b"", ""),
    ],
)
def test_the_reason(content_type, body, said):
    assert reply.reason(content_type, body) == said


def test_a_long_reason_is_cut():
    said = reply.reason("text/plain", b"word " * 1000)
    assert len(said) <= 500
    assert said.endswith("word…")


@pytest.mark.parametrize(
    "piece", [b"<", b"<script", b"<title>", b"<!--", b'{"error":"', b'{"error":"\\', b"[", b'{"a":']
)
def test_a_hostile_error_body_gives_a_short_line(piece):
    body = piece * (1_000_000 // len(piece))  # a pattern that is not linear would take minutes
    assert len(reply.reason("text/html", body)) <= 500
    assert len(reply.reason("application/json", body)) <= 500


def test_json_nested_to_the_limit_of_recursion_never_raises():
    deepest = sys.getrecursionlimit()
    for depth in range(deepest - 100, deepest + 20):
        said = reply.reason("application/json", b'{"x":' + b"[" * depth + b"]" * depth + b"}")
        assert said == "" or said.startswith('{"x":[[')
    endless: list = []
    endless.append(endless)
    assert reply._said(endless) == ""


@settings(max_examples=100, deadline=None)
@given(
    st.sampled_from(
        [None, "application/json", "text/html", "text/plain", MULTIPART, "multipart/x; boundary=\xff"]
    ),
    st.binary(max_size=60)
    | st.text(alphabet='{}[]":,<>&;#x\\\x1b\u202e\ud7ffé/!-', max_size=60).map(str.encode),
)
def test_a_reason_is_always_one_printable_line(content_type, body):
    said = reply.reason(content_type, body)
    assert said.isprintable()
    assert len(said) <= 500
    found = reply.failed_result(content_type, body)
    assert found is None or isinstance(found, dict)


@pytest.mark.parametrize(
    ("content_type", "body", "error"),
    [
        ("application/json", FAILED, "Missing input image"),
        (MULTIPART, multipart(FAILED), "Missing input image"),
        (MULTIPART, multipart(FAILED, b""), "Missing input image"),
        (None, FAILED, "Missing input image"),
    ],
)
def test_the_job_result_in_an_error(content_type, body, error):
    assert reply.failed_result(content_type, body)["error"] == error


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("application/json", b'{"message":"Bad request","detail":"x"}'),
        ("application/json", b"[]"),
        ("text/html", b"<html>"),
        (MULTIPART, b"garbage"),
        (None, b""),
    ],
)
def test_no_job_result_in_an_error(content_type, body):
    assert reply.failed_result(content_type, body) is None
