"""What is no manifest as a whole is refused by its name, with what to do, before anything is sent."""

from __future__ import annotations

import bz2
import contextlib
import gzip
import io
import json
import lzma
import pickle
import sqlite3
import tarfile
import zipfile

import pytest
from batch.helpers import echo
from support.manifests import read_manifest

from prodia_async import InputError
from prodia_async.batch import check_manifest, run_batch

JOB = {"custom_id": "a", "type": "emulator.bytes.v1", "config": {"size": 3}}
TEXT = "".join(json.dumps(JOB | {"custom_id": name}) + "\n" for name in "abc")


def zipped(name: str) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(name, TEXT)
    return file.getvalue()


def tarred() -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("jobs.jsonl"))
    return file.getvalue()


def database() -> bytes:
    with contextlib.closing(sqlite3.connect(":memory:")) as connection:
        connection.execute("create table a (b)")
        return connection.serialize()


def lines(*objects: dict) -> bytes:
    return b"".join(json.dumps(each).encode() + b"\n" for each in objects)


FORMS = {
    "an array over lines": (
        "[\n" + ",\n".join(TEXT.splitlines()) + "\n]",
        "a JSON array: write a line such as",
    ),
    "an array on one line": (json.dumps([JOB, JOB]), "a JSON array"),
    "an array of one": (json.dumps([JOB]) + "\n", "a JSON array"),
    "an array with a mark": (b"\xef\xbb\xbf" + json.dumps([JOB]).encode(), "a JSON array"),
    "an array after blank lines": ("\n\n  \n" + json.dumps([JOB, JOB]), "a JSON array"),
    "an array with a job a line of its own": ("[\n" + json.dumps(JOB) + "\n]\n", "a JSON array"),
    "a very long array": (json.dumps([JOB] * 60_000), "a JSON array"),
    "an empty array": ("[]", "a JSON array"),
    "UTF-16 little": (TEXT.encode("utf-16"), "UTF-16 text: save it as UTF-8"),
    "UTF-16 big": (b"\xfe\xff" + TEXT.encode("utf-16-be"), "UTF-16 text"),
    "UTF-16 little without a mark": (TEXT.encode("utf-16-le"), "UTF-16 text"),
    "UTF-16 big without a mark": (TEXT.encode("utf-16-be"), "UTF-16 text"),
    "UTF-32": (TEXT.encode("utf-32"), "UTF-32 text"),
    "UTF-32 without a mark": (TEXT.encode("utf-32-le"), "UTF-32 text"),
    "OpenAI": (
        lines(
            *[{"custom_id": n, "method": "POST", "url": "/v1/images", "body": {"prompt": n}} for n in "ab"]
        ),
        "OpenAI's batch form: write a line such as",
    ),
    "Anthropic": (lines({"custom_id": "a", "params": {"model": "m", "messages": []}}), "Anthropic's batch"),
    "Replicate": (lines({"version": "5c7d", "input": {"prompt": "a"}}), "Replicate's form"),
    "Replicate's model": (lines({"model": "black-forest-labs/x", "input": {}}), "Replicate's form"),
    "Bedrock": (lines({"recordId": "a", "modelInput": {"prompt": "a"}}), "Amazon Bedrock's batch form"),
    "Gemini": (lines({"key": "a", "request": {"contents": []}}), "Google's batch form"),
    "Vertex": (lines({"instances": [{"prompt": "a"}]}), "Google's batch form"),
    "Mistral": (lines({"custom_id": "0", "body": {"messages": []}}), "Mistral's batch form"),
    "chat": (lines({"messages": [{"role": "user", "content": "a"}]}), "a list of chat messages"),
    "jobs in an object": (lines({"jobs": [JOB, JOB]}), "a JSON object with its jobs in `jobs`"),
    "requests in an object": (lines({"requests": [JOB]}), "a JSON object with its jobs in `requests`"),
    "an object over lines": (json.dumps(JOB, indent=2), "JSON objects over several lines"),
    "jobs over lines": (json.dumps({"jobs": [JOB]}, indent=2), "JSON objects over several lines"),
    "results": (
        lines({"custom_id": "a", "status": "done", "job": {}, "outputs": [], "error": None, "attempts": []}),
        "the results of a batch",
    ),
    "zip": (zipped("jobs.jsonl"), "a zip archive: unpack it"),
    "xlsx": (zipped("xl/workbook.xml"), "a spreadsheet: save it as CSV"),
    "xls": (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600), "a spreadsheet"),
    "gzip": (gzip.compress(TEXT.encode()), "a gzip file: unpack it"),
    "bzip2": (bz2.compress(TEXT.encode()), "a bzip2 file"),
    "xz": (lzma.compress(TEXT.encode()), "an xz file"),
    "tar": (tarred(), "a tar archive"),
    "Parquet": (b"PAR1\x15\x04\x15" + bytes(50) + b"PAR1", "a Parquet file: export it"),
    "Arrow": (b"ARROW1\0\0" + bytes(50), "an Arrow file"),
    "SQLite": (database(), "an SQLite database"),
    "pickle": (pickle.dumps([JOB] * 3, protocol=4), "a pickle"),
    "NumPy": (b"\x93NUMPY\x01\0" + bytes(50), "a NumPy file"),
    "PNG": (b"\x89PNG\r\n\x1a\n" + bytes(50), "a picture: name it in `inputs`"),
    "JPEG": (b"\xff\xd8\xff\xe0\0\x10JFIF" + bytes(50), "a picture"),
    "MP4": (b"\0\0\0\x20ftypisom" + bytes(50), "a picture, a film or a sound"),
    "zeros": (bytes(4096), "a binary file"),
    "HTML": ("<!doctype html>\n<title>Not found</title>\n", "a page of HTML or XML"),
    "YAML": ("- type: t\n  config: {}\n", "YAML"),
}


