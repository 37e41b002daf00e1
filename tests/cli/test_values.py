"""What -c, -i and -o mean: text stays text, files become inputs, - is a standard stream."""

from __future__ import annotations

import json
import os
import pty
import sys

import pytest

from prodia_async.cli.config import Inputs, read_config

TXT2IMG = "inference.flux-fast.schnell.txt2img.v2"
SMALL = ["-c", "width=64", "-c", "height=64", "-c", 'emulator={"latency":0}']
PNG = b"\x89PNG\r\n\x1a\n" + b"\0" * 60
LOOKS_LIKE_JSON = [
    "1984", "null", "true", "false", "[rainy street]", "[1, 2]", "1e3", "-7", '"quoted"', "{}", '{"a": 1}',
    "007", "NaN", "0", " 4 ", "1984=4", "", "日本 🐈",
]  # fmt: skip


def config(*pairs: str, inputs: Inputs | None = None) -> dict:
    return read_config(pairs, None, inputs)


@pytest.mark.parametrize("key", ["prompt", "negative_prompt"])
@pytest.mark.parametrize("text", LOOKS_LIKE_JSON)
def test_a_prompt_is_text_whatever_it_looks_like(key, text):
    assert config(f"{key}={text}") == {key: text}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("4", 4), ("-0.5", -0.5), ("1e3", 1000.0), ("true", True), ("null", None), ("[1, 2]", [1, 2]),
        ('{"a": "b"}', {"a": "b"}), ('"7"', "7"), ("yes", "yes"), ("NaN", "NaN"), ("-Infinity", "-Infinity"),
        ("1e999", "1e999"), ("007", "007"), ("16:9", "16:9"), ("[" * 100_000, "[" * 100_000), ("a@b", "a@b"),
    ],
    ids=lambda value: str(value)[:20],
)  # fmt: skip
def test_other_values_are_json_where_they_are_json(text, value):
    assert config(f"key={text}") == {"key": value}


@pytest.mark.parametrize("key", ["prompt", "steps"])
def test_json_can_be_said(key, tmp_path):
    assert config(f'{key}:={{"a": [1]}}') == {key: {"a": [1]}}
    (tmp_path / "a.json").write_text("[1, 2]")
    assert config(f"{key}:=@{tmp_path}/a.json") == {key: [1, 2]}


@pytest.mark.parametrize("key", ["image", "prompt"])
def test_a_text_may_begin_with_an_at(key):
    assert config(f"{key}=@@alice") == {key: "@alice"}
    assert config(f"{key}=@@@") == {key: "@@"}
    assert config(f"{key}=me@home") == {key: "me@home"}


@pytest.mark.parametrize(
    ("key", "name", "content", "text"),
    [
        ("prompt", "prompt.txt", b"a cat\n", "a cat"),
        ("prompt", "prompt", b"1984\n\n", "1984"),
        ("prompt", "cat.png", b"called so, but text", "called so, but text"),
        ("prompt", "bom.txt", b"\xef\xbb\xbfcaf\xc3\xa9\r\n", "café"),
        ("lyrics", "song.txt", b"la\nla\n", "la\nla"),
        ("lyrics", "song", "é".encode() * 3000, "é" * 3000),
        ("lyrics", "odd", b"x" + "é".encode() * 3000, "x" + "é" * 3000),
        ("lyrics", "empty.txt", b"", ""),
        ("data", "a.json", b"[1]", "[1]"),
        ("steps", "steps", b"4\n", "4"),
    ],
)
def test_text_is_read_from_a_file(tmp_path, key, name, content, text):
    (tmp_path / name).write_bytes(content)
    inputs = Inputs()
    assert config(f"{key}=@{tmp_path / name}", inputs=inputs) == {key: text}
    assert inputs.items == []


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("in.jpg", b"\xff\xd8\xff"), ("in.PNG", PNG), ("clip.mp4", b"x"), ("a.wav", b""),
        ("icon.svg", b"<svg/>"), ("mesh.glb", b"glTF"), ("upload", PNG), ("upload.dat", b"\xff\xfe\xfd"),
        ("paper.pdf", b"%PDF-"), ("a b.webp", b"RIFF"), ("file.bin", b"a\0b"),
        ("late", b"x" * 5000 + b"\xff"), ("large", b"\xff" * (1 << 21)),
    ],
)  # fmt: skip
def test_pictures_films_and_sounds_become_inputs(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    inputs = Inputs()
    assert config(f"image=@{tmp_path / name}", inputs=inputs) == {"image": name}
    assert inputs.items == [(name, tmp_path / name)]


def test_a_file_is_added_once_and_another_of_its_name_gets_one_of_its_own(tmp_path):
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "in.jpg").write_bytes(b"x")
    inputs = Inputs((str(tmp_path / "a" / "in.jpg"),))
    given = [f"image=@{tmp_path}/a/in.jpg", f"mask=@{tmp_path}/b/in.jpg", f"last=@{tmp_path}/a/../b/in.jpg"]
    assert config(*given, inputs=inputs) == {"image": "in.jpg", "mask": "in-2.jpg", "last": "in-2.jpg"}
    assert len(inputs.items) == 2


