"""A Telemetry with an SDK of its own, and what that got."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from prodia_async import Job
from prodia_async._models import Attempt
from prodia_async._stats import Event
from prodia_async.telemetry import Telemetry

START = datetime(2025, 1, 1, tzinfo=UTC)
MODEL = "inference.test.v1"
JOB = Job(MODEL, {"prompt": "a secret cat"}, custom_id="cat-1", inputs=["secret.jpg"], accept="image/png")


def common(model):
    return {
        "gen_ai.operation.name": "generate_content",
        "gen_ai.provider.name": "prodia",
        "gen_ai.request.model": model,
    }


def after(seconds):
    return START + timedelta(seconds=seconds)


def nanoseconds(seconds):
    return int(START.timestamp()) * 1_000_000_000 + round(seconds * 1e9)


def attempt(number, verdict, started, elapsed, waited=0.0, **facts):
    return Attempt(number, after(started), waited, elapsed, verdict, verdict == "unknown", **facts)


class World:
    def __init__(self, sampler=None, **options):
        self.exporter, self.reader = InMemorySpanExporter(), InMemoryMetricReader()
        self.tracers = TracerProvider(sampler=sampler, shutdown_on_exit=False)
        self.tracers.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.meters = MeterProvider([self.reader], shutdown_on_exit=False)
        self.telemetry = Telemetry(tracer_provider=self.tracers, meter_provider=self.meters, **options)

    def tell(self, kind, seconds, attempt=None, error=None, *, run=1, job=JOB):
        self.telemetry(Event(kind, job, after(seconds), run=run, attempt=attempt, error=error))

    def spans(self):
        return self.exporter.get_finished_spans()

    def jobs(self):
        return [span for span in self.spans() if "prodia.outcome" in span.attributes]

    def attempts(self):
        return [span for span in self.spans() if "prodia.verdict" in span.attributes]

    def points(self, name):
        """Return the measured points of an instrument, by their attributes without those that all have."""
        found = {}
        data = self.reader.get_metrics_data()
        for scope in data.resource_metrics[0].scope_metrics if data else ():
            for metric in scope.metrics:
                if metric.name == name:
                    for point in metric.data.data_points:
                        found[
                            tuple(v for k, v in sorted(point.attributes.items()) if k not in common(MODEL))
                        ] = point
        return found

    def values(self, name):
        return {key: point.value for key, point in self.points(name).items()}
