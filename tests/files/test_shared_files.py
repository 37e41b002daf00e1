"""One open file as the input of several jobs at once: each reads its own bytes, wherever the others are."""

import asyncio
import bz2
import gzip
import io
import os
import tempfile
import threading
import zipfile

import pytest
from files.readings import PNG, prepare, read
from files.steps import descriptors
from support.expect import until

from prodia_async._errors import InputError
from prodia_async._files.readers import _places

DATA = os.urandom(3 * 512 * 1024 + 17)
AT_ONCE = 40


class Slotted:
    """No file of Python's own, and nothing can refer to it weakly."""

    __slots__ = ("_file",)

    def __init__(self, path):
        self._file = path.open("rb")

    def read(self, size):
        return self._file.read(size)

    def seek(self, *place):
        return self._file.seek(*place)

    def tell(self):
        return self._file.tell()

    def close(self):
        self._file.close()


def zipped(path):
    with zipfile.ZipFile(path.with_suffix(".zip"), "w", zipfile.ZIP_STORED) as archive:
        archive.write(path, "in.bin")
    return zipfile.ZipFile(path.with_suffix(".zip")).open("in.bin")


def packed(module):
    def make(path):
        other = path.with_suffix(".packed")
        with module.open(other, "wb", 1) as file:
            file.write(DATA)
        return module.open(other, "rb")

    return make


def for_update(path):
    """A file with bytes that no descriptor knows of yet."""
    file = path.open("r+b")
    file.seek(0)
    file.write(DATA[:100])
    file.seek(0)
    return file


def spooled(path):
    file = tempfile.SpooledTemporaryFile(max_size=1 << 30)  # noqa: SIM115 - each test closes what it got
    file.write(path.read_bytes())
    file.seek(0)
    return file


FILES = {
    "buffered": lambda path: path.open("rb"),
    "raw": lambda path: path.open("rb", buffering=0),
    "for update": for_update,
    "BytesIO": lambda path: io.BytesIO(path.read_bytes()),
    "SpooledTemporaryFile": spooled,
    "own class": Slotted,
    "gzip": packed(gzip),
    "bz2": packed(bz2),
    "zip": zipped,
}


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "in.bin"
    path.write_bytes(DATA)
    return path


async def whole(given):
    (source,) = await prepare([("in.bin", given)])
    try:
        return b"".join(await read(source))
    finally:
        await source.aclose()


@pytest.mark.parametrize("begin", [0, 1000])
@pytest.mark.parametrize("form", FILES)
async def test_jobs_at_once_read_the_same_of_one_file(form, begin, path):
    file = FILES[form](path)
    file.seek(begin)
    count = 4 if form in ("gzip", "bz2", "zip") else AT_ONCE
    for _ in range(2):
        contents = await asyncio.gather(*(whole(file) for _ in range(count)))
        assert all(content == DATA[begin:] for content in contents)
        assert file.tell() == begin
    file.close()


@pytest.mark.parametrize("form", FILES)
async def test_a_job_that_begins_later_reads_from_where_the_file_was_given(form, path):
    """While another job reads, the position is that job's."""
    file = FILES[form](path)
    file.seek(1000)
    (first,) = await prepare([("in.bin", file)])
    reader = first.open()
    begun = await reader.read()
    for _ in range(3):
        assert await whole(file) == DATA[1000:]
    rest = [block async for block in blocks(reader)]
    assert begun + b"".join(rest) == DATA[1000:]
    assert file.tell() == 1000
    file.close()


async def blocks(reader):
    while block := await reader.read():
        yield block
    await reader.close()


@pytest.mark.parametrize("form", FILES)
async def test_a_position_that_the_user_moves_between_two_jobs_counts(form, path):
    file = FILES[form](path)
    (first,) = await prepare([("in.bin", file)])
    assert b"".join(await read(first)) == DATA
    file.seek(500)
    (second,) = await prepare([("in.bin", file)])
    assert b"".join(await read(second)) == DATA[500:]
    assert b"".join(await read(first)) == DATA
    assert file.tell() == 500
    file.close()


@pytest.mark.parametrize("form", ["buffered", "BytesIO"])
def test_event_loops_in_several_threads_share_one_file(form, path):
    file = FILES[form](path)
    contents = []

    async def several():
        contents.extend(await asyncio.gather(*(whole(file) for _ in range(8))))

    threads = [threading.Thread(target=asyncio.run, args=(several(),)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [content == DATA for content in contents] == [True] * 32
    file.close()


class Turned(io.BufferedReader):
    """Gives other bytes than its descriptor."""

    def read(self, size=-1):
        return super().read(size)[::-1]


class TurnedRaw(io.FileIO):
    def read(self, size=-1):
        return super().read(size)[::-1]


@pytest.mark.parametrize("make", [lambda path: Turned(io.FileIO(path)), TurnedRaw])
async def test_what_gives_other_bytes_than_its_descriptor_is_read_by_its_own_read(make, path):
    path.write_bytes(PNG[:300])
    with make(path) as file:
        assert await whole(file) == PNG[:300][::-1]


async def test_a_real_file_is_read_without_being_moved(path):
    with path.open("rb") as file:
        (source,) = await prepare([file])
        reader = source.open()
        await reader.read()
        assert file.tell() == 0
        file.seek(77)  # it is the user's
        assert len(b"".join([block async for block in blocks(reader)])) == len(DATA) - 512 * 1024
        assert file.tell() == 77


async def test_a_real_file_that_is_closed_while_it_is_sent_is_read_to_its_end(path):
    """Its number may be another file's by then."""
    before = descriptors()
    file = path.open("rb")
    (source,) = await prepare([file])
    reader = source.open()
    begun = await reader.read()
    number = file.fileno()
    file.close()
    with path.with_suffix(".other").open("wb+") as other:
        other.write(b"x" * len(DATA))
        assert other.fileno() == number
        assert begun + b"".join([block async for block in blocks(reader)]) == DATA
    with pytest.raises(InputError, match="closed file"):
        await read(source)
    assert descriptors() == before


@pytest.mark.parametrize("form", ["own class", "BytesIO"])
async def test_a_file_that_is_read_no_more_is_let_go(form, path):
    """Nothing keeps it once the last source is gone, though it may take no weak reference."""
    file = FILES[form](path)
    (source,) = await prepare([("in.bin", file)])
    assert id(file) in _places
    await read(source)
    del source
    await until(lambda: id(file) not in _places)  # a worker thread may still be on its way back
    if form == "own class":
        file.close()
