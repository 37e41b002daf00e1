from __future__ import annotations

import copy
import json
import pickle
import sys
from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prodia_async import Job, JobResult
from prodia_async._wire import result as results

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
}


def result_of(raw) -> JobResult:
    return results.job_result(json.dumps(raw).encode(), JOB)


@pytest.mark.parametrize("more", [{}, {"new": {"field": [1]}}, {"error": ""}], ids=["typed", "new", "odd"])
def test_the_recorded_result(more):
    recorded = {**RECORDED, **more}
    result = results.job_result(msgspec.json.encode(recorded), JOB, request_id="r1")
    assert result.type == "inference.nano-banana.img2img.v2"
    assert result.id == "b15460fe-0000-4000-8000-000000000000"
    assert (result.state.current, result.state.history) == ("completed", None)
    assert result.config["aspect_ratio"] == "auto"
    assert (result.metrics.elapsed, result.metrics.ips) == (7.865617990493774, None)
    assert (result.price.product, result.price.dollars) == ("inference-nano-banana", 0.039)
    assert result.created_at == datetime(2026, 8, 25, 18, 53, 30, 622000, UTC)
    assert result.updated_at == datetime(2026, 8, 25, 18, 53, 38, 510000, UTC)
    assert result.expires_at - result.created_at == timedelta(minutes=5)
    assert (result.error, result.request_id, result.warnings) == (None, "r1", ())
    assert result.raw == recorded
    assert results.kind_of_result(result) == "done"


@pytest.mark.parametrize("body", [b"", b"{}", b" { } ", b"[]", b"{", b'{"id":"\xff"}', b'{"id":NaN}'])
def test_without_a_job_part_a_warning_says_so(body):
    result = results.job_result(body, JOB)
    assert (result.type, result.config, result.id, result.state) == ("t", {"prompt": "p"}, None, None)
    assert result.raw == {}
    assert "no readable job result" in result.warnings[0]
    assert results.kind_of_result(result) == "done"


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
    assert results.kind_of_result(result_of({"id": "x", "state": state})) == kind


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2025-01-01T00:00:14Z", datetime(2025, 1, 1, 0, 0, 14, tzinfo=UTC)),
        ("2025-01-01T00:00:14.1Z", datetime(2025, 1, 1, 0, 0, 14, 100000, UTC)),
        ("2025-01-01T00:00:14.123456Z", datetime(2025, 1, 1, 0, 0, 14, 123456, UTC)),
        ("2025-01-01T00:00:14.123456400Z", datetime(2025, 1, 1, 0, 0, 14, 123456, UTC)),
        ("2025-01-01T02:00:14+02:00", datetime(2025, 1, 1, 0, 0, 14, tzinfo=UTC)),
        ("2025-01-01T00:00:14.5", datetime(2025, 1, 1, 0, 0, 14, 500000, UTC)),
        ("yesterday", None),
        ("2025-13-01T00:00:14Z", None),
        (1735689614, None),
        ({}, None),
    ],
)
def test_timestamps(text, moment):
    found = result_of({"id": "x", "created_at": text}).created_at
    assert found == moment
    assert found is None or found.tzinfo is not None


@pytest.mark.parametrize("digits", range(1, 10))
def test_up_to_nine_fractional_digits(digits):
    found = result_of({"id": "x", "updated_at": f"2025-01-01T00:00:14.{'1' * digits}Z"}).updated_at
    assert found.second == 14
    assert 100000 <= found.microsecond <= 111111


odd_values = st.sampled_from(
    [
        *(None, True, 7, -0.5, 10**400, "", "text", [], ["completed"], {}),
        *({"current": "completed"}, {"current": None}, {"current": [1], "history": 7}),
        *({"elapsed": "1", "ips": 2}, {"elapsed": 10**400}, {"dollars": 1, "product": 5}, {"dollars": "0.1"}),
    ]
)


@settings(max_examples=100, deadline=None)
@given(st.dictionaries(st.sampled_from(sorted(RECORDED)), odd_values))
def test_wrong_types_become_none_and_nothing_raises(raw):
    result = result_of(raw)
    assert isinstance(result, JobResult)
    assert isinstance(result.type, str)
    assert result.id is None or isinstance(result.id, str)
    assert result.metrics.elapsed is None or type(result.metrics.elapsed) is float
    assert result.price is None or type(result.price.dollars) is float
    assert result.raw == raw
    assert results.kind_of_result(result) in ("done", "failed")


