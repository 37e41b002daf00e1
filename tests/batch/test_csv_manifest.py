from __future__ import annotations

import io
import json

import pytest
from support.manifests import read_manifest

from prodia_async import InputError, Job
from prodia_async.batch._manifest import Defaults


@pytest.fixture
def write_csv(tmp_path):
    def write(text: str, encoding: str = "utf-8"):
        path = tmp_path / "jobs.csv"
        path.write_bytes(text.encode(encoding))
        return path

    return write


async def test_a_whole_row_becomes_an_entry(write_csv, tmp_path):
    for name in ("a;1.png", "b.png", "c.png"):
        (tmp_path / name).write_bytes(b"x")
    path = write_csv(
        "custom_id, type ,prompt,input,inputs,accept,priority,config.seed,config.style.a,config.style.x,"
        "extra.name,extra.jobs\r\n"
        'é/1, t ,"a cat,\r\nblack",a;1.png,b.png; c.png;,image/png,-2,7,plain,"[1, {""a"": null}]",'
        'mine,"[{""type"": ""u""}]"\r\n',
        "utf-8-sig",
    )
    [entry], problems = await read_manifest(path)
    assert problems == []
    assert entry.line == 2
    assert entry.job == Job(
        "t",
        config={"prompt": "a cat,\r\nblack", "seed": 7, "style": {"a": "plain", "x": [1, {"a": None}]}},
        inputs=tuple(tmp_path / name for name in ("a;1.png", "b.png", "c.png")),
        accept="image/png",
        custom_id="é/1",
        priority=-2,
        extra={"name": "mine", "jobs": [{"type": "u"}]},
    )


async def test_a_row_is_the_same_job_as_its_line(write_csv, write_manifest, tmp_path):
    (tmp_path / "a.png").write_bytes(b"x")
    line = {"type": "t", "config": {"prompt": "p", "n": 1.5}, "inputs": ["a.png"], "extra": {"name": "m"}}
    [of_line], _ = await read_manifest(write_manifest(line))
    path = write_csv("config.n,prompt,input,type,accept,inputs,extra.name\n1.5,p,a.png,t,,,m\n")
    [of_row], _ = await read_manifest(path)
    assert of_row.job == of_line.job
    assert (of_row.fingerprint, of_row.inputs_mark) == (of_line.fingerprint, of_line.inputs_mark)


VALUES = {
    "true": True,
    "null": None,
    "5": 5,
    " -1.5e3 ": -1500.0,
    '"5"': "5",
    "[1]": [1],
    "007": "007",
    "NaN": "NaN",
    "1e999": "1e999",
    "{a": "{a",
    "a [red] cat": "a [red] cat",
    " ": " ",
}


@pytest.mark.parametrize(("cell", "value"), VALUES.items())
async def test_values_are_json_where_they_are_json(write_csv, cell, value):
    quoted = cell.replace('"', '""')
    path = write_csv(f'type,config.a,config.prompt\nt,"{quoted}","{quoted}"\n')
    [entry], _ = await read_manifest(path)
    assert json.dumps(entry.job.config) == json.dumps({"a": value, "prompt": cell})


async def test_an_empty_cell_says_nothing(write_csv):
    defaults = Defaults("d", {"seed": 1, "deep": {"a": 1}}, "image/png")
    path = write_csv(
        "custom_id,type,prompt,input,inputs,accept,priority,config.seed,config.deep.b\n"
        ",,,,,,,,\n"
        "x,,,,,,,,\n"
        "y, ,,,,,,2,3\n"
    )
    entries, problems = await read_manifest(path, defaults=defaults)
    assert problems == []
    assert [entry.job for entry in entries] == [
        Job("d", {"seed": 1, "deep": {"a": 1}}, (), "image/png", "x"),
        Job("d", {"seed": 2, "deep": {"b": 3}}, (), "image/png", "y"),
    ]


