from __future__ import annotations

import copy
import errno
import inspect
import pathlib
import pickle
from datetime import UTC, datetime

import pytest

import prodia_async
from prodia_async import _errors as errors
from prodia_async._models import Attempt, JobResult, Verdict
from prodia_async._plain import Plain

SUBJECT = "inference.test.v1 (custom_id 'cat-1')"
RESULT = JobResult("inference.test.v1", {"prompt": "a cat"}, id="j-1", raw={"id": "j-1"})

# The tree as the design draws it: name, parents.
TREE = {
    "ProdiaError": [Plain, Exception],
    "InputError": ["ProdiaError", ValueError],
    "APIError": ["ProdiaError"],
    "BadRequestError": ["APIError"],
    "AuthenticationError": ["APIError"],
    "PermissionDeniedError": ["APIError"],
    "NotFoundError": ["APIError"],
    "CapacityError": ["APIError"],
    "ServerError": ["APIError"],
    "JobFailedError": ["ProdiaError"],
    "TransportError": ["ProdiaError"],
    "ProdiaTimeoutError": ["TransportError", TimeoutError],
    "ProtocolError": ["ProdiaError"],
    "OutputError": ["ProdiaError", OSError],
    "QueueFullError": ["ProdiaError"],
    "ClientClosedError": ["ProdiaError"],
    "BudgetExceededError": ["ProdiaError"],
}


def attempt(number=1, *, verdict="server_error", may_have_run=False):
    moment = datetime(2025, 1, 1, tzinfo=UTC)
    return Attempt(number, moment, 0.0, 0.1, verdict, may_have_run)


def error_for(kind, **facts):
    tries = facts.pop("attempts", [attempt()])
    ran = facts.pop("may_have_run", False)
    return errors.error_for(Verdict(kind, may_have_run=ran, **facts), SUBJECT, tries)


class TestTree:
    @pytest.mark.parametrize("name", TREE)
    def test_parents(self, name):
        parents = [getattr(errors, each) if isinstance(each, str) else each for each in TREE[name]]
        assert list(getattr(errors, name).__bases__) == parents

    def test_it_is_whole_and_public(self):
        found = {
            name
            for name, kind in vars(errors).items()
            if inspect.isclass(kind) and issubclass(kind, errors.ProdiaError)
        }
        assert found == set(TREE)
        assert all(getattr(prodia_async, name) is getattr(errors, name) for name in TREE)


class TestPlain:
    @pytest.mark.parametrize("name", TREE)
    def test_each_can_be_made_of_a_message_alone(self, name):
        error = getattr(errors, name)("what happened")
        assert str(error) == error.message == "what happened"
        assert repr(error) == f"{name}('what happened')"
        assert (error.attempts, error.may_have_run) == ((), False)

    @pytest.mark.parametrize(("ran", "expected"), [([False, False], False), ([False, True, False], True)])
    def test_may_have_run_looks_at_every_attempt(self, ran, expected):
        tries = [attempt(number, may_have_run=each) for number, each in enumerate(ran, 1)]
        assert errors.TransportError("x", attempts=tries).may_have_run is expected
        assert errors.TransportError("x", attempts=tries).attempts == tuple(tries)

    @pytest.mark.parametrize("told", [True, False])
    def test_may_have_run_can_be_told(self, told):
        tries = [attempt(may_have_run=not told)]
        assert errors.ServerError("x", attempts=tries, may_have_run=told).may_have_run is told


class TestPickle:
    def make(self):
        tries = [attempt(may_have_run=True), attempt(2)]
        full = OSError(errno.ENOSPC, "No space left on device")
        yield error_for("shed", status=429, request_id="r-1", retry_after=130.0, attempts=tries)
        yield error_for("refused", status=400, result=RESULT, attempts=tries)
        yield error_for("failed", result=RESULT)
        yield error_for("not_kept", result=RESULT, written=(pathlib.Path("out/x.png"),), cause=full)
        yield error_for("timed_out", attempts=tries)
        yield errors.InputError("a bad name", may_have_run=True)

    def test_every_attribute_comes_back(self):
        kinds = set()
        for error in self.make():
            for back in (pickle.loads(pickle.dumps(error)), copy.copy(error), copy.deepcopy(error)):
                kinds.add(type(back))
                assert type(back) is type(error)
                assert (str(back), back.args, vars(back)) == (str(error), error.args, vars(error))
                assert getattr(back, "errno", None) == getattr(error, "errno", None)
        assert len(kinds) == 6

    @pytest.mark.parametrize("name", TREE)
    def test_each_kind_comes_back(self, name):
        error = getattr(errors, name)("what happened", attempts=[attempt()], may_have_run=True)
        error.add_to = "an attribute of the caller's"
        back = pickle.loads(pickle.dumps(error))
        assert type(back) is type(error)
        assert (back.message, back.attempts, back.may_have_run) == ("what happened", (attempt(),), True)
        assert back.add_to == error.add_to