def test_of_several_files_of_one_name_each_has_a_name_of_its_own(tmp_path):
    paths = [tmp_path / folder / "in.jpg" for folder in "abc"]
    inputs = Inputs(tuple(map(str, [*paths, paths[1]])))
    assert inputs.items == list(zip(["in.jpg", "in-2.jpg", "in-3.jpg"], paths, strict=True))


def test_an_input_of_a_value_is_sent(invoke, tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "in.jpg").write_bytes(b"\xff\xd8\xff")
    result = invoke(
        "run", "emulator.echo.v1", "-c", "image=@photos/in.jpg", "-o", "out.jpg", "--json", "--emulator"
    )
    assert result.exit_code == 0, result.stderr
    assert json.loads(result.stdout)["job"]["config"]["image"] == "in.jpg"
    assert (tmp_path / "out.jpg").read_bytes() == b"\xff\xd8\xff"


def test_a_home_and_a_pipe_of_the_shell_are_files_too(start, environment, tmp_path):
    environment["HOME"] = str(tmp_path)
    (tmp_path / "in.jpg").write_bytes(b"\xff\xd8\xff")
    code = f'exec {sys.executable} -m prodia_async run emulator.echo.v1 --json -c image=@~/in.jpg "$@"'
    os.mkfifo(tmp_path / "pipe")
    process = start(
        "--emulator", "-c", "lyrics=@pipe", "-o", "out.jpg", shell_code=f"(echo la > pipe) & {code}"
    )
    stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == 0, stderr
    told = json.loads(stdout)["job"]["config"]
    assert (told["image"], told["lyrics"]) == ("in.jpg", "la")


def test_a_bad_line_is_quoted_short(invoke, write_manifest):
    manifest = write_manifest({"type": "a", "inputs": ["data:image/png;base64," + "QUJD" * 100_000]})
    result = invoke("batch", manifest, "--check")
    assert result.exit_code == 2
    assert len(result.stderr) < 1000


def test_a_batch_takes_the_text_of_a_file_and_no_input(invoke, write_manifest, tmp_path):
    (tmp_path / "p.txt").write_text("1984\n")
    manifest = write_manifest({"type": "a"})
    assert invoke("batch", manifest, "--check", "-c", "prompt=@p.txt").exit_code == 0
    result = invoke("batch", manifest, "--check", "-c", "image=@in.jpg")
    assert result.exit_code == 2
    assert "would be an input, no text: `run` takes it by -i, and a batch in its lines" in result.stderr


def test_csv_has_the_same_rule(invoke, tmp_path):
    (tmp_path / "jobs.csv").write_text(
        "prompt,config.negative_prompt,config.steps,config.ratio\n1984,null,4,16:9\n"
    )
    assert (
        invoke("batch", "jobs.csv", "--out", "o", "--type", "emulator.echo.v1", "--emulator").exit_code == 0
    )
    told = json.loads((tmp_path / "o" / "results.jsonl").read_text())["job"]["config"]
    assert told == {"prompt": "1984", "negative_prompt": "null", "steps": 4, "ratio": "16:9"}
    pairs = [f"{key}={value}" for key, value in {**told, "ratio": "16:9"}.items()]
    assert config(*pairs) == told


