from __future__ import annotations

import hashlib
import io
import os
import tempfile
import threading

import anyio
import pytest
from support.manifests import read_manifest

from prodia_async import InputError, Job
from prodia_async.batch._manifest import Defaults, Manifest, Shard, count_jobs


async def test_a_whole_line_becomes_an_entry(write_manifest, tmp_path):
    (tmp_path / "in").mkdir()
    for name in ("é.jpg", "b.jpg"):
        (tmp_path / "in" / name).write_bytes(b"x")
    line = {
        "custom_id": "a/1",
        "type": "t",
        "config": {"n": [1, {"x": None}]},
        "inputs": ["in/é.jpg", str(tmp_path / "in" / ".." / "in" / "b.jpg")],
        "accept": "image/png",
        "priority": -2,
        "extra": {"jobs": [{"type": "u"}]},
    }
    [entry], problems = await read_manifest(write_manifest("", line))
    assert problems == []
    assert entry.line == 2
    assert entry.job == Job(
        "t",
        config={"n": [1, {"x": None}]},
        inputs=(tmp_path / "in" / "é.jpg", tmp_path / "in" / "b.jpg"),
        accept="image/png",
        custom_id="a/1",
        priority=-2,
        extra={"jobs": [{"type": "u"}]},
    )


async def test_extra_fields_make_another_job_and_must_be_other_fields(write_manifest):
    lines = ['{"type":"t"}', '{"type":"t","extra":{"jobs":[]}}', '{"type":"t","extra":{"jobs":[1]}}']
    bad = ['{"type":"t","extra":{"type":"u"}}', '{"type":"t","extra":[1]}']
    entries, problems = await read_manifest(write_manifest(*lines, *bad))
    assert len({entry.fingerprint for entry in entries}) == 3
    assert [problem.line for problem in problems] == [4, 5]
    assert "extra cannot have 'type'" in problems[0].reason


async def test_a_bare_job_is_named_by_its_content(write_manifest):
    first, second = (
        '{"type":"t","config":{"a":1,"b":2}}',
        '{"config": {"b": 2, "a": 1}, "type": "t", "inputs": [], "priority": 3, "accept": null}',
    )
    entries, problems = await read_manifest(write_manifest(first, second, '{"type":"u"}', first))
    name = hashlib.sha256(b'{"config":{"a":1,"b":2},"type":"t"}').hexdigest()[:16]
    other = hashlib.sha256(b'{"type":"u"}').hexdigest()[:16]
    assert [entry.job.custom_id for entry in entries] == [name, f"{name}-2", other, f"{name}-3"]
    assert problems == []


async def test_a_name_that_was_given_is_not_given_again(write_manifest):
    name = hashlib.sha256(b'{"type":"t"}').hexdigest()[:16]
    taken = [{"type": "u", "custom_id": name}, {"type": "u", "custom_id": f"{name}-2"}]
    entries, _ = await read_manifest(write_manifest(*taken, '{"type":"t"}', '{"type":"t"}'))
    assert [entry.job.custom_id for entry in entries[2:]] == [f"{name}-3", f"{name}-4"]


async def test_the_fingerprint_is_of_what_is_sent(write_manifest, tmp_path):
    (tmp_path / "a.png").write_bytes(b"x")
    same = [
        {"type": "t", "config": {"a": 1, "b": 2}},
        {"type": "t", "config": {"b": 2, "a": 1}, "custom_id": "x", "priority": 5},
    ]
    others = [
        {"type": "u", "config": {"a": 1, "b": 2}},
        {"type": "t", "config": {"a": 1, "b": 3}},
        {"type": "t", "config": {"a": 1, "b": 2}, "accept": "image/png"},
        {"type": "t", "config": {"a": 1, "b": 2}, "inputs": ["a.png"]},
    ]
    entries, _ = await read_manifest(write_manifest(*same, *others))
    marks = [entry.fingerprint for entry in entries]
    assert marks[0] == marks[1] == hashlib.sha256(b'{"config":{"a":1,"b":2},"type":"t"}').digest()[:16]
    assert len(set(marks)) == 5
    # The same by default is the same.
    defaults = Defaults("t", {"b": 2})
    [entry], _ = await read_manifest(write_manifest('{"config":{"a":1}}'), defaults=defaults)
    assert entry.fingerprint == marks[0]
    assert entry.job.custom_id == marks[0][:8].hex()


