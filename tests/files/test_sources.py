"""Every form of input, the checks before sending, and reading it again and again."""

import array
import asyncio
import ctypes
import io
import mmap
import tempfile

import pytest
from files.readings import PNG, Iterable, items, prepare, read, read_all
from files.steps import cancelled_at, descriptors

from prodia_async._errors import InputError
from prodia_async._files.threads import hop

JPEG = b"\xff\xd8\xff\xe0 and more"


@pytest.fixture
def photo(tmp_path):
    path = tmp_path / "photo.png"
    path.write_bytes(PNG)
    return path


class PathLike:
    def __init__(self, path):
        self.path = path

    def __fspath__(self):
        return str(self.path)


FORMS = {
    "path": lambda path: path,
    "str": str,
    "pathlike": PathLike,
    "bytes": lambda path: ("photo.png", PNG),
    "bytearray": lambda path: ("photo.png", bytearray(PNG)),
    "memoryview": lambda path: ("photo.png", memoryview(PNG)),
    "wide memoryview": lambda path: ("photo.png", memoryview(PNG).cast("i")),
    "memoryview with steps": lambda path: ("photo.png", memoryview(bytes(b for b in PNG for _ in "12"))[::2]),
    "path with a name": lambda path: ("photo.png", path),
    "with a type": lambda path: ("photo.png", PNG, "image/png"),
    "type is None": lambda path: ("photo.png", PNG, None),
    "open file": lambda path: path.open("rb"),
    "raw file": lambda path: path.open("rb", buffering=0),
    "file for update": lambda path: path.open("r+b"),
    "BytesIO": lambda path: ("photo.png", io.BytesIO(PNG)),
    "unlinked file": lambda path: ("photo.png", temporary(PNG)),
    "spooled file": lambda path: ("photo.png", temporary(PNG, tempfile.SpooledTemporaryFile)),
    "mmap": lambda path: ("photo.png", mapped(PNG)),
}


def temporary(data, make=tempfile.TemporaryFile):
    file = make()
    file.write(data)
    file.seek(0)
    return file


def mapped(data):
    area = mmap.mmap(-1, len(data))
    area.write(data)
    area.seek(0)
    return area


@pytest.mark.parametrize("form", FORMS)
async def test_each_form_is_sent_three_times_the_same(form, photo):
    given = FORMS[form](photo)
    content = given[1] if isinstance(given, tuple) else given
    before = descriptors()
    (source,) = await prepare([given])
    assert (source.filename, source.content_type, source.size) == ("photo.png", "image/png", len(PNG))
    assert source.replayable
    for _ in range(3):
        blocks = await read(source)
        assert b"".join(blocks) == PNG
        assert all(type(block) is bytes and len(block) <= 512 * 1024 for block in blocks)
    await source.aclose()
    assert descriptors() == before
    if hasattr(content, "close"):
        assert not getattr(content, "closed", False)
        content.close()


class Odd(bytes):
    """Bytes that say something else when they are asked."""

    def __len__(self):
        return 1

    def __getitem__(self, key):
        return "?"


class OddArray(bytearray):
    __len__, __getitem__ = Odd.__len__, Odd.__getitem__


@pytest.mark.parametrize("kind", [Odd, OddArray])
async def test_a_class_of_bytes_is_its_bytes(kind):
    assert await read_all([("a.bin", kind(b"abc"))]) == [b"abc"]


class Point(ctypes.Structure):
    _fields_ = (("x", ctypes.c_int32), ("y", ctypes.c_float))