more_values = st.sampled_from(
    [
        *("2025-01-01T00:00:14", "2025-01-01T00:00:14+02:00", "2025-01-01", "\u00e9", 2**64 + 1, 1.5e300, 0),
        *({"current": "failed", "history": [1]}, {"current": "x", "more": 1}, {"current": ""}),
        *({"elapsed": 2**64 + 1}, {"elapsed": None, "ips": 1}, {"elapsed": 1, "gpu": "x"}, {"elapsed": True}),
        *(
            {"dollars": 2, "product": ""},
            {"dollars": 2, "product": None},
            {"dollars": None},
            {"product": "x"},
        ),
        *({"a": [{"b": None}, 1e-7]}, {"": ""}),
    ]
)
fields = st.fixed_dictionaries(
    {}, optional={name: st.just(value) | odd_values | more_values for name, value in RECORDED.items()}
)


@settings(max_examples=300, deadline=None)
@given(fields, fields, st.booleans(), st.sampled_from(["", " ", "\ufeff", ",", '"', "{}"]))
def test_what_is_read_at_once_is_what_is_read_field_by_field(more, extra, ascii_only, end):
    text = json.dumps({**RECORDED, **more}, ensure_ascii=ascii_only)
    twice = text[:-1] + "," + json.dumps(extra)[1:] if extra else text  # the last of two keys counts
    for body in ((text + end).encode(), twice.encode()):
        at_once = results.job_result(body, JOB, request_id="r")
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(results, "MOST_LEVELS", -1)
            one_by_one = results.job_result(body, JOB, request_id="r")
        assert at_once == one_by_one
        assert (at_once.raw, repr(at_once)) == (one_by_one.raw, repr(one_by_one))


class TestRaw:
    """The JSON is decoded when it is looked at, which nobody can tell."""

    BODY = msgspec.json.encode(RECORDED)

    def test_it_is_decoded_once(self):
        result = results.job_result(self.BODY, JOB)
        assert result.raw is result.raw
        assert result.raw == RECORDED
        assert type(result.raw) is dict

    def test_results_are_equal_whether_it_was_looked_at_or_not(self):
        one, two = results.job_result(self.BODY, JOB), results.job_result(b" " + self.BODY, JOB)
        assert one.raw == RECORDED
        assert one == two
        assert one != results.job_result(self.BODY.replace(b"auto", b"1:1"), JOB)
        assert one != msgspec.structs.replace(two, raw={})
        assert one != "result"

    @pytest.mark.parametrize(
        "through",
        [
            copy.copy,
            copy.deepcopy,
            lambda result: pickle.loads(pickle.dumps(result)),
            lambda result: msgspec.structs.replace(result, request_id=None),
        ],
        ids=["copy", "deepcopy", "pickle", "replace"],
    )
    def test_copies_have_it(self, through):
        copied = through(results.job_result(self.BODY, JOB))
        assert copied.raw == RECORDED
        assert copied == results.job_result(self.BODY, JOB)

    def test_it_is_written_as_it_came(self):
        result = results.job_result(self.BODY, JOB)
        assert json.loads(msgspec.json.encode(result))["raw"] == RECORDED

    def test_it_cannot_be_set(self):
        with pytest.raises(AttributeError):
            results.job_result(self.BODY, JOB).raw = {}


