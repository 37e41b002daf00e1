from __future__ import annotations

import os
import pickle
import re
import subprocess
import sys
import textwrap

import pytest
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.trace import SpanKind, StatusCode
from support.telemetry import JOB, MODEL, World, attempt, common, nanoseconds

from prodia_async import CapacityError, Job, JobFailedError, JobResult, ProdiaError, ServerError
from prodia_async.telemetry import Telemetry

COMMON = common(MODEL)


@pytest.fixture
def world():
    return World()


SHED = attempt(1, "shed", 0.5, 0.25, waited=0.5, status=429, request_id="r-1", retry_after=2.0)
DONE = attempt(2, "done", 3, 4, waited=2.25, status=200, request_id="r-2")


def tell_all(world, run=1, job=JOB):
    """A job that is shed once and then completed."""
    world.tell("queued", 0, run=run, job=job)
    world.tell("sent", 0.5, run=run, job=job)
    world.tell("shed", 0.75, SHED, run=run, job=job)
    world.tell("sent", 3, run=run, job=job)
    world.tell("completed", 7.5, DONE, run=run, job=job)


class TestSpans:
    def test_a_job_is_a_span_from_its_queueing_to_its_end(self, world):
        tell_all(world)
        [span] = world.jobs()
        assert (span.name, span.kind) == (f"generate_content {MODEL}", SpanKind.CLIENT)
        assert (span.start_time, span.end_time) == (nanoseconds(0), nanoseconds(7.5))
        assert (span.parent, span.status.status_code, span.events) == (None, StatusCode.UNSET, ())
        assert span.attributes == COMMON | {
            "gen_ai.output.type": "image",
            "prodia.outcome": "completed",
            "prodia.job.mode": "sync",
            "prodia.job.attempts": 2,
            "prodia.job.waited": 2.75,
        }
        assert span.instrumentation_scope.name == "prodia_async"
        assert span.instrumentation_scope.schema_url == "https://opentelemetry.io/schemas/1.37.0"

    def test_an_attempt_is_a_span_below_it(self, world):
        tell_all(world)
        [job], [shed, done] = world.jobs(), world.attempts()
        assert [span.parent.span_id for span in (shed, done)] == [job.context.span_id] * 2
        assert {(span.name, span.kind) for span in (shed, done)} == {("POST /v2/job", SpanKind.CLIENT)}
        assert (shed.start_time, shed.end_time) == (nanoseconds(0.5), nanoseconds(0.75))
        assert (done.start_time, done.end_time) == (nanoseconds(3), nanoseconds(7))
        assert shed.attributes == {
            "http.request.method": "POST",
            "url.template": "/v2/job",
            "http.response.status_code": 429,
            "http.response.header.x-request-id": ("r-1",),
            "prodia.verdict": "shed",
            "prodia.attempt.waited": 0.5,
            "prodia.may_have_run": False,
            "prodia.retry_after": 2.0,
        }
        assert done.attributes["http.request.resend_count"] == 1
        assert done.attributes["prodia.verdict"] == "done"

    def test_a_shed_is_no_error(self, world):
        tell_all(world)
        assert {span.status.status_code for span in world.attempts()} == {StatusCode.UNSET}
        assert not any("error.type" in span.attributes for span in world.spans())

    @pytest.mark.parametrize(
        ("verdict", "status", "kind"),
        [("server_error", 503, "503"), ("unknown", None, "unknown"), ("malformed", 200, "malformed")],
    )
    def test_a_failed_attempt_is_one(self, world, verdict, status, kind):
        world.tell("queued", 0)
        world.tell("retried", 1, attempt(1, verdict, 0, 1, status=status, reason="secret.jpg"))
        world.tell("completed", 2, attempt(2, "done", 1, 1))
        failed, done = world.attempts()
        assert (failed.status.status_code, failed.status.description) == (StatusCode.ERROR, None)
        assert failed.attributes["error.type"] == kind
        assert failed.attributes["prodia.may_have_run"] is (verdict == "unknown")
        assert done.status.status_code == StatusCode.UNSET
        assert world.jobs()[0].status.status_code == StatusCode.UNSET

    def test_a_failed_job_names_its_error_and_not_its_message(self, world):
        error = JobFailedError("a secret cat is not allowed", may_have_run=True)
        error.result = JobResult(MODEL, {}, id="job-1")
        world.tell("queued", 0)
        world.tell("failed", 2, attempt(1, "failed", 0, 1, status=400), error)
        [job], [tried] = world.jobs(), world.attempts()
        assert (job.status.status_code, job.status.description) == (StatusCode.ERROR, None)
        assert job.attributes["error.type"] == "JobFailedError"
        assert job.attributes["prodia.may_have_run"] is True
        assert job.attributes["gen_ai.response.id"] == "job-1"
        assert tried.attributes["error.type"] == "400"

    def test_an_attempt_that_was_told_of_is_not_told_of_again(self, world):
        world.tell("queued", 0)
        world.tell("shed", 1, SHED)
        world.tell("failed", 2, SHED, CapacityError("no room"))
        assert len(world.attempts()) == 1
        assert world.values("prodia.client.attempts") == {(429, "shed"): 1}

    def test_a_job_that_never_was_sent_has_no_attempt(self, world):
        world.tell("queued", 0)
        world.tell("failed", 2, error=ProdiaError("the line is full"))
        [job] = world.spans()
        assert job.attributes["prodia.job.attempts"] == 0
        assert job.attributes["prodia.may_have_run"] is False

    def test_a_cancelled_job_is_no_failure(self, world):
        world.tell("queued", 0)
        world.tell("cancelled", 2, attempt(1, "cancelled", 0, 2))
        assert [span.status.status_code for span in world.spans()] == [StatusCode.UNSET] * 2
        assert [span.attributes["error.type"] for span in world.spans()] == ["cancelled"] * 2
        assert world.jobs()[0].attributes["prodia.outcome"] == "cancelled"

    def test_a_job_whose_type_is_not_known(self, world):
        job = Job("", mode="async")
        world.tell("queued", 0, job=job)
        world.tell("completed", 2, attempt(1, "done", 0, 1), job=job)
        assert world.jobs()[0].name == "generate_content"
        assert "gen_ai.request.model" not in world.jobs()[0].attributes
        assert world.jobs()[0].attributes["prodia.job.mode"] == "async"
        assert world.attempts()[0].name == "POST /v2/job/async"

    @pytest.mark.parametrize("accept", [None, "application/json", "application/octet-stream"])
    def test_an_output_type_that_the_convention_has_no_name_for(self, world, accept):
        job = Job(MODEL, accept=accept)
        world.tell("queued", 0, job=job)
        world.tell("completed", 1, job=job)
        assert "gen_ai.output.type" not in world.jobs()[0].attributes

    def test_a_clock_that_was_set_back_makes_no_negative_span(self, world):
        world.tell("queued", 10)
        world.tell("completed", 5)
        assert world.jobs()[0].end_time == world.jobs()[0].start_time
        assert world.points("gen_ai.client.operation.duration")[()].sum == 0

    def test_nothing_that_the_job_holds_is_told(self, world):
        tell_all(world)
        world.tell("queued", 0, run=2)
        world.tell("failed", 1, error=ServerError("inference.test.v1 (custom_id 'cat-1'): secret.jpg"), run=2)
        told = "".join(span.to_json() for span in world.spans()) + world.reader.get_metrics_data().to_json()
        assert MODEL in told
        assert not re.search("secret|cat-1|s3cret", told)

    def test_a_custom_id_only_when_it_is_asked_for(self):
        world = World(custom_ids=True)
        tell_all(world)
        assert world.jobs()[0].attributes["prodia.job.custom_id"] == "cat-1"
        assert "cat-1" not in world.reader.get_metrics_data().to_json()
        tell_all(world, run=2, job=Job(MODEL))
        assert "prodia.job.custom_id" not in world.jobs()[1].attributes

    def test_of_a_job_that_is_shed_without_end_the_latest_attempts(self, world):
        world.tell("queued", 0)
        for number in range(1, 301):
            world.tell("shed", number, attempt(number, "shed", number, 0, waited=1.0, status=429))
        world.tell("cancelled", 301)
        assert world.jobs()[0].attributes["prodia.job.attempts"] == 300
        assert world.jobs()[0].attributes["prodia.job.waited"] == 300
        resent = [span.attributes["http.request.resend_count"] for span in world.attempts()]
        assert resent == list(range(200, 300))
        assert world.values("prodia.client.attempts") == {(429, "shed"): 300}

    def test_a_sampler_that_says_no(self):
        world = World(sampler=ALWAYS_OFF)
        tell_all(world)
        assert world.spans() == ()
        assert world.points("gen_ai.client.operation.duration")[()].count == 1