VIEWS = {
    "of bytes": lambda: memoryview(b"abcdef"),
    "of a bytearray": lambda: memoryview(bytearray(b"abcdef")),
    "of an array": lambda: memoryview(array.array("d", [0.5, 2])),
    "of BytesIO": lambda: io.BytesIO(b"abcdef").getbuffer(),
    "of two dimensions": lambda: memoryview(b"abcdef").cast("B", (2, 3)),
    "of ints": lambda: memoryview(b"abcdefgh").cast("i"),
    "of chars": lambda: memoryview(b"abcdef").cast("c"),
    "of bools": lambda: memoryview(b"\0\1").cast("?"),
    "with steps": lambda: memoryview(b"abcdef")[::2],
    "backwards": lambda: memoryview(b"abcdef")[::-1],
    "of every second int": lambda: memoryview(b"abcdefgh").cast("h")[::2],
    "of nothing": lambda: memoryview(b""),
    "of an empty slice": lambda: memoryview(b"abcdef")[3:3],
    "of shape (0, 3)": lambda: memoryview(((ctypes.c_ubyte * 3) * 0)()),
    "of shape (3, 0)": lambda: memoryview(((ctypes.c_ubyte * 0) * 3)()),
    "of C ints": lambda: memoryview((ctypes.c_int * 3)(1, 2, 3)),
    "of a C structure": lambda: memoryview((Point * 2)(Point(1, 2), Point(3, 4))),
    "of one C double": lambda: memoryview(ctypes.c_double(0.5)),
    "read only": lambda: memoryview(bytearray(b"abcdef")).toreadonly(),
}


@pytest.mark.parametrize("kind", VIEWS)
async def test_any_memoryview_is_its_bytes(kind):
    view = VIEWS[kind]()
    (source,) = await prepare([("a.bin", view)])
    assert source.size == len(view.tobytes())
    assert b"".join(await read(source)) == view.tobytes()


@pytest.mark.parametrize("kind", VIEWS)
async def test_a_memoryview_that_was_released_is_refused(kind):
    view = VIEWS[kind]()
    view.release()
    with pytest.raises(InputError, match="released"):
        await prepare([("a.bin", view)])


@pytest.mark.parametrize("given", [b"", ("x", bytearray()), io.BytesIO(), ("x", Iterable())])
async def test_nothing_is_an_input_too(given):
    (source,) = await prepare([given], spool=True)
    assert source.size == 0
    assert await read(source) == []
    await source.aclose()


async def test_an_empty_file(tmp_path):
    (tmp_path / "x.txt").write_bytes(b"")
    (source,) = await prepare([tmp_path / "x.txt"])
    assert (source.size, await read(source), await read(source)) == (0, [], [])


async def test_an_open_file_is_read_from_its_present_position(photo):
    with photo.open("rb") as file:
        file.seek(1000)
        (source,) = await prepare([file])
        assert source.size == len(PNG) - 1000
        for _ in range(2):
            assert b"".join(await read(source)) == PNG[1000:]
        for beyond in (0, 5):
            file.seek(len(PNG) + beyond)
            with pytest.raises(InputError, match=r"'beyond' stands at its end: seek\(0\)"):
                await prepare([("beyond", file)])


async def test_two_attempts_at_once_read_one_open_file(photo):
    with photo.open("rb") as file:
        (source,) = await prepare([file])
        for blocks in await asyncio.gather(*(read(source) for _ in range(4))):
            assert b"".join(blocks) == PNG


async def test_types_come_from_the_first_bytes_of_the_kind_that_the_name_tells(tmp_path):
    (tmp_path / "a.jpg").write_bytes(PNG)
    (tmp_path / "plain").write_bytes(JPEG)
    given = [
        tmp_path / "a.jpg",
        tmp_path / "plain",
        ("b", io.BytesIO(PNG)),
        ("c.webp", b""),
        ("d", b"?"),
        ("e.png", b"", "text/plain; charset=utf-8"),
        ("f", items()),
        ("g.jpg", items(PNG)),
        ("h.png", JPEG, "image/png"),
        ("i.txt", PNG),
    ]
    assert [source.content_type for source in await prepare(given)] == [
        "image/png",
        "image/jpeg",
        "image/png",
        "image/webp",
        "application/octet-stream",
        "text/plain; charset=utf-8",
        "application/octet-stream",
        "image/jpeg",
        "image/png",
        "text/plain",
    ]


