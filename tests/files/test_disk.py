"""Names and places of files, full disks, many at once, and memory."""

import asyncio
import errno
import os
import shutil
import subprocess
import sys
import tracemalloc

import pytest
from files.steps import names
from support.processes import complaints

from prodia_async._errors import OutputError
from prodia_async._files.landing import add
from prodia_async._files.sinks import Budget, FileSink, FolderSink
from prodia_async._models import JobResult, OutputInfo

KiB = 1024
MiB = 1024 * KiB
RESULT = JobResult(type="inference.ping.v1", config={}, id="job-1")


async def store(sink, *outputs, result=RESULT):
    """Run outputs of (content type, bytes) through a sink; return its writers."""
    writers = []
    try:
        for index, (content_type, data) in enumerate(outputs):
            writer = await sink.open(OutputInfo(index, "../../service's name", content_type))
            writers.append(writer)
            for begin in range(0, len(data), 64 * KiB):
                await writer.write(data[begin : begin + 64 * KiB])
            await writer.close()
        assert [writer.path for writer in writers] == [None] * len(writers)
        await sink.commit(result)
    finally:
        await sink.discard()
    return writers


async def test_a_folder_names_by_job_id_and_type(tmp_path):
    writers = await store(
        FolderSink(tmp_path), ("image/png", b"1"), ("text/plain", b"2"), ("image/png", b"3")
    )
    assert names(tmp_path) == ["job-1-2.txt", "job-1-3.png", "job-1.png"]
    assert [writer.path.read_bytes() for writer in writers] == [b"1", b"2", b"3"]
    assert writers[0].path == tmp_path / "job-1.png"


@pytest.mark.parametrize(
    ("custom_id", "result", "name"),
    [
        ("mine", RESULT, "mine.png"),
        (None, RESULT, "job-1.png"),
        (None, JobResult("t", {}, request_id="req"), "req.png"),
        (None, JobResult("t", {}), "output.png"),
    ],
)
async def test_what_names_a_folders_files(custom_id, result, name, tmp_path):
    await store(FolderSink(tmp_path, custom_id), ("image/png", b""), result=result)
    assert names(tmp_path) == [name]


HOSTILE = [
    "../../x",
    "/etc/x",
    "..",
    ".",
    ".hidden",
    "a\0b",
    "a/b",
    "日本",
    "x" * 5000,
    "\ud800",
    "CON",
    "",
    "~root",
]


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize("by", ["id", "custom_id"])
async def test_hostile_names_stay_in_the_folder(text, by, tmp_path):
    folder = tmp_path / "deep" / "out"
    result = JobResult("t", {}, id=text)
    sink = FolderSink(folder, text if by == "custom_id" else None)
    (writer,) = await store(sink, ("../../image/png", b"x"), result=result)
    assert writer.path.parent == folder
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [writer.path]


async def test_a_folder_never_replaces(tmp_path):
    (tmp_path / "job-1.png").write_bytes(b"old")
    (tmp_path / "job-1-2.png").mkdir()
    writers = await store(FolderSink(tmp_path), ("image/png", b"1"), ("image/png", b"2"))
    assert (tmp_path / "job-1.png").read_bytes() == b"old"
    assert [writer.path.name for writer in writers] == ["job-1-3.png", "job-1-4.png"]


@pytest.mark.parametrize("size", [10, 600 * KiB])
async def test_a_hundred_of_one_name_at_once_all_keep_their_file(size, tmp_path):
    budget = Budget(10 * 600 * KiB)
    jobs = [store(FolderSink(tmp_path, "same", budget), ("image/png", bytes([n]) * size)) for n in range(100)]
    await asyncio.gather(*jobs)
    paths = list(tmp_path.iterdir())
    assert len(paths) == 100
    assert sorted(path.read_bytes()[:1] for path in paths) == [bytes([n]) for n in range(100)]
    assert {path.name for path in paths} == {"same.png"} | {f"same-{n}.png" for n in range(2, 101)}
    assert budget.used == 0


async def test_a_file_is_replaced_and_others_stand_beside_it(tmp_path):
    path = tmp_path / "x.png"
    path.write_bytes(b"old")
    (tmp_path / "x-2.txt").write_bytes(b"kept")
    writers = await store(FileSink(path), ("image/jpeg", b"1"), ("text/plain", b"2"), ("image/webp", b"3"))
    assert [writer.path for writer in writers] == [path, tmp_path / "x-3.txt", tmp_path / "x-4.webp"]
    assert path.read_bytes() == b"1"
    assert (tmp_path / "x-2.txt").read_bytes() == b"kept"


@pytest.mark.parametrize("size", [1, 3 * MiB])
async def test_a_file_that_is_a_folder_takes_files(size, tmp_path):
    folder = tmp_path / "x.png"
    folder.mkdir()
    await store(FileSink(folder, custom_id="mine"), ("image/png", b"1" * size))
    assert names(folder) == ["mine.png"]
    assert names(tmp_path) == ["x.png"]