class TestMetrics:
    def test_the_duration_has_the_convention_s_boundaries(self, world):
        tell_all(world)
        [point] = world.points("gen_ai.client.operation.duration").values()
        assert (point.count, point.sum) == (1, 7.5)
        assert point.explicit_bounds == tuple(0.01 * 2**exponent for exponent in range(14))
        assert point.attributes == COMMON

    def test_the_duration_tells_failures_apart(self, world):
        tell_all(world)
        for run, kind, error in ((2, "failed", ServerError("no")), (3, "cancelled", None)):
            world.tell("queued", 0, run=run)
            world.tell(kind, 2, error=error, run=run)
        points = world.points("gen_ai.client.operation.duration")
        assert {key: point.sum for key, point in points.items()} == {
            (): 7.5,
            ("ServerError",): 2,
            ("cancelled",): 2,
        }

    def test_what_the_attempts_waited(self, world):
        tell_all(world)
        world.tell("queued", 0, run=2)
        world.tell("cancelled", 2, run=2)  # was never sent
        [point] = world.points("prodia.client.waiting.duration").values()
        assert (point.count, point.sum, point.explicit_bounds[-1]) == (1, 2.75, 2621.44)

    def test_attempts_are_counted_by_what_they_came_to(self, world):
        tell_all(world)
        world.tell("queued", 0, run=2)
        world.tell("retried", 2, attempt(1, "not_sent", 0, 1), run=2)
        assert world.values("prodia.client.attempts") == {
            (429, "shed"): 1,
            (200, "done"): 1,
            ("not_sent",): 1,
        }

    def test_how_many_jobs_wait_and_are_in_flight(self, world):
        seen = []
        for kind, told in (
            ("queued", None),
            ("sent", None),
            ("shed", SHED),
            ("sent", None),
            ("completed", DONE),
        ):
            world.tell(kind, 1, told)
            values = world.values("prodia.client.jobs")
            seen.append((values.get(("waiting",), 0), values.get(("in_flight",), 0)))
        assert seen == [(1, 0), (0, 1), (1, 0), (0, 1), (0, 0)]

    def test_where_the_jobs_are_sent(self):
        world = World(base_url="http://user:s3cret@127.0.0.1:8080/v2")
        tell_all(world)
        where = {"server.address": "127.0.0.1", "server.port": 8080}
        assert all(where.items() <= span.attributes.items() for span in world.spans())
        [point] = world.points("gen_ai.client.operation.duration").values()
        assert point.attributes == COMMON | where

    @pytest.mark.parametrize(("base_url", "port"), [("https://a.example/v2", 443), ("http://a.example", 80)])
    def test_the_port_is_the_scheme_s(self, base_url, port):
        world = World(base_url=base_url)
        tell_all(world)
        assert world.jobs()[0].attributes["server.port"] == port


