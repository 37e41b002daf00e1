import os
from pathlib import Path

import pytest
from files.steps import cancelled_at, names

from prodia_async._errors import InputError
from prodia_async._files.outputs import File, Folder, MemorySink, Targets, check_many, fixed
from prodia_async._files.sinks import Budget, FileSink, FolderSink
from prodia_async._models import Job, JobResult, OutputInfo
from prodia_async._settings import Limits

JOB = Job("inference.ping.v1", custom_id="mine")


LIMITS = Limits(max_memory_output=10)


def new_targets():
    return Targets(Budget(100))


def known_to(targets, to):
    return targets.known(fixed(to), LIMITS)


async def target_of(to, targets=None):
    targets, meant = targets or new_targets(), fixed(to)
    return targets.known(meant, LIMITS) or await targets.get(meant)


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
    target = await target_of(to)
    assert (target.accept, type(target.sink(JOB))) == (accept, FileSink)
    writer = await store(target)
    assert writer.path == tmp_path / getattr(to, "path", to)
    assert writer.path.read_bytes() == b"x"
    with pytest.raises(InputError, match="for many jobs"):
        check_many(fixed(to))


@pytest.mark.parametrize(
    "to", ["out", "out/", "x.png/", Path("a/b"), ".", "v1.0", "..", Folder("x.png"), Folder(Path("o"))]
)
async def test_folders(to, tmp_path, monkeypatch):
    (tmp_path / "deep").mkdir()
    monkeypatch.chdir(tmp_path / "deep")
    target = await target_of(to)
    assert (target.accept, type(target.sink(JOB))) == (None, FolderSink)
    writer = await store(target)
    assert writer.path == tmp_path / "deep" / getattr(to, "path", to) / "mine.webp"
    check_many(fixed(to))


async def test_memory():
    target = await target_of(None)
    assert (target.accept, type(target.sink(JOB))) == (None, MemorySink)
    assert (await store(target)).data == b"x"
    with pytest.raises(OSError, match="10 bytes"):
        await store(target, b"x" * 11)
    check_many(fixed(None))


async def test_a_factory_of_sinks():
    jobs = []

    def make(job):
        jobs.append(job)
        return MemorySink()

    target = await target_of(make)
    assert (await store(target)).data == b"x"
    assert jobs == [JOB]
    check_many(fixed(make))


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
        "a\0b/x.png",
        "\ud800.png",
        "\ud800/",
        Path("\ud800"),
        File("a\0"),
        BytesPath(),
        File(7),
        Folder(None),
    ],
)
async def test_what_is_no_target(to):
    with pytest.raises(InputError, match="to= cannot be"):
        fixed(to)
    with pytest.raises(InputError, match="to= cannot be"):
        await target_of(to)