async def test_defaults_fill_in_what_a_line_does_not_say(write_manifest):
    defaults = Defaults("d", {"n": 1, "deep": {"a": 1, "b": 2}, "many": (1, 2)}, "image/png")
    entries, problems = await read_manifest(
        write_manifest(
            "{}",
            {"type": "t", "config": {"n": None, "deep": {"a": 2}}, "accept": "image/jpeg"},
        ),
        defaults=defaults,
    )
    assert problems == []
    bare, full = (entry.job for entry in entries)
    assert (bare.type, bare.accept) == ("d", "image/png")
    assert bare.config == {"n": 1, "deep": {"a": 1, "b": 2}, "many": [1, 2]}
    assert (full.type, full.accept) == ("t", "image/jpeg")
    assert full.config == {"n": None, "deep": {"a": 2}, "many": [1, 2]}


@pytest.mark.parametrize(
    ("defaults", "reason"),
    [
        (Defaults(type=""), "a job's type must be a text"),
        (Defaults(config={"a": b"x"}), "config.a is of type bytes"),
        (Defaults(config={"a": float("nan")}), "config.a is nan"),
        (Defaults(accept="png"), "accept must be a media type such as 'image/png', not 'png'"),
    ],
)
async def test_defaults_that_cannot_be_sent_are_an_input_error(write_manifest, defaults, reason):
    with pytest.raises(InputError, match=reason):
        await read_manifest(write_manifest("{}"), defaults=defaults)


async def test_each_job_is_in_one_shard_under_the_name_that_it_has_in_all(write_manifest):
    lines = [{"type": "t", "config": {"n": number % 10}} for number in range(30)]
    lines += [{"type": "t", "custom_id": f"id-{number}"} for number in range(30)]
    manifest = write_manifest(*lines)
    everything, _ = await read_manifest(manifest)
    shards = [await read_manifest(manifest, shard=Shard(number, 3)) for number in (1, 2, 3)]
    assert all(entries for entries, _ in shards)
    assert sorted((entry for entries, _ in shards for entry in entries), key=lambda e: e.line) == everything


async def test_lines_of_other_shards_need_no_inputs_but_count_as_seen(write_manifest):
    names = ["a", "b", "c", "d"]
    lines = [{"type": "t", "custom_id": name, "inputs": ["none.png"]} for name in names]
    twice = {"type": "t", "custom_id": "a"}
    manifest = write_manifest(*lines, twice)
    told = []
    for number in (1, 2):
        shard = Shard(number, 2)
        entries, problems = await read_manifest(manifest, shard=shard)
        assert entries == []
        expected = [line for line, name in enumerate(names, 1) if shard.takes(name)]
        assert [problem.line for problem in problems] == [*expected, 5]
        told += expected
    assert sorted(told) == [1, 2, 3, 4]


