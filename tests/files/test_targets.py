import os
from pathlib import Path

import pytest
from files.steps import cancelled_at, names

from prodia_async._errors import InputError
from prodia_async._files.sinks import Budget, MemorySink
from prodia_async._files.targets import File, Folder, Folders, prepare_target, refuse_single, resolve
from prodia_async._models import Job, JobResult, OutputInfo
from prodia_async._settings import Limits

JOB = Job("inference.ping.v1", custom_id="mine")


def target_of(to):
    return resolve(to, limits=Limits(max_memory_output=10), budget=Budget(100))


async def store(target, data=b"x"):
    sink = target.sink(JOB)
    writer = await sink.open(OutputInfo(0, None, "image/webp"))
    await writer.write(data)
    await writer.close()
    await sink.commit(JobResult("t", {}, id="id"))
    return writer


@pytest.mark.parametrize(
    ("to", "accept"),
    [
        ("x.png", "image/png"),
        ("x.PNG", "image/png"),
        (Path("a.b/x.jpg"), "image/jpeg"),
        ("x.tar.mp4", "video/mp4"),
        ("x.json", "application/json"),
        ("x.bin", None),
        (File("x"), None),
        (File("x.webp"), "image/webp"),
        (File(Path("dir.v1")), None),
    ],
)
async def test_files(to, accept, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    target = target_of(to)
    assert (target.accept, target.single) == (accept, True)
    assert await prepare_target(target, Folders()) is target
    writer = await store(target)
    assert writer.path == Path(getattr(to, "path", to))
    assert writer.path.read_bytes() == b"x"
    with pytest.raises(InputError, match="for many jobs"):
        refuse_single(to)


@pytest.mark.parametrize(
    "to", ["out", "out/", "x.png/", Path("a/b"), ".", "v1.0", "..", Folder("x.png"), Folder(Path("o"))]
)
async def test_folders(to, tmp_path, monkeypatch):
    (tmp_path / "deep").mkdir()
    monkeypatch.chdir(tmp_path / "deep")
    target = target_of(to)
    assert (target.accept, target.single) == (None, False)
    assert await prepare_target(target, Folders()) is target
    writer = await store(target)
    assert writer.path == Path(getattr(to, "path", to)) / "mine.webp"
    refuse_single(to)


async def test_memory():
    target = target_of(None)
    assert (target.accept, target.single) == (None, False)
    assert await prepare_target(target, Folders()) is target
    assert (await store(target)).data == b"x"
    with pytest.raises(OSError, match="10 bytes"):
        await store(target, b"x" * 11)
    refuse_single(None)


async def test_a_factory_of_sinks():
    jobs = []

    def make(job):
        jobs.append(job)
        return MemorySink()

    target = target_of(make)
    assert await prepare_target(target, Folders()) is target
    assert (await store(target)).data == b"x"
    assert jobs == [JOB]
    refuse_single(make)


class BytesPath:
    def __fspath__(self):
        return b"x"


@pytest.mark.parametrize(
    "to",
    [
        "",
        File(""),
        Folder(""),
        File("/"),
        File(".."),
        7,
        b"x",
        ["x"],
        "a\0.png",
        BytesPath(),
        File(7),
        Folder(None),
    ],
)
def test_what_is_no_target(to):
    with pytest.raises(InputError, match="to= cannot be"):
        target_of(to)


@pytest.mark.parametrize("to", ["x.png", File("x.png")])
async def test_a_file_that_is_a_folder_is_a_folder(to, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x.png").mkdir()
    target = await prepare_target(target_of(to), Folders())
    assert (target.accept, target.single) == (None, False)
    assert (await store(target)).path == Path("x.png/mine.webp")


async def test_folders_are_made_and_nothing_else(tmp_path):
    await prepare_target(target_of(tmp_path / "a" / "b" / "x.png"), Folders())
    await prepare_target(target_of(tmp_path / "c" / "d"), Folders())
    assert sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")) == ["a", "a/b", "c", "c/d"]


@pytest.mark.parametrize("to", ["file/x.png", "file/out", "file/out/x.png", "file/", "fifo.png", "no/x.png"])
async def test_what_cannot_be_written_is_told_before_anything_is_sent(to, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_bytes(b"")
    os.mkfifo("fifo.png")
    (tmp_path / "no").symlink_to("/proc")  # not even root can make a file there
    with pytest.raises(InputError, match="to="):
        await prepare_target(target_of(to), Folders())
    assert names(tmp_path) == ["fifo.png", "file", "no"]


async def test_cancelled_preparation(tmp_path):
    target = target_of(tmp_path / "out")
    for step in range(10):
        await cancelled_at(step, lambda: prepare_target(target, Folders()))
    assert await prepare_target(target, Folders()) is target


async def test_a_good_folder_is_tried_once(tmp_path):
    good = Folders()
    out = tmp_path / "out"
    await prepare_target(target_of(out), good)
    out.rmdir()
    await prepare_target(target_of(out), good)
    assert not out.exists()
    await prepare_target(target_of(out / "x.png"), good)
    assert not out.exists()


async def test_good_folders_are_forgotten_rather_than_collected(tmp_path):
    good = Folders()
    for number in range(1001):
        good.add(tmp_path / str(number))
    assert tmp_path / "1000" in good
    assert tmp_path / "0" not in good