class TestRedaction:
    """It is read first, and what is shown is redacted then: no token breaks what the service said."""

    @staticmethod
    def without(token):
        return lambda text: text.replace(token, "***")

    @pytest.mark.parametrize(
        "token", [*'abcdefghijklmnopqrstuvwxyz0123456789{}[]:,."\\', "state", "completed"]
    )
    @pytest.mark.parametrize("state", ["completed", "failed"])
    def test_no_token_changes_the_verdict(self, token, state):
        body = json.dumps({**RECORDED, "state": {"current": state}, "error": "text"}).encode()
        result = results.job_result(body, JOB, redact=self.without(token))
        assert results.kind_of_result(result) == ("done" if state == "completed" else "failed")
        assert result.state.current == state
        assert result.raw.keys() == {**RECORDED, "error": 0}.keys()
        assert result.raw["config"].keys() == RECORDED["config"].keys()
        assert result.metrics.elapsed == RECORDED["metrics"]["elapsed"]
        assert result.price.dollars == RECORDED["price"]["dollars"]
        assert result.created_at == datetime(2026, 8, 25, 18, 53, 30, 622000, UTC)

    @pytest.mark.parametrize("token", ["secret-token", 'a"b', "a\\b", "a/b", "<a&b>", "t"])
    @pytest.mark.parametrize("written", [json.dumps, "escaped", "slashes"])
    def test_no_text_shows_the_token_however_it_is_written(self, token, written):
        raw = {
            **RECORDED,
            "id": token,
            "type": f"x{token}",
            "error": f"no {token}",
            "more": [{"deep": [token]}],
            "config": {"headers": {"Authorization": f"Bearer {token}"}},
            "price": {"dollars": 1, "product": token},
            "state": {"current": token, "history": [token, {"at": token}]},
        }
        text = json.dumps(raw)
        inside = json.dumps(token)[1:-1]
        if written == "escaped":
            text = (
                text.replace(inside, "".join(f"\\u{ord(char):04X}" for char in token))
                if token != "t"
                else text
            )
        elif written == "slashes":
            text = text.replace("/", "\\/")
        result = results.job_result(text.encode(), JOB, redact=self.without(token))
        shown = [result.id, result.type, result.error, result.price.product, result.state.current]
        assert shown == ["***", "x***", "no ***", "***", "***"]
        assert result.state.history == ["***", {"at": "***"}]
        assert result.config == {
            "headers": {
                "Authorization": self.without(token)("Bearer ***" if token == "t" else f"Bearer {token}")
            }
        }
        assert result.raw["more"] == [{"deep": ["***"]}]

    def test_the_reason_is_read_first_too(self):
        for token in "abemorst{}":
            body = b'{"error":"boom","state":{"current":"failed"}}'
            assert results.reason("application/json", body, self.without(token)) == "boom".replace(
                token, "***"
            )
            assert results.reason(MULTIPART, multipart(body), self.without(token)) == "boom".replace(
                token, "***"
            )

    @pytest.mark.parametrize(
        ("content_type", "body"),
        [
            ("application/json", b'{"message":"no \\u0073ecret!","detail":{"secret":["secret"]}}'),
            ("application/json", b'{"secret":1}'),
            ("application/json", b'{"error":"a \\u0073ecret and mo'),
            ("text/plain", b"a secret"),
            ("text/plain", b" " * (16 * 1024 - 3) + b"secret"),
            ("text/html", b"<title>a &#115;ecret</title>"),
            ("text/plain", b"x" * 497 + b"secret"),
        ],
    )
    def test_no_reason_shows_a_part_of_the_token(self, content_type, body):
        assert "sec" not in results.reason(content_type, body, self.without("secret"))


@pytest.mark.parametrize("value", [True, "1", 10**400, float("nan"), float("inf"), [1], None])
def test_what_is_no_number_is_none(value):
    result = result_of({"id": "x", "metrics": {"elapsed": value}, "price": {"dollars": value}})
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
    assert results.reason(content_type, body) == said


def test_a_long_reason_is_cut():
    said = results.reason("text/plain", b"word " * 1000)
    assert len(said) <= 500
    assert said.endswith("word…")


@pytest.mark.parametrize(
    "piece", [b"<", b"<script", b"<title>", b"<!--", b'{"error":"', b'{"error":"\\', b"[", b'{"a":']
)
def test_a_hostile_error_body_gives_a_short_line(piece):
    body = piece * (1_000_000 // len(piece))  # a pattern that is not linear would take minutes
    assert len(results.reason("text/html", body)) <= 500
    assert len(results.reason("application/json", body)) <= 500


def test_json_nested_to_the_limit_of_recursion_never_raises():
    deepest = sys.getrecursionlimit()
    for depth in range(deepest - 100, deepest + 20):
        said = results.reason("application/json", b'{"x":' + b"[" * depth + b"]" * depth + b"}")
        assert said == "" or said.startswith('{"x":[[')
    endless: list = []
    endless.append(endless)
    assert results._said(endless) == ""


@settings(max_examples=100, deadline=None)
@given(
    st.sampled_from(
        [None, "application/json", "text/html", "text/plain", MULTIPART, "multipart/x; boundary=\xff"]
    ),
    st.binary(max_size=60)
    | st.text(alphabet='{}[]":,<>&;#x\\\x1b\u202e\ud7ffé/!-', max_size=60).map(str.encode),
)
def test_a_reason_is_always_one_printable_line(content_type, body):
    said = results.reason(content_type, body)
    assert said.isprintable()
    assert len(said) <= 500
    found = results.failed_result(content_type, body, JOB)
    assert found is None or isinstance(found, JobResult)


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
    assert results.failed_result(content_type, body, JOB).error == error


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
    assert results.failed_result(content_type, body, JOB) is None