async def test_what_has_no_name_gets_one():
    given = [PNG, ("input-2.jpg", b""), JPEG, items(), io.BytesIO(PNG)]
    assert [source.filename for source in await prepare(given)] == [
        "input.png",
        "input-2.jpg",
        "input-3.jpg",
        "input-3.bin",
        "input-4.png",
    ]


async def test_what_has_no_name_gets_one_of_its_own():
    sources = await prepare([("input-2.jpg", b""), JPEG, JPEG, JPEG])
    assert [source.filename for source in sources] == [
        "input-2.jpg",
        "input.jpg",
        "input-3.jpg",
        "input-4.jpg",
    ]


async def test_only_base_names_go_out(photo, monkeypatch):
    monkeypatch.chdir(photo.parent)
    for given in (photo, "photo.png", "./photo.png", photo.open("rb")):
        (source,) = await prepare([given])
        assert source.filename == "photo.png"
        if hasattr(given, "close"):
            given.close()


async def test_hard_names_go_out_as_they_are(tmp_path):
    hard = ["a b.png", "é.png", "日本.png", 'a"b.png', "a\\b.png", "100%25.png", "a;b.png", "+.png"]
    for name in hard:
        (tmp_path / name).write_bytes(b"x")
    assert [source.filename for source in await prepare([tmp_path / name for name in hard])] == hard
    assert [source.filename for source in await prepare([(name, b"x") for name in hard])] == hard


async def test_no_inputs():
    assert await prepare([]) == []
    assert await prepare(()) == []


async def test_two_inputs_of_one_name_are_refused(photo):
    with pytest.raises(InputError, match=r"input 1 and input 3 are both named 'photo\.png'"):
        await prepare([photo, ("x", b""), ("photo.png", b"")])


@pytest.mark.parametrize("opened", [False, True])
@pytest.mark.parametrize("way", ["native", "twice", "scope"])
async def test_cancelled_reading_leaves_no_descriptor(opened, way, photo):
    await hop(int)
    with photo.open("rb") as file:
        before = descriptors()

        async def action():
            (source,) = await prepare([file if opened else photo])
            try:
                await read(source)
            finally:
                await source.aclose()

        ends = {await cancelled_at(step, action, way=way) for step in range(0, 60, 2)}
        assert descriptors() == before
        assert True in ends
        (source,) = await prepare([("again", file) if opened else photo])
        assert b"".join(await read(source)).endswith(PNG[-1000:])


async def test_a_cancelled_read_leaves_no_descriptor_even_before_it_is_closed(photo):
    await hop(int)
    before = descriptors()
    for step in range(0, 40, 2):
        (source,) = await prepare([photo])
        reader = source.open()
        if not await cancelled_at(step, reader.read):
            await reader.close()
        assert descriptors() == before


class Unseekable(io.BytesIO):
    def seekable(self):
        return False


async def test_a_file_that_cannot_seek_is_sent_once():
    (source,) = await prepare([Unseekable(PNG)])
    assert (source.size, source.replayable) == (None, False)
    assert b"".join(await read(source)) == PNG


async def test_a_block_that_was_asked_for_too_late(photo):
    (source,) = await prepare([photo])
    before = descriptors()
    reader = source.open()
    await reader.close()
    assert await reader.read() == b""
    assert descriptors() == before


async def test_a_spooled_file_of_the_users_stays_in_memory():
    file = temporary(PNG, tempfile.SpooledTemporaryFile)
    before = descriptors()
    assert await read_all([file]) == [PNG]
    assert descriptors() == before
    file.close()


async def test_a_job_that_is_run_again_sends_an_open_file_again(photo):
    with photo.open("rb") as file:
        file.seek(5)
        assert await read_all([file]) == await read_all([file]) == [PNG[5:]]
        assert file.tell() == 5


async def test_a_reading_that_is_given_up_leaves_no_descriptor(photo):
    (source,) = await prepare([photo])
    before = descriptors()
    for blocks in range(4):
        reader = source.open()
        for _ in range(blocks):
            await reader.read()
        await reader.close()
        assert descriptors() == before
        assert await reader.read() == b""
