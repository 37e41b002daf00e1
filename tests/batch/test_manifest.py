from __future__ import annotations

import hashlib
import io
import os

import anyio
import pytest

from prodia_async import InputError, Job
from prodia_async.batch.manifest import Manifest, Problem, count_jobs


async def read(source) -> tuple[list[Job], list[Problem]]:
    problems: list[Problem] = []
    manifest = Manifest(source, problems.append)
    try:
        await manifest.open()
        return [job async for job in manifest], problems
    finally:
        await manifest.aclose()


async def test_a_whole_line_becomes_a_job(write_manifest, tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "é.jpg").write_bytes(b"x")
    line = {
        "custom_id": "a/1",
        "type": "t",
        "config": {"n": [1, {"x": None}]},
        "inputs": ["in/é.jpg", str(tmp_path / "in" / ".." / "in" / "é.jpg")],
        "accept": "image/png",
        "priority": -2,
    }
    [job], problems = await read(write_manifest(line))
    assert problems == []
    assert job == Job(
        "t",
        config={"n": [1, {"x": None}]},
        inputs=(tmp_path / "in" / "é.jpg",) * 2,
        accept="image/png",
        custom_id="a/1",
        priority=-2,
    )


async def test_a_bare_job_is_named_by_its_content(write_manifest):
    first, second = (
        '{"type":"t","config":{"a":1,"b":2}}',
        '{"config": {"b": 2, "a": 1}, "type": "t", "inputs": []}',
    )
    jobs, problems = await read(write_manifest(first, second, '{"type":"u"}', first))
    name = hashlib.sha256(b'{"config":{"a":1,"b":2},"type":"t"}').hexdigest()[:16]
    other = hashlib.sha256(b'{"type":"u"}').hexdigest()[:16]
    assert [job.custom_id for job in jobs] == [name, f"{name}-2", other, f"{name}-3"]
    assert problems == []


async def test_a_name_that_was_given_is_not_given_again(write_manifest):
    name = hashlib.sha256(b'{"type":"t"}').hexdigest()[:16]
    taken = [{"type": "u", "custom_id": name}, {"type": "u", "custom_id": f"{name}-2"}]
    jobs, _ = await read(write_manifest(*taken, '{"type":"t"}', '{"type":"t"}'))
    assert [job.custom_id for job in jobs[2:]] == [f"{name}-3", f"{name}-4"]


BAD = {
    "{": "not JSON: ",
    '{"type":"t"} x': "not JSON: ",
    '{"type":"t","config":{"a":NaN}}': "not JSON: ",
    '{"type":"t","config":{"a":' + "[" * 100_000: "not JSON: ",
    "[]": "Expected `object`, got `array`",
    "{}": "Object missing required field `type`",
    '{"type":""}': "`type` is empty",
    '{"type":1}': "Expected `str`, got `int` - at `$.type`",
    '{"type":"t","config":[]}': "Expected `object`, got `array` - at `$.config`",
    '{"type":"t","inputs":"a.png"}': "Expected `array`, got `str` - at `$.inputs`",
    '{"type":"t","input":["a.png"]}': "Object contains unknown field `input`",
    '{"type":"t","priority":1.5}': "Expected `int`, got `float` - at `$.priority`",
    '{"type":"t","custom_id":""}': "`custom_id` is empty",
    '{"type":"t","custom_id":"good"}': "custom_id 'good' was used before",
    '{"type":"t","inputs":["none.png"]}': "input 'none.png' is missing",
    '{"type":"t","inputs":["folder"]}': "input 'folder' is no file",
    '{"type":"t","inputs":[""]}': "'' in `inputs` is no path",
    '{"type":"t","inputs":["a\\u0000"]}': "'a\\x00' in `inputs` is no path",
    '{"type":"t","inputs":["../secret"]}': "input '../secret' lies outside the manifest's folder",
    '{"type":"t","inputs":["folder/../../x"]}': "input 'folder/../../x' lies outside the manifest's folder",
    '{"type":"t","inputs":["/etc/passwd"]}': "input '/etc/passwd' lies outside the manifest's folder",
}


@pytest.mark.parametrize(("line", "reason"), BAD.items(), ids=[line[:40] for line in BAD])
async def test_a_bad_line_is_told_and_the_others_run(write_manifest, tmp_path, line, reason):
    (tmp_path / "folder").mkdir()
    jobs, problems = await read(write_manifest('{"type":"t","custom_id":"good"}', line, '{"type":"t"}'))
    assert [job.type for job in jobs] == ["t", "t"]
    [problem] = problems
    assert problem.line == 2
    assert problem.reason.startswith(reason)


async def test_bytes_that_are_no_text_and_lines_without_end_are_told(tmp_path):
    path = tmp_path / "jobs.jsonl"
    path.write_bytes(b'{"type":"\xff"}\n' + b" " * 5_000_000 + b'\n{"type":"t"}')
    jobs, problems = await read(path)
    assert [job.type for job in jobs] == ["t"]
    assert [problem.line for problem in problems] == [1, 2]
    assert problems[0].reason.startswith("not JSON: ")
    assert problems[1].reason == "longer than 4 MiB"


async def test_a_name_too_long_for_the_system_is_told(write_manifest):
    _, [problem] = await read(write_manifest({"type": "t", "inputs": ["a" * 300]}))
    assert problem.reason.startswith(f"input '{'a' * 300}' is ")


async def test_a_manifest_that_cannot_be_read_is_an_input_error(tmp_path):
    with pytest.raises(InputError, match=r"none\.jsonl' cannot be read: No such file"):
        await read(tmp_path / "none.jsonl")
    with pytest.raises(InputError, match=r"cannot be read( on)?: Is a directory"):
        await read(tmp_path)
    with pytest.raises(InputError, match="a path or a binary stream, not int"):
        await read(7)


async def test_a_stream_of_the_callers_is_read_and_left_open(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.png").write_bytes(b"x")
    stream = io.BytesIO(b'{"type":"t","inputs":["a.png"]}')
    [job], _ = await read(stream)
    assert job.inputs == (tmp_path / "a.png",)
    assert not stream.closed


class Failing(io.RawIOBase):
    """A stream on a disk that breaks."""

    def read(self, _size: int = -1) -> bytes:
        raise OSError(5, "Input/output error")


async def test_a_stream_that_fails_is_an_input_error():
    with pytest.raises(InputError, match="cannot be read on: Input/output error"):
        await read(Failing())


async def test_a_manifest_is_read_as_it_is_asked_for():
    reading, writing = os.pipe()
    with open(reading, "rb") as stream, open(writing, "wb", buffering=0) as pipe:
        manifest = Manifest(stream, [].append)
        await manifest.open()
        pipe.write(b'{"type":"one"}\n')
        assert (await anext(manifest)).type == "one"
        with anyio.move_on_after(0.05):  # nobody writes: the wait can be left
            await anext(manifest)
        manifest.end()
        with pytest.raises(StopAsyncIteration):
            await anext(manifest)
        pipe.write(b"\n")


def test_jobs_are_counted_without_being_read_as_json(tmp_path):
    path = tmp_path / "jobs.jsonl"
    path.write_bytes(b'{"type":"t"}\n\n{bad\n   \nlast')
    assert count_jobs(path) == 3
