"""Inputs that are refused before anything is sent, or found to have changed while it was."""

import io
import os
from pathlib import Path

import pytest
from files.readings import PNG, drain, prepare, read, read_all
from files.steps import descriptors

from prodia_async._errors import InputError
from prodia_async._files.inputs import examined, listed


@pytest.fixture
def photo(tmp_path):
    path = tmp_path / "photo.png"
    path.write_bytes(PNG)
    return path


def write_only(folder):
    return (folder / "w").open("wb")


def closed(folder):
    file = (folder / "photo.png").open("rb")
    file.close()
    return file


def released(folder):
    view = memoryview(b"x")
    view.release()
    return ("x", view)


def fifo(folder):
    os.mkfifo(folder / "fifo")
    return folder / "fifo"


class Textual:
    """Reads text, although nothing says so."""

    def tell(self):
        return 0

    def seek(self, *_):
        return 5

    def read(self, *_):
        return "text"


class Broken:
    def tell(self):
        raise RuntimeError("no position today")

    def read(self, *_):
        return b""


class BytesPath:
    def __fspath__(self):
        return b"photo.png"


class AsyncFile:
    async def read(self, size=-1):
        return b""


BAD = {
    "missing": (lambda folder: folder / "none.png", r"input 1: '.*none.png' cannot be read: No such file"),
    "folder": (lambda folder: folder, "is a folder"),
    "fifo": (fifo, "not a regular file"),
    "empty path": (lambda folder: "", "no path"),
    "NUL in a path": (lambda folder: "a\0b", "control"),
    "NUL in a folder": (lambda folder: "a\0b/x.png", "null"),
    "bytes path": (lambda folder: BytesPath(), "no path"),
    "number": (lambda folder: 7, "input 1 is int: pass a path, bytes"),
    "None": (lambda folder: None, "NoneType"),
    "list": (lambda folder: [b"x"], "is list"),
    "sync iterator": (lambda folder: iter([b"x"]), "iterator: pass"),
    "tuple of one": (lambda folder: ("x",), "tuple of 1"),
    "tuple of four": (lambda folder: ("x", b"", None, 1), "tuple of 4"),
    "no name": (lambda folder: ("", b""), "no file name"),
    "name of bytes": (lambda folder: (b"x", b""), "no file name"),
    "name with a directory": (lambda folder: ("a/b.png", b""), "a/b.png"),
    "name with a line end": (lambda folder: ("a\r\nb", b""), "control"),
    "name with NUL": (lambda folder: ("a\0b", b""), "control"),
    "name of no text": (lambda folder: ("\ud800", b""), "Unicode"),
    "text content": (lambda folder: ("x.txt", "some text"), "content is text"),
    "bad type": (lambda folder: ("x", b"", "png"), "no media type"),
    "type with a line end": (lambda folder: ("x", b"", "image/png\r\nX: y"), "no media type"),
    "type of bytes": (lambda folder: ("x", b"", b"image/png"), "no media type"),
    "text file": (lambda folder: io.StringIO("x"), "text mode"),
    "reads text": (lambda folder: Textual(), "gives str"),
    "broken": (lambda folder: Broken(), "no position today"),
    "async file": (lambda folder: AsyncFile(), "async file"),
    "write only": (write_only, "writing only"),
    "closed": (closed, "closed file"),
    "released": (released, "released"),
}


@pytest.mark.parametrize("what", BAD)
async def test_bad_inputs_are_told_before_anything_is_sent(what, photo):
    make, message = BAD[what]
    given = make(photo.parent)
    with pytest.raises(InputError, match=message) as caught:
        await read_all([given])
    assert "input" in str(caught.value) or "name" in str(caught.value)
    assert not caught.value.may_have_run
    if hasattr(given, "close"):
        given.close()


@pytest.mark.parametrize("kind", ["", "png", "image/png\r\nX: y", "image/pñg", "image/png; a=\n"])
def test_a_media_type_that_would_break_the_request_is_refused(kind):
    with pytest.raises(InputError, match="media type"):
        listed([("a.png", b"", kind)])


ADDRESSES = [
    "data:image/png;base64," + "QUJD" * 100_000,
    "data:,x",
    "DATA:text/plain,x",
    "http://pictures.invalid/cat.jpg",
    "https://pictures.invalid/cat.jpg?size=2#top",
    " https://pictures.invalid/cat.jpg",
    "HTTPS://PICTURES.INVALID/cat.jpg",
    "hdfs://host/cat.jpg",
    "webdav://host/cat.jpg",
    "swift://container/cat.jpg",
    "abfss://container@account/cat.jpg",
    "ftp://host/cat.jpg",
    "smb://host/cat.jpg",
    "file:/tmp/cat.jpg",
    "hf+x-1.0://datasets/cat.jpg",
    Path("https://pictures.invalid/cat.jpg"),
    Path("s3://bucket/cat.jpg"),
    ("a.png", Path("data:image/png;base64,QUJD")),
]


@pytest.mark.parametrize("given", ADDRESSES)
def test_an_address_is_no_path(given):
    with pytest.raises(InputError, match="is an address, not a path: fetch or decode it") as caught:
        listed([given])
    assert len(str(caught.value)) < 400
    shown = str(given[1] if isinstance(given, tuple) else given)
    assert shown[:100] in str(caught.value)