BAD = {
    "c,t,,,too,many": "6 cells stand in the row, and 5 in the header",
    "c,t,": "3 cells stand in the row, and 5 in the header",
    "c,,,,": "`type` is missing, and there is no default for it (--type)",
    "c,t,,,1.5": "`priority` is '1.5', not a whole number",
    "c,t,none.png,,": "input 'none.png' is missing",
    "good,t,,,": "custom_id 'good' was used before",
    'c,"t" x,,,': "not CSV: ",
    "c,t,,é,": "not UTF-8 text",
    'c,t,,"' + "[" * 100_000 + '",': "column 'config.x' is nested too deeply for JSON",
    'c,t,,"' + "[" * 300 + "]" * 300 + '",': "config.x[0][0]",
    "c,t,," + "x" * 200_000 + ",": "not CSV: field larger than field limit",
}


@pytest.mark.parametrize(("row", "reason"), BAD.items(), ids=[row[:20] for row in BAD])
async def test_a_bad_row_is_told_and_the_others_run(write_csv, row, reason):
    path = write_csv(
        f'custom_id,type,input,config.x,priority\ngood,t,,"\n",\n{row}\nlast,t,,,\n',
        "latin-1" if "é" in row else "utf-8",
    )
    entries, [problem] = await read_manifest(path)
    assert [(entry.line, entry.job.custom_id) for entry in entries] == [(2, "good"), (5, "last")]
    assert problem.line == 4
    assert problem.reason.startswith(reason)


HEADERS = {
    "type,Prompt": "has a column 'Prompt', which is unknown: columns are custom_id, type, prompt, ",
    "type;prompt": "has a column 'type;prompt', which is unknown: .*, separated by commas",
    "type,": "has a column '', which is unknown",
    "type,config": "has a column 'config', which is unknown",
    "type,config.": "has a column 'config.', which is unknown",
    "type,config.a..b": "has a column 'config.a..b', which is unknown",
    "type,type": "has two columns 'type'",
    "prompt,config.prompt": "columns 'prompt' and 'config.prompt' say the same",
    "config.a,config.a.b": "columns 'config.a' and 'config.a.b' say the same",
    '"type': "header, line 1, is not CSV: ",
    '{"type":"t"}': "has a column '{\"type\":\"t\"}', which is unknown: .* JSON lines begins with '{'",
    "": "the manifest is empty: its first line names the columns, such as custom_id, type",
}


@pytest.mark.parametrize(("header", "reason"), HEADERS.items())
async def test_a_header_that_cannot_be_read_is_an_input_error(write_csv, header, reason):
    with pytest.raises(InputError, match=reason):
        await read_manifest(write_csv(f"{header}\n"))


async def test_text_that_is_no_utf_8_is_an_input_error(write_csv):
    with pytest.raises(InputError, match="header, line 1, is not UTF-8 text"):
        await read_manifest(write_csv("type,prompt,config.é\nt,p,1\n", "latin-1"))


async def test_a_stream_is_csv_unless_it_begins_as_json():
    [entry], problems = await read_manifest(io.BytesIO(b"\xef\xbb\xbf\n \ntype\nt\n"))
    assert (entry.line, entry.job.type, problems) == (4, "t", [])
    [entry], problems = await read_manifest(io.BytesIO(b'\xef\xbb\xbf\n \n {"type":"t"}\n'))
    assert (entry.line, entry.job.type, problems) == (3, "t", [])
    with pytest.raises(InputError, match="has a column 'one', which is unknown"):
        await read_manifest(io.BytesIO(b"one,type\n"))


async def test_a_stream_that_begins_with_a_line_too_long_is_told(tmp_path):
    entries, [problem] = await read_manifest(io.BytesIO(b"x" * 5_000_000 + b'\n{"type":"t"}\n'))
    assert (problem.line, problem.reason) == (1, "longer than 4 MiB")
    assert len(entries) == 1


async def test_an_empty_folder_is_no_manifest(tmp_path):
    (tmp_path / "jobs.csv").mkdir()
    with pytest.raises(InputError, match="has no pictures: name a manifest"):
        await read_manifest(tmp_path / "jobs.csv")