ADDRESSES = [
    "data:image/png;base64," + "QUJD" * 100_000,
    "DATA:,x",
    "http://pictures.invalid/cat.jpg",
    "https://pictures.invalid/cat.jpg",
    "HTTPS://pictures.invalid/" + "a" * 5000,
    "s3://bucket/key.jpg",
    "gs://bucket/key",
    "az://container/key",
    "ftp://host/file",
    "file:///tmp/in.jpg",
    "hf://model",
]


@pytest.mark.parametrize("address", ADDRESSES, ids=lambda address: address[:12])
@pytest.mark.parametrize(
    "words",
    [
        ["run", "t", "-i", "{}", "--emulator"],
        ["run", "t", "-o", "{}", "--emulator"],
        ["run", "t", "-c", "image=@{}", "--emulator"],
        ["run", "t", "-c", "prompt=@{}", "--emulator"],
        ["collect", "id", "-o", "{}"],
        ["batch", "{}", "--out", "out"],
        ["batch", "jobs.jsonl", "--out", "{}", "--emulator"],
        ["results", "{}"],
        ["run", "t", "--config", "{}", "--emulator"],
    ],
    ids=lambda words: " ".join(words[:3]),
)
def test_an_address_where_a_path_belongs_is_refused(invoke, write_manifest, tmp_path, words, address):
    manifest = write_manifest({"type": "a"})
    result = invoke(*[word.format(address) for word in words])
    assert (result.exit_code, result.stdout) == (2, "")
    assert ", not a path: " in result.stderr
    assert address[:20] in result.stderr
    assert address[:201] == address or address[:201] not in result.stderr
    assert len(result.stderr) < 600
    assert list(tmp_path.iterdir()) == [manifest]


LONG = "x" * 100_000


@pytest.mark.parametrize(
    "words",
    [
        [LONG],
        ["run", "t", f"--{LONG}"],
        ["run", "t", "-c", LONG],
        ["run", "t", "-c", f"a=@{LONG}"],
        ["run", "t", "-c", f"a:={LONG}"],
        ["run", "t", "-c", f"{LONG}:=x"],
        ["run", "t", "-i", LONG, "--emulator"],
        ["run", "t", "--timeout", LONG],
        ["run", "t", "--mode", LONG],
        ["run", "t", "--accept", LONG, "--emulator"],
        ["run", LONG, "--emulator"],
        ["batch", LONG, "--out", "o"],
        ["batch", "jobs.jsonl", "--out", "o", "--price", LONG],
        ["batch", "jobs.jsonl", "--out", "o", "--max-spend", LONG],
        ["batch", "jobs.jsonl", "--check", "--shard", LONG],
        ["batch", "jobs.jsonl", "--check", "--type", LONG],
        ["results", LONG],
        ["emulator", "--fault", LONG],
    ],
    ids=lambda words: " ".join(word[:10] for word in words),
)
def test_a_long_text_is_quoted_short(invoke, write_manifest, words):
    write_manifest({"config": {}})
    result = invoke(*words)
    shown = result.stdout + result.stderr
    assert "x" * 201 not in shown
    assert len(shown) < 1500


def test_the_output_goes_to_stdout_and_everything_else_to_stderr(start, tmp_path):
    words = ["run", TXT2IMG, "-c", "prompt=a", *SMALL, "-o", "-", "--emulator", "--accept", "image/png"]
    with (tmp_path / "x.png").open("wb") as file:
        process = start(*words, stdout=file)
        _, stderr = process.communicate(timeout=60)
    assert (process.returncode, stderr) == (0, f"{TXT2IMG}: done, 1 output\n")
    assert (tmp_path / "x.png").read_bytes().startswith(b"\x89PNG")
    assert list(tmp_path.iterdir()) == [tmp_path / "x.png"]