@pytest.mark.parametrize("known", ["nothing", "its parent", "itself"])
@pytest.mark.parametrize("to", ["x.png", File("x.png")])
async def test_a_file_that_is_a_folder_is_a_folder(to, known, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x.png").mkdir()
    targets = new_targets()
    if known != "nothing":
        await target_of("y.png", targets)
    if known == "itself":
        await target_of(Folder("x.png"), targets)
    target = await target_of(to, targets)
    assert (target.accept, type(target.sink(JOB))) == (None, FolderSink)
    assert (await store(target)).path == tmp_path / "x.png" / "mine.webp"


async def test_folders_are_made_and_nothing_else(tmp_path):
    await target_of(tmp_path / "a" / "b" / "x.png")
    await target_of(tmp_path / "c" / "d")
    assert sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")) == ["a", "a/b", "c", "c/d"]


@pytest.mark.parametrize("known", [False, True])
@pytest.mark.parametrize("to", ["file/x.png", "file/out", "file/out/x.png", "file/", "fifo.png", "no/x.png"])
async def test_what_cannot_be_written_is_told_before_anything_is_sent(to, known, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_bytes(b"")
    os.mkfifo("fifo.png")
    (tmp_path / "no").symlink_to("/proc")  # not even root can make a file there
    targets = new_targets()
    if known:
        await target_of(".", targets)
    with pytest.raises(InputError, match=f"to='{tmp_path / to}'"):
        await target_of(to, targets)
    assert known_to(targets, to) is None
    assert names(tmp_path) == ["fifo.png", "file", "no"]


async def test_cancelled_preparation(tmp_path):
    targets, out = new_targets(), tmp_path / "out"
    for step in range(10):
        await cancelled_at(step, lambda: target_of(out, targets))
    assert await target_of(out, targets) is known_to(targets, out)


async def test_a_good_folder_is_tried_once(tmp_path):
    targets = new_targets()
    out = tmp_path / "out"
    target = await target_of(out, targets)
    for to in (out, str(out), f"{out}/"):
        assert known_to(targets, to) is target
    out.rmdir()
    assert await target_of(out, targets) is target
    assert not out.exists()
    await target_of(out / "x.png", targets)
    assert not out.exists()


async def test_a_file_in_a_good_folder_costs_no_trip(tmp_path, monkeypatch):
    targets = new_targets()
    await target_of(tmp_path / "x.png", targets)
    monkeypatch.setattr("prodia_async._files.outputs.hop", None)
    for name in ("x.png", "y.png", "x.png"):
        target = await target_of(tmp_path / name, targets)
        assert (target.accept, type(target.sink(JOB))) == ("image/png", FileSink)
        assert (await store(target)).path == tmp_path / name
    assert known_to(targets, tmp_path / "x.png") is None


@pytest.mark.parametrize("to", ["out", "out/", Path("out"), "x.png", Folder("out"), File("x.png")])
async def test_a_relative_path_is_meant_from_where_it_was_said(to, tmp_path, monkeypatch):
    targets = new_targets()
    for name in ("first", "second", "first"):
        (tmp_path / name).mkdir(exist_ok=True)
        monkeypatch.chdir(tmp_path / name)
        meant = fixed(to)
        monkeypatch.chdir(tmp_path)
        target = targets.known(meant, LIMITS) or await targets.get(meant)
        path = (await store(target)).path
        assert path.is_relative_to(tmp_path / name)
        assert path.is_file()
    assert names(tmp_path) == ["first", "second"]


async def test_a_current_folder_that_is_gone_is_told(tmp_path, monkeypatch):
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    for to in ("out", "x.png"):
        with pytest.raises(InputError, match="current folder is gone"):
            await target_of(to)
    assert type((await target_of(tmp_path / "out")).sink(JOB)) is FolderSink


async def test_good_folders_are_forgotten_rather_than_collected(tmp_path):
    targets = new_targets()
    for number in range(1001):
        await target_of(tmp_path / str(number), targets)
    assert known_to(targets, tmp_path / "1000") is not None
    assert known_to(targets, tmp_path / "0") is None


ADDRESSES = [
    "hdfs://host/cat.png",
    "hdfs://host/out/",
    "HDFS://host",
    "swift://container/out",
    "https://host/cat.png",
    "http://host/",
    "file:/tmp/cat.png",
    "ftp://host/out",
    "data:image/png;base64," + "QUJD" * 100_000,
    "data:,",
    Path("s3://bucket/cat.png"),
    File("hdfs://host/cat"),
    Folder(Path("gs://bucket")),
]


@pytest.mark.parametrize("to", ADDRESSES)
def test_an_address_is_no_target(to, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="is an address, not a path: pass a path, or a function") as caught:
        fixed(to)
    assert len(str(caught.value)) < 400
    assert names(tmp_path) == []


LONG = "x" * 100_000


@pytest.mark.parametrize(
    "to",
    [
        *("x" * 252 + ".png", "é" * 126 + ".png", "x" * 256, "x" * 256 + "/", "a/" + "x" * 256 + "/b.png"),
        *("new/" + "x" * 252 + ".png", "x/" * 2050 + "a.png", "x/" * 1990, f"{'x' * 200}/" * 20 + "a.png"),
        *(File("x" * 256), Folder("x" * 256), LONG, LONG + ".png", Path(LONG)),
    ],
)
@pytest.mark.parametrize("known", [False, True])
async def test_a_name_that_is_too_long_is_told_before_anything_is_sent(to, known, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    targets = new_targets()
    if known:
        await target_of(".", targets)
    with pytest.raises(InputError, match="cannot be written: File name too long") as caught:
        await target_of(to, targets)
    assert len(str(caught.value)) < 400


async def test_more_folders_than_python_makes_are_told(tmp_path):
    with pytest.raises(InputError, match="cannot be written: maximum recursion depth"):
        await target_of(tmp_path / Path("x/" * 1500))


@pytest.mark.parametrize("to", ["x" * 251 + ".png", "é" * 125 + ".png", "x" * 255, File("x" * 255)])
async def test_the_longest_names_can_be_written(to, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert (await store(await target_of(to))).path.is_relative_to(tmp_path)


@pytest.mark.parametrize("to", ["notes", "notes/", Folder("notes"), "notes/x", "notes/x.png"])
async def test_a_file_where_a_folder_is_needed(to, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "notes").write_bytes(b"")
    with pytest.raises(InputError, match=r"cannot be written: (it is a file, and File|Not a directory)"):
        await target_of(to)


@pytest.mark.parametrize("known", [False, True])
@pytest.mark.parametrize("leads", ["/proc/x.png", "/dev/null", "file/x.png", "link.png", "x" * 300])
async def test_a_link_is_tried_where_it_leads(leads, known, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "link.png").symlink_to(leads)
    targets = new_targets()
    if known:
        await target_of(".", targets)
    with pytest.raises(InputError, match=r"to='.*link\.png' cannot be written"):
        await target_of("link.png", targets)
    assert names(tmp_path) == ["file", "link.png"]


@pytest.mark.parametrize("leads", ["there/x.png", "new/x.png", "there/new.png"])
async def test_a_link_is_written_through(leads, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "x.png").write_bytes(b"old")
    (tmp_path / "link.png").symlink_to(leads)
    assert (await store(await target_of("link.png"))).path == tmp_path / "link.png"
    assert (tmp_path / leads).read_bytes() == b"x"
    assert (tmp_path / "link.png").is_symlink()


@pytest.mark.parametrize("custom_id", [LONG, "日" * 200, "../" * 99, "\0" * 300, "\ud800" * 99, "." * 300])
async def test_any_custom_id_names_a_file(custom_id, tmp_path):
    target = await target_of(tmp_path)
    sink = target.sink(Job("t", custom_id=custom_id))
    for _ in range(2):
        await (await sink.open(OutputInfo(0, None, "image/webp"))).close()
    await sink.commit(JobResult("t", {}, id=LONG))
    assert [len(os.fsencode(name)) < 128 for name in names(tmp_path)] == [True, True]