class TestLimits:
    def test_jobs_that_never_end_are_bounded(self):
        world = World(max_open=10)
        for run in range(1, 26):
            world.tell("queued", run, run=run)
        assert [span.attributes["prodia.outcome"] for span in world.jobs()] == ["abandoned"] * 15
        assert world.jobs()[0].start_time == nanoseconds(1)
        assert world.jobs()[0].end_time == nanoseconds(11)
        assert {span.status.status_code for span in world.jobs()} == {StatusCode.UNSET}
        assert world.values("prodia.client.jobs") == {("waiting",): 10}
        assert world.points("gen_ai.client.operation.duration") == {}

    def test_what_is_told_of_an_abandoned_job_is_left_out(self):
        world = World(max_open=1)
        world.tell("queued", 0)
        world.tell("queued", 1, run=2)
        world.tell("completed", 2, DONE)
        assert len(world.spans()) == 1
        assert world.values("prodia.client.jobs") == {("waiting",): 1}

    def test_an_open_job_holds_no_inputs(self, world):
        class Content(bytes):
            freed = 0

            def __del__(self):
                Content.freed += 1

        world.tell("queued", 0, job=Job(MODEL, {"prompt": "x"}, inputs=[Content(b"picture")]))
        assert Content.freed == 1

    @pytest.mark.parametrize("options", [{"max_open": 0}, {"base_url": "inference.prodia.com"}])
    def test_arguments_that_cannot_work(self, options):
        with pytest.raises(ValueError, match=next(iter(options))):
            Telemetry(**options)

    def test_it_pickles_as_its_arguments(self):
        copy = pickle.loads(pickle.dumps(Telemetry(custom_ids=True, base_url="http://127.0.0.1:1")))
        assert (copy._custom_ids, copy._server["server.port"]) == (True, 1)

    @pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
    def test_a_forked_child_forgets_its_parent_s_jobs(self, tmp_path):
        code = """
            import os, sys
            from datetime import datetime, timezone
            from prodia_async.telemetry import Telemetry
            from prodia_async import Event, Job
            telemetry = Telemetry()
            telemetry(Event("queued", Job("t"), datetime.now(timezone.utc), run=1))
            telemetry._lock.acquire()
            child = os.fork()
            if not child:
                telemetry(Event("queued", Job("t"), datetime.now(timezone.utc), run=2))
                os._exit(10 + len(telemetry._open))
            print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), len(telemetry._open))
        """
        assert run_python(code).stdout == "11 1\n"