@pytest.mark.parametrize("dangling", [True, False])
async def test_a_link_is_written_through(dangling, tmp_path):
    real = tmp_path / "data" / "real.png"
    real.parent.mkdir()
    if not dangling:
        real.write_bytes(b"old")
    link = tmp_path / "link.png"
    link.symlink_to(real)
    writers = await store(FileSink(link), ("image/png", b"1"), ("image/png", b"2"))
    assert link.is_symlink()
    assert real.read_bytes() == b"1"
    assert [writer.path for writer in writers] == [link, tmp_path / "data" / "real-2.png"]


async def test_a_fifo_is_not_replaced(tmp_path):
    path = tmp_path / "x.png"
    os.mkfifo(path)
    with pytest.raises(OutputError, match="not a regular file"):
        await store(FileSink(path), ("image/png", b"1"))
    assert path.is_fifo()
    assert names(tmp_path) == ["x.png"]


@pytest.mark.parametrize("size", [1, 3 * MiB])
async def test_a_missing_folder_is_made_again(size, tmp_path):
    folder = tmp_path / "a" / "b"
    folder.mkdir(parents=True)
    sink = FolderSink(folder)
    shutil.rmtree(tmp_path / "a")
    await store(sink, ("image/png", b"x" * size))
    assert names(folder) == ["job-1.png"]


async def test_a_folder_that_vanishes_with_a_part_is_told(tmp_path):
    folder, budget = tmp_path / "out", Budget(32 * MiB)
    sink = FolderSink(folder, None, budget)
    writer = await sink.open(OutputInfo(0, None, "image/png"))
    await writer.write(b"x" * 3 * MiB)
    await writer.close()
    shutil.rmtree(folder)
    with pytest.raises(OutputError, match="could not be written") as caught:
        await sink.commit(RESULT)
    assert caught.value.errno == errno.ENOENT
    assert isinstance(caught.value.__cause__, FileNotFoundError)
    assert caught.value.may_have_run
    assert budget.used == 0


@pytest.mark.parametrize("size", [1, 3 * MiB])
async def test_a_place_that_cannot_be_is_told(size, tmp_path):
    (tmp_path / "file").write_bytes(b"")
    budget = Budget(2 * MiB)
    with pytest.raises(OutputError) as caught:
        await store(FolderSink(tmp_path / "file" / "out", None, budget), ("image/png", b"x" * size))
    assert caught.value.errno == errno.ENOTDIR
    assert caught.value.written == ()
    assert budget.used == 0


async def test_files_that_have_their_names_stay_when_a_later_one_fails(tmp_path):
    path = tmp_path / "x.png"
    sink = FileSink(path, Budget(0))
    for kind in ("image/png", "image/webp"):
        writer = await sink.open(OutputInfo(0, None, kind))
        await writer.write(b"x")
        await writer.close()
    os.unlink(writer.temporary)  # somebody swept the folder
    with pytest.raises(OutputError) as caught:
        await sink.commit(RESULT)
    assert caught.value.errno == errno.ENOENT
    assert caught.value.written == (path,)
    assert names(tmp_path) == [path.name]


@pytest.mark.parametrize("stem", ["x" * 250, "é" * 125, "日" * 83, "x" * 251])
async def test_an_output_beside_a_file_of_the_longest_name_has_a_shorter_one(stem, tmp_path):
    path = tmp_path / f"{stem}.png"
    writers = await store(FileSink(path), *[("image/png", b"1"), ("image/webp", b"2"), ("text/plain", b"3")])
    assert writers[0].path == path
    assert [writer.path.read_bytes() for writer in writers] == [b"1", b"2", b"3"]
    assert [writer.path.suffix for writer in writers] == [".png", ".webp", ".txt"]
    assert all(len(os.fsencode(writer.path.name)) < 128 for writer in writers[1:])


FULL = """
import asyncio, errno, resource, signal, sys
from pathlib import Path
from prodia_async._errors import OutputError
from prodia_async._files.sinks import Budget, FolderSink
from prodia_async._models import JobResult, OutputInfo

async def main(folder, size):
    budget = Budget(32 << 20)
    sink = FolderSink(folder, None, budget)
    try:
        for index, data in enumerate([b"small", b"x" * size]):
            writer = await sink.open(OutputInfo(index, None, "image/png"))
            for begin in range(0, len(data), 65536):
                await writer.write(data[begin : begin + 65536])
            await writer.close()
        await sink.commit(JobResult("t", {}, id="id"))
    except OutputError as error:
        print(errno.errorcode[error.errno], isinstance(error.__cause__, OSError), error.may_have_run)
    finally:
        await sink.discard()
        await sink.discard()
    print(sorted(path.name for path in Path(folder).iterdir()), budget.used)

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
if sys.argv[3] == "limit":
    resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))
asyncio.run(main(sys.argv[1], int(sys.argv[2])))
"""