def encoded(content: str | bytes) -> bytes:
    return content.encode() if isinstance(content, str) else content


@pytest.mark.parametrize(("content", "reason"), FORMS.values(), ids=FORMS)
async def test_a_file_of_another_kind_is_refused_as_a_whole(prodia, emulator, tmp_path, content, reason):
    path = tmp_path / "jobs.jsonl"
    path.write_bytes(encoded(content))
    with pytest.raises(InputError) as caught:
        await run_batch(path, tmp_path / "out", prodia=prodia, type="emulator.bytes.v1")
    assert f"jobs.jsonl' is {reason}" in str(caught.value)
    with pytest.raises(InputError, match=r"the manifest .*is "):
        await check_manifest(path)
    assert emulator.stats().requests == 0
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("content", "reason"), FORMS.values(), ids=FORMS)
async def test_so_is_a_stream(content, reason):
    with pytest.raises(InputError) as caught:
        await read_manifest(io.BytesIO(encoded(content)))
    assert str(caught.value).startswith(f"the manifest is {reason}") or "which is unknown" in str(
        caught.value
    )


@pytest.mark.parametrize("name", ["UTF-16 little", "UTF-16 big without a mark", "xlsx", "gzip", "Parquet"])
async def test_so_is_a_file_that_is_called_csv(tmp_path, name):
    content, reason = FORMS[name]
    path = tmp_path / "jobs.csv"
    path.write_bytes(encoded(content))
    with pytest.raises(InputError) as caught:
        await read_manifest(path)
    assert reason in str(caught.value)


ALONE = [
    '{"custom_id": "x", "method": "POST", "url": "/v1", "body": {}}',
    '{"custom_id": "x", "params": {}}',
    '{"version": "1", "input": {}}',
    '{"jobs": []}',
    "[1, 2]",
    "[]",
    "null",
    '"text"',
    "7",
    "{",
    '{"type": "t", "method": "POST", "url": "/", "body": {}}',
    "- type: t",
]


@pytest.mark.parametrize("line", ALONE)
async def test_one_such_line_among_good_ones_is_a_bad_line(write_manifest, line):
    entries, problems = await read_manifest(write_manifest(JOB, line, JOB | {"custom_id": "b"}))
    assert [entry.job.custom_id for entry in entries] == ["a", "b"]
    assert [problem.line for problem in problems] == [2]


@pytest.mark.parametrize("line", [line for line in ALONE if line != "- type: t"])
async def test_also_where_it_is_the_first(write_manifest, line):
    entries, problems = await read_manifest(write_manifest(line, JOB, JOB | {"custom_id": "b"}))
    assert [entry.job.custom_id for entry in entries] == ["a", "b"]
    assert [problem.line for problem in problems] == [1]


async def test_a_mark_of_utf_8_is_no_text_of_another_kind(tmp_path):
    path = tmp_path / "jobs.jsonl"
    path.write_text(TEXT, encoding="utf-8-sig")
    entries, problems = await read_manifest(path)
    assert [entry.job.custom_id for entry in entries] == ["a", "b", "c"]
    assert problems == []