class TestImport:
    def test_without_opentelemetry_the_error_names_the_extra(self):
        ended = run_python("import sys; sys.modules['opentelemetry'] = None; import prodia_async.telemetry")
        assert ended.stderr.splitlines()[-1] == (
            "ImportError: prodia_async.telemetry needs OpenTelemetry, which is not installed: "
            'pip install "prodia-async[otel]"'
        )

    def test_it_loads_values_and_the_api_alone(self):
        ended = run_python("import sys, prodia_async.telemetry; print(*sys.modules)")
        loaded = set(ended.stdout.split())
        assert {name for name in loaded if name.startswith("prodia_async.")} == {
            "prodia_async._extras",
            "prodia_async._models",
            "prodia_async._plain",
            "prodia_async.telemetry",
        }
        assert "opentelemetry.trace" in loaded
        assert not {"aiohttp", "anyio", "opentelemetry.sdk", "opentelemetry.semconv"} & loaded

    def test_without_an_sdk_nothing_happens(self):
        ended = run_python(
            """
            from datetime import datetime, timezone
            from prodia_async.telemetry import Telemetry
            from prodia_async import Event, Job
            telemetry = Telemetry()
            for kind in ("queued", "sent", "completed"):
                telemetry(Event(kind, Job("t"), datetime.now(timezone.utc), run=1))
            print(len(telemetry._open))
            """
        )
        assert (ended.stdout, ended.stderr) == ("0\n", "")


def run_python(code):
    environment = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
