"""A file object is what its methods say, of whatever kind it is."""

# ruff: noqa: SIM115 - the opener closes them

import asyncio
import codecs
import contextlib
import io
import mmap
import os
import subprocess
import sys
import tempfile

import pytest
from files.opened import AGAIN, CONTENT, ONCE, Opener, Reading, Seeking, upload
from files.readings import prepare, read
from files.steps import descriptors
from support.processes import complaints

from prodia_async._errors import InputError


@pytest.fixture
def opener(tmp_path):
    opener = Opener(tmp_path)
    with opener.stack:
        yield opener


@pytest.mark.parametrize("kind", AGAIN)
async def test_what_has_a_position_is_read_again_and_again(kind, opener):
    file = AGAIN[kind](opener)
    (source,) = await prepare([("a.jpg", file)])
    assert (source.size, source.replayable, source.content_type) == (len(CONTENT), True, "image/png")
    for _ in range(2):
        assert b"".join(await asyncio.wait_for(read(source), 60)) == CONTENT
    assert file.tell() == 0


@pytest.mark.parametrize("kind", ["mmap", "SpooledTemporaryFile in memory", "gzip", "member of a tar", "raw"])
async def test_what_stands_in_its_middle_is_read_from_there(kind, opener):
    file = AGAIN[kind](opener)
    file.seek(100)
    (source,) = await prepare([file])
    assert b"".join(await read(source)) == CONTENT[100:]
    assert file.tell() == 100


@pytest.mark.parametrize("spool", [False, True])
@pytest.mark.parametrize("kind", ONCE)
async def test_what_has_none_is_read_once(kind, spool, opener):
    (source,) = await asyncio.wait_for(prepare([("a.jpg", ONCE[kind](opener))], spool=spool), 60)
    try:
        assert source.replayable is spool
        assert source.content_type == ("image/png" if spool else "image/jpeg")
        assert b"".join(await asyncio.wait_for(read(source), 60)) == CONTENT
    finally:
        await source.aclose()


AT_THE_END = {
    "BytesIO": io.BytesIO,
    "NamedTemporaryFile": tempfile.NamedTemporaryFile,
    "TemporaryFile": tempfile.TemporaryFile,
    "SpooledTemporaryFile in memory": tempfile.SpooledTemporaryFile,
    "SpooledTemporaryFile on disk": lambda: tempfile.SpooledTemporaryFile(1),
    "raw temporary file": lambda: tempfile.TemporaryFile(buffering=0),
    "mmap": lambda: mmap.mmap(-1, 9),
    "upload": lambda: upload(io.BytesIO()).file,
}


@pytest.mark.parametrize("form", [lambda file: file, lambda file: ("a.png", file)])
@pytest.mark.parametrize("kind", AT_THE_END)
async def test_what_was_written_just_now_is_refused_until_it_goes_back(kind, form):
    with contextlib.closing(AT_THE_END[kind]()) as file:
        if kind != "mmap":
            (source,) = await prepare([form(file)])
            assert (source.size, await read(source)) == (0, [])
        file.write(b"x" * 9)
        with pytest.raises(InputError, match=r"stands at its end: seek\(0\)"):
            await prepare([form(file)])
        assert file.tell() == 9
        file.seek(0)
        (source,) = await prepare([form(file)])
        assert await read(source) == [b"x" * 9]


@pytest.mark.parametrize(
    "kind",
    ["buffered", "raw", "gzip", "lzma", "stored member of a zip", "member of a tar", "file: of urllib"],
)
async def test_what_was_read_to_its_end_is_refused(kind, opener):
    file = AGAIN[kind](opener)
    file.read()
    with pytest.raises(InputError, match=r"seek\(0\)"):
        await prepare([("a.png", file)])


def text_member(opener):
    return opener.kept(io.TextIOWrapper(AGAIN["stored member of a zip"](opener)))


class NoSize(Reading):
    def read(self):
        return b"all"