class Odd:
    """A stream that gives what is no bytes."""

    def __init__(self, given: object) -> None:
        self._given = given

    def read(self, _size: int) -> object:
        if isinstance(self._given, BaseException):
            raise self._given
        return self._given


@pytest.mark.parametrize(
    "given",
    ["text", None, 7, ["a"], {"a": 1}, object(), 1.5, True, ValueError("x"), RuntimeError(), KeyError(1)],
)
async def test_a_stream_that_gives_no_bytes_is_an_input_error(given):
    with pytest.raises(InputError, match="the manifest"):
        await read_manifest(Odd(given))


ADDRESSES = [
    "data:image/png;base64," + "QUJD" * 100_000,
    "http://pictures.invalid/cat.jpg",
    "https://pictures.invalid/cat.jpg",
    "HTTPS://pictures.invalid/cat.jpg",
    "s3://bucket/cat.jpg",
    "gs://bucket/cat.jpg",
    "az://container/cat.jpg",
    "abfss://container@account/cat.jpg",
    "ftp://host/cat.jpg",
    "file:///tmp/cat.jpg",
    "hf://datasets/cat.jpg",
    " https://pictures.invalid/cat.jpg",
]


@pytest.mark.parametrize("address", ADDRESSES, ids=[address[:20] for address in ADDRESSES])
async def test_an_address_is_no_path(prodia, emulator, write_manifest, tmp_path, address):
    manifest = write_manifest(echo("good"), echo("bad") | {"inputs": [address]})
    _, [problem] = await read_manifest(manifest)
    said = [problem.reason]
    for given in ((address, tmp_path / "out"), (manifest, address)):
        with pytest.raises(InputError) as caught:
            await run_batch(*given, prodia=prodia)
        said.append(str(caught.value))
    for reason, what in zip(said, ("input", "the manifest", "out"), strict=True):
        assert reason.startswith(f"{what} '")
        assert " is not a path: " in reason
        assert len(reason) < 320
    assert [path.name for path in tmp_path.iterdir()] == ["jobs.jsonl"]
    assert emulator.stats().requests == 0


LONG = "x" * 100_000
LONG_LINES = {
    "custom_id": [JOB | {"custom_id": LONG}, JOB | {"custom_id": LONG}],
    "input": [JOB | {"inputs": [LONG]}],
    "input outside": [JOB | {"inputs": ["../" + LONG]}],
    "input of parts": [JOB | {"inputs": ["a/" * 40_000]}],
    "input with zero": [JOB | {"inputs": ["\0" * 40_000]}],
    "input that is linked": [JOB | {"inputs": ["y" * 250]}],
    "input that is none": [JOB | {"inputs": ["x" * 250]}],
    "unknown field": [JOB | {LONG: 1}],
    "mode": [JOB | {"mode": LONG}],
    "priority": [JOB | {"priority": LONG}],
    "type": [JOB | {"type": [LONG]}],
    "config": [JOB | {"config": LONG}],
}


@pytest.mark.parametrize("given", LONG_LINES.values(), ids=LONG_LINES)
async def test_a_text_is_quoted_short(write_manifest, tmp_path, given):
    (tmp_path / ("y" * 250)).symlink_to("/etc/passwd")
    _, [problem] = await read_manifest(write_manifest(*given))
    assert max(problem.reason.count(char) for char in "xy/\0") <= 401  # a path's name, and the path
    assert len(problem.reason) < 500


@pytest.mark.parametrize(
    "text",
    [
        f"type,{LONG}\nt,1\n",
        f"type,type,config.{LONG}\nt,t,1\n",
        f"type,config.{LONG},config.{LONG}.b\nt,1,1\n",
        f"type,priority\nt,{LONG}\n",
        f"type,mode\nt,{LONG}\n",
        f"type,priority\nt,{'9' * 100_000}\n",
        f"type,input\nt,{LONG}\n",
        f"type,custom_id\nt,{LONG}\nt,{LONG}\n",
        f'type,config.a\nt,"{"[" * 120_000}"\n',
        f'type,config.{LONG}\nt,"{"[" * 120_000}"\n',
    ],
    ids=range(10),
)
async def test_so_is_a_cell(tmp_path, text):
    path = tmp_path / "jobs.csv"
    path.write_text(text)
    try:
        _, [problem] = await read_manifest(path)
        reason = problem.reason
    except InputError as error:
        reason = str(error)
    assert reason.count("x") <= 401  # two names of columns at most
    assert len(reason) < 600