class TestErrorFor:
    @pytest.mark.parametrize(
        ("kind", "expected", "advice"),
        [
            ("failed", errors.JobFailedError, "Correct the job"),
            ("not_sent", errors.TransportError, "Check the network"),
            ("unknown", errors.TransportError, "resend_unknown=1"),
            ("malformed", errors.ProtocolError, "check the base URL"),
            ("timed_out", errors.ProdiaTimeoutError, "Allow more time"),
            ("bad_input", errors.InputError, "Correct the input"),
            ("not_kept", errors.OutputError, "make room or another place"),
        ],
    )
    def test_by_kind(self, kind, expected, advice):
        cause = ValueError("deep inside")
        error = error_for(kind, reason="it broke.", cause=cause, request_id="r-7")
        assert type(error) is expected
        assert error.__cause__ is cause
        assert str(error).startswith(f"{SUBJECT}: it broke (request id r-7). ")
        assert advice in str(error)

    @pytest.mark.parametrize(
        ("status", "expected", "advice"),
        [
            (400, errors.BadRequestError, "Correct the job's configuration or inputs"),
            (401, errors.AuthenticationError, "PRODIA_TOKEN"),
            (403, errors.PermissionDeniedError, "ask for access"),
            (404, errors.NotFoundError, "base URL"),
            (413, errors.APIError, "smaller inputs"),
            (302, errors.APIError, "base URL"),
            (418, errors.APIError, "base URL"),
        ],
    )
    def test_refused_by_status(self, status, expected, advice):
        error = error_for("refused", reason="no", status=status, request_id="r-1", result=RESULT)
        assert type(error) is expected
        assert (error.status, error.request_id, error.result) == (status, "r-1", RESULT)
        assert error.may_have_run is False
        assert str(error).startswith(f"{SUBJECT}: no (status {status}, request id r-1). ")
        assert advice in str(error).split("). ", 1)[1]

    @pytest.mark.parametrize("status", [500, 502, 503, 599])
    def test_server_errors(self, status):
        tries = [attempt(number, may_have_run=status != 503) for number in range(1, 6)]
        error = error_for("server_error", reason="oops", status=status, request_id="r-2", attempts=tries)
        assert type(error) is errors.ServerError
        assert error.may_have_run is (status != 503)
        assert f"(status {status}, request id r-2, 5 attempts). " in str(error)
        assert "try again later" in str(error)

    def test_shed(self):
        tries = [attempt(verdict="shed")] * 2
        error = error_for("shed", reason="busy", status=429, retry_after=130.5, attempts=tries)
        assert type(error) is errors.CapacityError
        assert (error.status, error.retry_after, error.may_have_run) == (429, 130.5, False)
        assert "(status 429, 2 attempts). " in str(error)
        assert "patience" in str(error)

    def test_an_answer_without_a_status_is_an_api_error_still(self):
        error = error_for("refused", reason="odd")
        assert (type(error), error.status) == (errors.APIError, None)

    def test_failed_has_the_result(self):
        assert error_for("failed", result=RESULT, may_have_run=True).result is RESULT

    def test_not_kept_has_the_result_what_stands_and_the_errno(self):
        written = (pathlib.Path("out/a.png"),)
        full = OSError(errno.ENOSPC, "No space left on device")
        error = error_for("not_kept", result=RESULT, written=written, cause=full)
        assert isinstance(error, OSError)
        assert (error.result, error.written, error.errno) == (RESULT, written, errno.ENOSPC)
        assert error_for("not_kept", cause=ValueError("a sink's own")).errno is None

    def test_one_attempt_is_not_counted_and_a_kind_stands_in_for_a_reason(self):
        message = str(error_for("timed_out", reason="  "))
        assert message.startswith(f"{SUBJECT}: timed out. ")
        assert "attempt" not in message

    def test_every_verdict_that_can_be_final_has_an_error_and_says_what_next(self):
        kinds = ["failed", "shed", "not_sent", "server_error", "unknown", "malformed", "timed_out"]
        for kind in [*kinds, "refused", "bad_input", "not_kept"]:
            what_next = str(error_for(kind, reason="r")).removeprefix(f"{SUBJECT}: r. ")
            assert what_next.endswith("."), kind
            assert len(what_next) > 15, kind


class Shy:
    def __repr__(self):
        raise RuntimeError("no")


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("a cat", "'a cat'"),
        ("x" * 198, repr("x" * 198)),
        ("x" * 200, "'" + "x" * 199 + "…"),
        ("a" * 10**7, "'" + "a" * 199 + "…"),
        (b"\0" * 10**6, "b'" + "\\x00" * 49 + "\\x…"),
        (bytearray(b"ab"), "bytearray(b'ab')"),
        ("\ud800\n", r"'\ud800\n'"),
        ([0] * 10**5, "[" + "0, " * 66 + "0…"),
        (7, "7"),
        (None, "None"),
        (Shy(), "of type Shy"),
    ],
)
def test_a_value_is_quoted_short(value, shown):
    assert errors.quoted(value) == shown
    assert len(shown) <= 201


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (FileNotFoundError(errno.ENOENT, "No such file or directory", "a/b"), "No such file or directory"),
        (OSError("the disk is on fire"), "the disk is on fire"),
        (ValueError("embedded null byte"), "embedded null byte"),
        (KeyError("lost"), "'lost'"),
        (RuntimeError(), "RuntimeError"),
        (ValueError("x" * 10**6), "x" * 200 + "…"),
    ],
)
def test_a_reason_is_the_systems_and_short(error, reason):
    assert errors.reason_of(error) == reason