def fill(folder, size, how):
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error", "-c", FULL, str(folder), str(size), how],
        capture_output=True, text=True, timeout=60, check=False, env=dict(os.environ),
    )  # fmt: skip
    assert complaints(done.stderr) == ""
    return done.stdout.splitlines()


@pytest.mark.skipif(sys.platform == "win32", reason="no such limit")
@pytest.mark.parametrize("size", [400_000, 4 * MiB])
def test_a_file_above_the_systems_limit(size, tmp_path):
    assert fill(tmp_path, size, "limit") == ["EFBIG True True", "[] 0"]


@pytest.mark.parametrize("size", [1_000_000, 4 * MiB])
def test_a_full_disk(size, tmp_path):
    command = ["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", str(tmp_path)]
    if shutil.which("mount") is None or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("a small file system can be mounted by root only")
    try:
        assert fill(tmp_path, size, "disk") == ["ENOSPC True True", "[] 0"]
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)


async def test_big_outputs_keep_memory_flat(tmp_path):
    block = os.urandom(64 * KiB)
    sink = FolderSink(tmp_path, None, Budget(32 * MiB))
    writer = await sink.open(OutputInfo(0, None, "video/mp4"))
    tracemalloc.start()
    try:
        for _ in range(1024):
            await writer.write(block)
        await writer.close()
        await sink.commit(RESULT)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert (tmp_path / "job-1.mp4").stat().st_size == 64 * MiB
    assert peak < 4 * MiB


async def test_small_outputs_go_to_disk_when_the_budget_is_used_up(tmp_path):
    budget = Budget(100)
    holder = await FolderSink(tmp_path, "a", budget).open(OutputInfo(0, None, "image/png"))
    await holder.write(b"x" * 80)
    sink = FolderSink(tmp_path, "b", budget)
    writer = await sink.open(OutputInfo(0, None, "image/png"))
    await writer.write(b"y" * 15)
    await writer.write(b"y" * 15)
    await writer.close()
    assert budget.used == 80
    assert [name.endswith(".part") for name in names(tmp_path)] == [True]
    await writer.close()
    await sink.commit(RESULT)
    assert writer.path.read_bytes() == b"y" * 30


async def test_one_huge_block_is_written_in_pieces(tmp_path):
    data = os.urandom(5 * MiB + 7)
    sink = FolderSink(tmp_path)
    writer = await sink.open(OutputInfo(0, None, "video/mp4"))
    await writer.write(data)
    await writer.close()
    await sink.commit(RESULT)
    assert writer.path.read_bytes() == data
    with pytest.raises(RuntimeError, match="after close"):
        await writer.write(b"more")


@pytest.fixture
def no_links(monkeypatch):
    def link(temporary, target):
        raise PermissionError(errno.EPERM, "this file system has no links")

    monkeypatch.setattr(os, "link", link)


@pytest.mark.usefixtures("no_links")
def test_names_are_given_where_links_are_not_possible(tmp_path):
    for number, name in enumerate(["x", "x", "y"]):
        part = tmp_path / "part"
        part.write_bytes(bytes([number]))
        assert add(part, tmp_path / name) is (number != 1)
    assert names(tmp_path) == ["x", "y"]
    assert (tmp_path / "x").read_bytes() == b"\0"


@pytest.mark.usefixtures("no_links")
def test_a_reserved_name_is_freed_when_the_file_cannot_have_it(tmp_path):
    with pytest.raises(FileNotFoundError):
        add(tmp_path / "gone", tmp_path / "x")
    assert names(tmp_path) == []


async def test_files_get_the_usual_permissions(tmp_path):
    (writer,) = await store(FolderSink(tmp_path), ("image/png", b"x"))
    (tmp_path / "plain").write_bytes(b"")
    assert writer.path.stat().st_mode == (tmp_path / "plain").stat().st_mode
    assert writer.path.stat().st_nlink == 1


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_child_takes_other_names_for_its_temporary_files(tmp_path):
    script = (
        "import os, sys\n"
        "from prodia_async._files.sinks import DiskWriter, FolderSink\n"
        "sink = FolderSink(sys.argv[1])\n"
        "DiskWriter(sink, '').put([b'x'], last=True)\n"
        "child = os.fork()\n"
        "DiskWriter(sink, '').put([b'x'], last=True)\n"
        "if child: assert os.waitpid(child, 0)[1] == 0\n"
    )
    subprocess.run([sys.executable, "-c", script, str(tmp_path)], timeout=30, check=True)
    assert len(names(tmp_path)) == 3


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o777, 0o4755])
async def test_a_file_that_is_replaced_keeps_its_permissions(mode, tmp_path):
    path = tmp_path / "x.png"
    path.write_bytes(b"old")
    path.chmod(mode)
    await store(FileSink(path), ("image/png", b"new"), ("image/png", b"2"))
    assert path.read_bytes() == b"new"
    assert path.stat().st_mode & 0o7777 == mode & 0o777
    (tmp_path / "plain").write_bytes(b"")
    assert (tmp_path / "x-2.png").stat().st_mode == (tmp_path / "plain").stat().st_mode