def test_several_outputs_are_too_many_for_stdout_and_are_kept(invoke, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    result = invoke("run", "emulator.bytes.v1", "-c", "size=3", "-c", "outputs=2", "-o", "-", "--emulator")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "2 outputs came, and -o - takes one: kept as " in result.stderr
    assert [path.stat().st_size for path in tmp_path.glob("*/*")] == [3, 3]


@pytest.mark.parametrize(("broken", "code"), [("no reader", 141), ("/dev/full", 1)])
def test_an_output_that_stdout_does_not_take_is_kept(start, tmp_path, environment, broken, code):
    environment["TMPDIR"] = str(tmp_path)
    if broken == "no reader":
        reading, stream = os.pipe()
        os.close(reading)
    else:
        stream = os.open(broken, os.O_WRONLY)
    process = start("run", "emulator.bytes.v1", "-c", "size=3", "-o", "-", "--emulator", stdout=stream)
    os.close(stream)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == code
    [kept] = tmp_path.glob("*/*")
    assert kept.stat().st_size == 3
    assert f"standard output did not take the output: kept as {kept}\n" in stderr


def test_senseless_stdout_is_refused_before_a_job_is_paid(start):
    job = ["run", "emulator.bytes.v1", "-o", "-", "--emulator"]
    both = start(*job, "--json")
    assert "and so does --json" in both.communicate(timeout=60)[1]
    closed = start(*job, shell_code=f'exec {sys.executable} -m prodia_async "$@" >&-')
    assert "which is closed" in closed.communicate(timeout=60)[1]
    ours, theirs = pty.openpty()
    terminal = start(*job, stdout=theirs)
    os.close(theirs)
    assert "binary data to the terminal" in terminal.communicate(timeout=60)[1]
    os.close(ours)
    assert [process.returncode for process in (both, closed, terminal)] == [2, 2, 2]


@pytest.mark.parametrize("how", [["-i", "-"], ["-c", "image=@-"]])
@pytest.mark.parametrize("source", ["pipe", "file"])
def test_standard_input_is_an_input(start, tmp_path, how, source):
    words = ["run", "emulator.echo.v1", *how, "-o", "out.png", "--json", "--emulator"]
    words += ["-c", 'emulator={"shed": 1, "retry_after": 0.01}']  # it is sent twice
    (tmp_path / "in").write_bytes(PNG)
    shell_code = f'{"cat in |" if source == "pipe" else "<in"} {sys.executable} -m prodia_async "$@"'
    process = start(*words, shell_code=shell_code)
    stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == 0, stderr
    assert json.loads(stdout)["job"]["config"].get("image", "input.png") == "input.png"
    assert (tmp_path / "out.png").read_bytes() == PNG


@pytest.mark.parametrize(
    "words",
    [
        ["run", "t", "-i", "-", "-i", "-"],
        ["run", "t", "-i", "-", "-c", "prompt=@-"],
        ["run", "t", "-c", "image=@-", "-c", "mask=@-"],
        ["run", "t", "--config", "-", "-i", "-"],
        ["batch", "-", "--check", "-c", "prompt=@-"],
    ],
    ids=" ".join,
)
def test_standard_input_is_read_once(invoke, words):
    result = invoke(*words, input="{}")
    assert result.exit_code == 2
    assert "can be read once" in result.stderr


def test_a_prompt_from_standard_input(invoke):
    result = invoke("run", "emulator.echo.v1", "-c", "prompt=@-", "--json", "--emulator", input="1984\n")
    assert json.loads(result.stdout)["job"]["config"] == {"prompt": "1984"}
    empty = invoke("run", "emulator.echo.v1", "-i", "-", "--emulator", input="")
    assert (empty.exit_code, "standard input is empty" in empty.stderr) == (2, True)


@pytest.mark.parametrize(
    ("pair", "said"),
    [
        ("prompt=@", "names no file"),
        ("prompt=@alice smiles", "a text that begins with @ is written @@alice smiles"),
        ("prompt=@.", "Is a directory"),
        ("prompt=@in.png", "is not text in UTF-8"),
        ("lyrics=@wide.txt", "is not text in UTF-8"),
        ("lyrics=@long.txt", "more than 1 MiB"),
        ("a:={", "'{' is not JSON"),
        ("a:=NaN", "is not JSON"),
        ("a:=@in.png", "is not text in UTF-8"),
        (":=1", "is not KEY=VALUE"),
        ("=1", "is not KEY=VALUE"),
        ("novalue", "is not KEY=VALUE"),
    ],
)
def test_what_a_value_cannot_be(invoke, tmp_path, pair, said):
    (tmp_path / "in.png").write_bytes(PNG)
    (tmp_path / "wide.txt").write_text("wide", encoding="utf-16")
    (tmp_path / "long.txt").write_text("x" * (1 << 20) + "x")
    result = invoke("run", "t", "-c", pair, "--emulator")
    assert (result.exit_code, result.stdout) == (2, "")
    assert said in result.stderr