BAD = {
    "{": "not JSON: Input data was truncated",
    "a red fox": "not JSON: JSON is malformed: invalid character (byte 0); prompts, one a line, are read "
    "from a file whose name ends in .txt",
    '{"type":"t"} x': "not JSON: ",
    '{"type":"t","config":{"a":NaN}}': "not JSON: ",
    '{"type":"t","config":{"a":' + "[" * 100_000: "not JSON: ",
    '{"type":"t","config":{"a":' + "[" * 300 + "]" * 300 + "}}": "config.a[0][0]",
    '{"type":"t","config":{"a":1e999}}': "Number out of range",
    "[]": "Expected `object`, got `array`",
    "{}": "`type` is missing, and there is no default for it (--type)",
    '{"type":""}': "`type` is empty",
    '{"type":" "}': "`type` is empty",
    '{"type":1}': "Expected `str | null`, got `int` - at `$.type`",
    '{"type":"t","config":[]}': "Expected `object`, got `array` - at `$.config`",
    '{"type":"t","inputs":"a.png"}': "Expected `array`, got `str` - at `$.inputs`",
    '{"type":"t","input":["a.png"]}': "Object contains unknown field `input`",
    '{"type":"t","priority":1.5}': "Expected `int`, got `float` - at `$.priority`",
    '{"type":"t","accept":"png"}': "accept must be a media type such as 'image/png', not 'png'",
    '{"type":"t","custom_id":""}': "`custom_id` is empty",
    '{"type":"t","custom_id":"good"}': "custom_id 'good' was used before",
}


@pytest.mark.parametrize(("line", "reason"), BAD.items(), ids=[line[:40] for line in BAD])
async def test_a_bad_line_is_told_and_the_others_run(write_manifest, line, reason):
    entries, problems = await read_manifest(
        write_manifest('{"type":"t","custom_id":"good"}', line, '{"type":"t"}')
    )
    assert [entry.job.type for entry in entries] == ["t", "t"]
    [problem] = problems
    assert problem.line == 2
    assert problem.reason.startswith(reason)


async def test_bytes_that_are_no_text_and_lines_without_end_are_told(tmp_path):
    path = tmp_path / "jobs.jsonl"
    path.write_bytes(b'{"type":"\xff"}\n' + b" " * 5_000_000 + b'\n{"type":"t"}')
    entries, problems = await read_manifest(path)
    assert [(entry.line, entry.job.type) for entry in entries] == [(3, "t")]
    assert [problem.line for problem in problems] == [1, 2]
    assert problems[0].reason.startswith("not JSON: ")
    assert problems[1].reason == "longer than 4 MiB"


async def test_a_line_with_brackets_in_its_text_is_not_nested(write_manifest):
    [entry], _ = await read_manifest(write_manifest({"type": "t", "config": {"prompt": "[" * 500}}))
    assert entry.job.config == {"prompt": "[" * 500}


async def test_a_manifest_that_cannot_be_read_is_an_input_error(tmp_path):
    with pytest.raises(InputError, match=r"none\.jsonl' cannot be read: No such file"):
        await read_manifest(tmp_path / "none.jsonl")
    with pytest.raises(InputError, match="has no pictures: name a manifest"):
        await read_manifest(tmp_path)
    with pytest.raises(InputError, match="a path or a binary stream, not int"):
        await read_manifest(7)


async def test_a_stream_in_text_mode_is_an_input_error():
    with pytest.raises(InputError, match="open in text mode: open it with mode 'rb', or pass its `buffer`"):
        await read_manifest(io.StringIO("{}"))