@pytest.mark.parametrize(
    "name", ["database.png", "http.png", "a:b.png", "c:", "data", "x/data:y.png", "1://x.png"]
)
async def test_what_looks_like_an_address_and_is_none(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path(name).parent.mkdir(exist_ok=True)
    Path(name).write_bytes(b"x")
    assert await read_all([name]) == await read_all([Path(name)]) == [b"x"]


LONG = "x" * 100_000
TOO_LONG = {
    "path": lambda: LONG,
    "path with slashes": lambda: f"{LONG}/{LONG}.png",
    "pathlike": lambda: Path(LONG),
    "path with a control character": lambda: f"{LONG}\n",
    "media type": lambda: ("a.png", b"", LONG),
    "name with a slash": lambda: (f"{LONG}/a", b""),
    "name with NUL": lambda: (f"{LONG}\0", b""),
    "name of bytes": lambda: (LONG.encode(), b""),
    "no text": lambda: (LONG + "\ud800", b""),
    "name of a list": lambda: ([LONG], b""),
    "name of a released view": lambda: (LONG, released(None)[1]),
    "name of a file at its end": lambda: (LONG, at_its_end()),
    "failing": lambda: (LONG, Failing()),
}


def at_its_end():
    file = io.BytesIO(b"x")
    file.seek(1)
    return file


class Failing(io.BytesIO):
    def tell(self):
        raise RuntimeError(LONG)


@pytest.mark.parametrize("what", TOO_LONG)
async def test_at_most_200_characters_of_a_text_are_repeated(what):
    with pytest.raises(InputError) as caught:
        await read_all([TOO_LONG[what]()])
    assert str(caught.value).count("x") <= 420  # a name, and a reason
    assert len(str(caught.value)) < 600


async def test_two_long_names_that_are_the_same():
    with pytest.raises(InputError, match="are both named 'xxx") as caught:
        await prepare([(LONG, b""), (LONG, b"")])
    assert len(str(caught.value)) < 400


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may read everything")
async def test_a_file_without_permission(photo):
    photo.chmod(0)
    with pytest.raises(InputError, match="Permission denied"):
        await prepare([photo])


AT_THE_DOOR = [
    what
    for what in BAD
    if what not in ("missing", "folder", "fifo", "reads text", "broken", "NUL in a folder")
]


@pytest.mark.parametrize("what", AT_THE_DOOR)
def test_what_is_no_input_is_told_without_a_loop_or_a_disk(what, photo):
    make, message = BAD[what]
    given = make(photo.parent)
    with pytest.raises(InputError, match=message):
        listed([given])
    if hasattr(given, "close"):
        given.close()


async def test_what_was_given_is_fixed(photo, monkeypatch):
    monkeypatch.chdir(photo.parent)
    inputs = ["photo.png", "gone/../none.png"]
    first, second = listed(inputs)
    inputs.clear()
    monkeypatch.chdir("/")
    (source,) = await examined([first])
    assert (source.filename, b"".join(await read(source))) == ("photo.png", PNG)
    with pytest.raises(InputError, match=r"input 2: 'gone/\.\./none\.png' cannot be read: No such file"):
        await examined([second])


@pytest.mark.skipif(os.name == "nt", reason="a folder in use stays there")
def test_a_relative_path_in_a_folder_that_is_gone(tmp_path, monkeypatch):
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    with pytest.raises(InputError, match=r"input 1: 'photo\.png' cannot be read: No such file"):
        listed(["photo.png"])


@pytest.mark.parametrize(
    "inputs",
    ["photo.png", b"x", Path("x"), 7, None, io.BytesIO(b"one\ntwo\n"), {"photo.png": b"x"}],
    ids=lambda inputs: type(inputs).__name__,
)
async def test_inputs_must_be_a_list(inputs):
    with pytest.raises(InputError, match="pass a list"):
        await prepare(inputs)


@pytest.mark.parametrize("change", [PNG[:-1], PNG + b"x", b"", PNG[:-1] + b"!"])
async def test_a_file_that_changed_before_an_attempt(change, photo):
    (source,) = await prepare([photo])
    assert b"".join(await read(source)) == PNG
    photo.write_bytes(change)
    os.utime(photo, ns=(1, 1))
    before = descriptors()
    with pytest.raises(InputError, match=r"'photo.png' changed while it was sent"):
        await read(source)
    assert descriptors() == before


@pytest.mark.parametrize("size", [600_000, 2_000_000, 9_000_000])
@pytest.mark.parametrize("opened", [False, True])
async def test_a_file_that_shrinks_or_grows_while_it_is_sent(size, opened, photo):
    content = PNG * 5
    photo.write_bytes(content)
    with photo.open("rb") as file:
        (source,) = await prepare([file if opened else photo])
        reader = source.open()
        sent = bytearray(await reader.read())
        os.truncate(photo, size)
        with pytest.raises(InputError, match="changed while it was sent"):
            await drain(reader, sent)
        assert len(sent) < len(content) < 9_000_000
        assert await reader.read() == b""
        await reader.close()


async def test_an_open_file_that_was_rewritten(photo):
    with photo.open("rb") as file:
        (source,) = await prepare([file])
        os.utime(photo, ns=(1, 1))
        with pytest.raises(InputError, match="changed"):
            await read(source)


async def test_bytes_that_changed(photo):
    data, view = bytearray(b"x" * 10), memoryview(b"x")
    first, second = await prepare([("a", data), ("b", view)])
    data.append(1)
    view.release()
    with pytest.raises(InputError, match="'a' changed"):
        await read(first)
    await read(second)


async def test_a_file_that_vanished(photo):
    (source,) = await prepare([photo])
    photo.unlink()
    with pytest.raises(InputError, match="could not be read") as caught:
        await read(source)
    assert isinstance(caught.value.__cause__, FileNotFoundError)


async def test_an_open_file_that_was_closed(photo):
    with photo.open("rb") as file:
        (source,) = await prepare([file])
    with pytest.raises(InputError, match="closed file") as caught:
        await read(source)
    assert isinstance(caught.value.__cause__, ValueError)
