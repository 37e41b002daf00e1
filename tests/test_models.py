from __future__ import annotations

import copy
import pickle
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest

from prodia_async import Attempt, Event, Job, JobResult, JobState, Metrics, Outcome, Output, Stats
from prodia_async._models import Verdict

SECRET = "a very private prompt"
DATA = b"\x89PNG" + b"secret pixels" * 100
MOMENT = datetime(2025, 1, 1, tzinfo=UTC)
JOB = Job("inference.test.v1", {"prompt": SECRET, "steps": 4}, inputs=["face.jpg", DATA], custom_id="cat-1")
OUTPUT = Output("image.png", "image/png", len(DATA), data=DATA)
RESULT = JobResult(
    "inference.test.v1",
    JOB.config,
    id="j-1",
    state=JobState("completed"),
    outputs=(OUTPUT,),
    raw={"config": {"prompt": SECRET}},
)


class TestRepr:
    def test_a_job_tells_its_type_and_id_but_not_its_content(self):
        told = "Job('inference.test.v1', custom_id='cat-1', config keys: ['prompt', 'steps'], inputs: 2)"
        assert repr(JOB) == told
        assert repr(Job("x")) == "Job('x', config keys: [], inputs: 0)"

    def test_a_job_never_raises_in_its_repr(self):
        assert repr(Job("x", {1: "a", "b": 2})) == "Job('x', config keys: ['1', 'b'], inputs: 0)"

    def test_an_output_tells_where_its_bytes_are_but_not_the_bytes(self):
        assert repr(OUTPUT) == "Output('image.png', 'image/png', 1304 bytes, data: True)"
        stored = Output(None, "image/png", 3, path=Path("out/x.png"))
        assert repr(stored) == "Output(None, 'image/png', 3 bytes, path='out/x.png')"
        assert repr(Output("a", "text/plain", 3)) == "Output('a', 'text/plain', 3 bytes, data: False)"

    def test_a_result_tells_id_state_and_outputs(self):
        told = repr(RESULT)
        assert told.startswith("JobResult('inference.test.v1', id='j-1', state='completed', outputs=[Output(")
        assert told.endswith("attempts=0)")
        assert "state=None" in repr(JobResult("x", {}))

    @pytest.mark.parametrize(
        "value",
        [
            JOB,
            OUTPUT,
            RESULT,
            Outcome(JOB, result=RESULT),
            Event("sent", JOB, MOMENT),
            Verdict("done", may_have_run=True, result=RESULT),
        ],
        ids=lambda value: type(value).__name__,
    )
    def test_none_shows_configuration_or_data(self, value):
        told = repr(value) + str(value)
        assert SECRET not in told
        assert "secret pixels" not in told
        assert "inference.test.v1" in told or "image.png" in told


class TestSave:
    @pytest.mark.parametrize("form", [str, Path], ids=["str", "Path"])
    def test_from_memory(self, tmp_path, form):
        target = tmp_path / "kept.png"
        target.write_bytes(b"what was there")
        assert OUTPUT.save(form(target)) == target
        assert target.read_bytes() == DATA

    def test_from_a_file_which_stays(self, tmp_path):
        stored = tmp_path / "stored.png"
        stored.write_bytes(DATA)
        output = Output("x", "image/png", len(DATA), path=stored)
        assert output.read() == OUTPUT.read() == DATA
        target = output.save(tmp_path / "copy.png")
        assert target.read_bytes() == stored.read_bytes() == DATA

    def test_an_empty_output_is_an_empty_file(self, tmp_path):
        assert Output("x", "text/plain", 0, data=b"").save(tmp_path / "empty").read_bytes() == b""

    def test_from_a_sink_of_ones_own_it_says_why_not(self, tmp_path):
        with pytest.raises(ValueError, match="sink of your own"):
            Output("x", "image/png", 3).save(tmp_path / "x")
        with pytest.raises(ValueError, match="s3://bucket/x"):
            Output("x", "image/png", 3, url="s3://bucket/x").read()
        assert list(tmp_path.iterdir()) == []

    def test_where_it_cannot_be_written(self, tmp_path):
        with pytest.raises(FileNotFoundError):
            OUTPUT.save(tmp_path / "missing" / "x.png")


class TestValues:
    def test_they_are_frozen(self):
        for value, name in [(JOB, "type"), (OUTPUT, "data"), (RESULT, "id"), (Stats(), "jobs")]:
            with pytest.raises(AttributeError, match="immutable"):
                setattr(value, name, "other")

    def test_an_output_is_a_value(self):
        def made(path="out/x.png", size=3):
            return Output("x", "image/png", size, path=path)

        stored = made()
        assert stored.path == Path("out/x.png")
        assert (
            stored == made(Path("out/x.png")) == copy.deepcopy(stored) == pickle.loads(pickle.dumps(stored))
        )
        assert len({stored, made(Path("out/x.png")), copy.copy(stored)}) == 1
        assert stored not in (made(size=4), made("y.png"), made(None), "x")
        assert Output("x", "image/png", 3, Path("out/x.png"), None) == stored
        match stored:
            case Output("x", kind, path=path):
                assert (kind, path) == ("image/png", stored.path)
        for name in ("path", "size", "other"):
            with pytest.raises(AttributeError, match="immutable"):
                setattr(stored, name, None)
            with pytest.raises(AttributeError, match="immutable"):
                delattr(stored, name)

    def test_defaults_of_a_job(self):
        job = Job("x")
        assert (job.config, job.inputs, job.accept, job.custom_id, job.priority) == ({}, (), None, None, 0)

    def test_defaults_are_not_shared(self):
        assert Job("x").config is not Job("x").config
        assert Stats().by_type is not Stats().by_type

    def test_a_result_that_is_hardly_known(self):
        result = JobResult("x", {})
        assert (result.id, result.state, result.price, result.outputs) == (None, None, None, ())
        assert result.metrics == Metrics(elapsed=None, ips=None)

    def test_they_pickle(self):
        attempt = Attempt(1, MOMENT, 0.0, 1.5, "done", may_have_run=True)
        values = [JOB, RESULT, msgspec.structs.replace(RESULT, attempts=(attempt,)), Stats(jobs=3)]
        assert pickle.loads(pickle.dumps(values)) == values