REFUSED = {
    "text": (lambda opener: opener.kept(opener.path.open(encoding="latin-1")), "text mode"),
    "StringIO": (lambda opener: io.StringIO("x"), "text mode"),
    "text of a pipe": (lambda opener: opener.kept(io.TextIOWrapper(opener.pipe())), "text mode"),
    "text of a zip": (text_member, "text mode"),
    "text of a temporary file": (lambda opener: opener.kept(tempfile.NamedTemporaryFile("w+")), "gives str"),
    "text of a spooled file": (
        lambda opener: opener.kept(tempfile.SpooledTemporaryFile(mode="w+")),
        "gives str",
    ),
    "codecs": (lambda opener: opener.kept(codecs.open(str(opener.path), "rb", "latin-1")), "gives str"),
    "gives text": (lambda _: Seeking(str), "gives str"),
    "gives numbers": (lambda _: Seeking(len), "gives int"),
    "gives nothing yet": (lambda _: Seeking(lambda _: None), "gave nothing yet"),
    "gives a list": (lambda _: Seeking(list), "gives list"),
    "read() takes no size": (lambda _: NoSize(), "takes no size"),
    "async upload": (lambda _: upload(io.BytesIO(b"x")), "async file"),
    "for writing": (lambda opener: opener.kept((opener.folder / "w").open("wb")), "writing only"),
    "raw, for writing": (lambda opener: opener.kept((opener.folder / "w").open("wb", 0)), "writing only"),
    "no size of its own": (lambda opener: opener.kept(open("/proc/self/status", "rb")), "than its size says"),
}


@pytest.mark.parametrize("kind", REFUSED)
async def test_what_cannot_be_sent_is_refused_before_anything_is(kind, opener):
    make, message = REFUSED[kind]
    with pytest.raises(InputError, match=message):
        await prepare([("a.png", make(opener))])


@pytest.mark.parametrize("give", [str, len, lambda _: None, list])
async def test_what_is_read_once_and_gives_no_bytes_is_told_of(give):
    (source,) = await prepare([("a.png", Reading(give))])
    with pytest.raises(
        InputError, match=r"'a\.png' gave nothing yet|gives (str|int|list) where bytes are needed"
    ):
        await read(source)


@pytest.mark.parametrize(
    "kind", ["response", "response of urllib", "response of requests", "response of urllib3"]
)
async def test_a_response_that_was_read_is_refused(kind, opener):
    file = ONCE[kind](opener)
    file.read()
    with pytest.raises(InputError, match="is a closed file"):
        await prepare([("a.png", file)])


NEVER = "object", "gives", "gzip of an object", "response", "chunked"  # they cannot be closed, or read on
CLOSED = [kind for kind in (*AGAIN, *ONCE) if not kind.startswith(NEVER)]


@pytest.mark.parametrize("kind", CLOSED)
async def test_a_closed_file_is_refused(kind, opener):
    file = {**AGAIN, **ONCE}[kind](opener)
    file.close()
    with pytest.raises(InputError, match="is a closed file: open it"):
        await prepare([("a.png", file)])


@pytest.mark.parametrize("spool", [False, True])
@pytest.mark.parametrize("ahead", [1, 7, 5000])
async def test_bytes_that_a_file_has_read_ahead_do_not_wait_for_more(ahead, spool):
    """The descriptor stays silent: what it had is in the file's buffer."""
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb") as file, os.fdopen(writing, "wb", buffering=0) as end:
        end.write(b"first line\n" + b"x" * ahead)
        assert file.readline() == b"first line\n"
        if spool:
            end.close()
            (source,) = await asyncio.wait_for(prepare([file], spool=True), 60)
            assert await read(source) == [b"x" * ahead]
            await source.aclose()
            return
        (source,) = await prepare([file])
        reader = source.open()
        came = b""
        while len(came) < ahead:
            came += await asyncio.wait_for(reader.read(), 60)
        assert came == b"x" * ahead
        end.write(b"second")
        assert await asyncio.wait_for(reader.read(), 60) == b"second"
        end.close()
        assert await asyncio.wait_for(reader.read(), 60) == b""
        await reader.close()


async def test_a_file_that_was_looked_into_is_as_it_was():
    before = descriptors()
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb") as file, os.fdopen(writing, "wb", buffering=0) as end:
        end.write(b"all")
        end.close()
        (source,) = await prepare([file])
        assert await read(source) == [b"all"]
        assert "readinto" not in vars(file.raw)
    assert descriptors() == before


STDIN = """
import asyncio, sys
from prodia_async._files.inputs import examined, listed

async def main():
    print(sys.stdin.buffer.readline())
    (source,) = await examined(listed([("a.bin", sys.stdin.buffer)]))
    reader = source.open()
    while block := await reader.read():
        print(block)
    await reader.close()

asyncio.run(main())
"""


def test_standard_input_of_which_a_line_was_read():
    command = [sys.executable, "-X", "dev", "-W", "error", "-c", STDIN]
    done = subprocess.run(command, input=b"head\nrest", capture_output=True, timeout=60, check=False)
    assert (done.stdout, complaints(done.stderr.decode())) == (b"b'head\\n'\nb'rest'\n", "")