async def test_a_stream_of_the_callers_is_read_and_left_open(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.png").write_bytes(b"x")
    stream = io.BytesIO(b'{"type":"t","inputs":["a.png"]}')
    [entry], _ = await read_manifest(stream)
    assert entry.job.inputs == (tmp_path / "a.png",)
    assert not stream.closed


async def test_an_empty_manifest_has_no_jobs(tmp_path):
    assert await read_manifest(io.BytesIO(b"")) == ([], [])
    assert await read_manifest(io.BytesIO(b"\n \n")) == ([], [])
    path = tmp_path / "jobs.jsonl"
    path.touch()
    assert await read_manifest(path) == ([], [])


class Failing(io.RawIOBase):
    """A stream on a disk that breaks."""

    def read(self, _size: int = -1) -> bytes:
        raise OSError(5, "Input/output error")


class FailingLater(io.RawIOBase):
    """A stream on a disk that breaks after its first line."""

    def __init__(self) -> None:
        self._lines = [b'{"type":"t"}\n']

    def read(self, _size: int = -1) -> bytes:
        if self._lines:
            return self._lines.pop()
        raise OSError(5, "Input/output error")


async def test_a_stream_that_fails_is_an_input_error():
    for stream in (Failing(), FailingLater()):
        with pytest.raises(InputError, match="cannot be read on: Input/output error"):
            await read_manifest(stream)


async def test_a_manifest_is_read_as_it_is_asked_for():
    reading, writing = os.pipe()
    with open(reading, "rb") as stream, open(writing, "wb", buffering=0) as pipe:
        manifest = Manifest(stream)
        pipe.write(b'{"type":"one"}\n{"ty')
        await manifest.open()
        assert [entry.job.type for entry in await manifest.read()] == ["one"]
        with anyio.move_on_after(0.05):  # nobody writes: the wait can be left
            await manifest.read()
        pipe.write(b'pe":"two"}\n')
        # What the reading found that was left is not lost.
        assert [entry.job.type for entry in await manifest.read()] == ["two"]
        manifest.end()
        assert await manifest.read() is None


async def test_a_reading_that_is_under_way_at_the_end_finds_nothing():
    reading, writing = os.pipe()
    with open(reading, "rb") as stream, open(writing, "wb", buffering=0) as pipe:
        manifest = Manifest(stream)
        pipe.write(b"{}\n")
        await manifest.open()
        await manifest.read()
        async with anyio.create_task_group() as tasks:
            found = []

            async def read_on() -> None:
                found.append(await manifest.read())

            tasks.start_soon(read_on)
            await anyio.sleep(0.01)
            manifest.end()
            pipe.write(b'{"type":"late"}\n')
        assert found == [None]


async def test_a_named_pipe_is_read_as_it_is_written(tmp_path):
    path = tmp_path / "jobs.csv"
    os.mkfifo(path)
    more = threading.Event()

    def write() -> None:
        with path.open("wb", buffering=0) as pipe:
            pipe.write(b"type\none\n")
            more.wait(10)
            pipe.write(b"two\n")

    writer = threading.Thread(target=write)
    writer.start()
    manifest = Manifest(path)
    try:
        await manifest.open()
        first = await manifest.read()
        more.set()
        second = await manifest.read()
        assert await manifest.read() is None
    finally:
        more.set()
        await anyio.to_thread.run_sync(writer.join)
        await manifest.aclose()
    assert [entry.job.type for entry in [*first, *second]] == ["one", "two"]


async def test_very_many_equal_lines_are_numbered(tmp_path):
    path = tmp_path / "jobs.jsonl"
    path.write_bytes(b'{"type":"t"}\n' * 20_000)
    entries, _ = await read_manifest(path)
    name = entries[0].job.custom_id
    assert [entry.job.custom_id for entry in entries[1:]] == [f"{name}-{n}" for n in range(2, 20_001)]


def test_jobs_are_counted_without_being_read_as_json(tmp_path):
    path = tmp_path / "jobs.jsonl"
    path.write_bytes(b'{"type":"t"}\n\n{bad\n   \nlast')
    assert count_jobs(path) == 3


def test_rows_are_counted_without_the_header(tmp_path):
    path = tmp_path / "jobs.CSV"
    path.write_bytes(b'\nnobody knows,this\na,"b\nc"\n,\n"d" e,f\ng\n')
    assert count_jobs(path) == 3
    path.write_bytes(b"")
    assert count_jobs(path) == 0


@pytest.mark.parametrize(
    "make", [io.BytesIO, tempfile.TemporaryFile, tempfile.NamedTemporaryFile, tempfile.SpooledTemporaryFile]
)
async def test_a_stream_that_was_just_written_is_refused_until_it_goes_back(make):
    with make() as stream:
        assert await read_manifest(stream) == ([], [])
        stream.write(b'{"type":"t"}\n')
        with pytest.raises(InputError, match=r"the manifest stands at its end: seek\(0\)"):
            await read_manifest(stream)
        stream.seek(0)
        assert len((await read_manifest(stream))[0]) == 1
