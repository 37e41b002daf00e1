from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys

import pytest
from batch.page.folders import fill
from batch.page.records import done, failed, output, picture
from batch.page.test_course import sample

from prodia_async import InputError, OutputError
from prodia_async.batch._page import write_report

pytestmark = pytest.mark.newest


def with_pictures(folder, count):
    records = []
    for number in range(count):
        path = f"outputs/{number % 7:02x}/p{number:03}.png"
        picture(folder / path, color=(number, 0, 0))
        records.append(done(f"p{number:03}", output(path)))
    return records


async def test_a_report_is_written_with_its_thumbnails(tmp_path):
    records = [*with_pictures(tmp_path, 5), failed("bad")]
    await fill(tmp_path, records, [sample(at, at) for at in range(5)])
    told = []
    path = await write_report(tmp_path, on_progress=lambda seen, of: told.append((seen, of)))

    assert path == tmp_path / "report.html"
    page = path.read_text(encoding="utf-8")
    assert "p004" in page
    assert "Throughput" in page
    assert told == [(number, 5) for number in range(1, 6)]
    thumbs = sorted(str(thumb.relative_to(tmp_path)) for thumb in (tmp_path / "report").rglob("*.webp"))
    assert thumbs[0] == "report/thumbs/00/p000.png.webp"
    assert len(thumbs) == 5
    assert page.count(",true]]") == 5


async def test_a_second_report_is_the_same_and_makes_nothing_anew(tmp_path):
    await fill(tmp_path, with_pictures(tmp_path, 3))
    path = await write_report(str(tmp_path))
    first = path.read_bytes()
    made = {thumb: thumb.stat().st_ino for thumb in (tmp_path / "report").rglob("*.webp")}
    await write_report(tmp_path)

    assert path.read_bytes() == first
    assert {thumb: thumb.stat().st_ino for thumb in (tmp_path / "report").rglob("*.webp")} == made
    assert not list(tmp_path.rglob("*.part"))


async def test_a_broken_or_missing_picture_does_not_sink_the_page(tmp_path):
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    records = [done("a", output("broken.png")), done("b", output("gone.png"))]
    await fill(tmp_path, records)
    page = (await write_report(tmp_path)).read_text(encoding="utf-8")

    assert page.count(",false]]") == 2


async def test_the_folder_s_name_may_be_no_text(tmp_path):
    folder = tmp_path / os.fsdecode(b"caf\xe9 <b>")
    folder.mkdir()
    await fill(folder, [failed("a")])
    page = (await write_report(folder)).read_text(encoding="utf-8")

    assert '<h1 dir="auto">caf? &lt;b&gt;</h1>' in page


async def test_a_folder_without_a_batch_is_refused(tmp_path):
    with pytest.raises(InputError):
        await write_report(tmp_path)

    assert os.listdir(tmp_path) == []


async def test_a_page_that_cannot_be_written_is_an_error_that_says_so(tmp_path):
    await fill(tmp_path, [failed("a")])
    (tmp_path / "report.html").mkdir()

    with pytest.raises(OutputError, match=r"report\.html.*could not be written"):
        await write_report(tmp_path)
    assert not list(tmp_path.rglob("*.part"))


async def test_a_report_can_be_cancelled_between_two_thumbnails(tmp_path):
    await fill(tmp_path, with_pictures(tmp_path, 60))
    begun = asyncio.Event()
    task = asyncio.create_task(write_report(tmp_path, on_progress=lambda *_: begun.set()))
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    made = list((tmp_path / "report").rglob("*"))
    assert 0 < sum(path.suffix == ".webp" for path in made) < 60
    assert not [path for path in made if path.suffix == ".part"]
    assert not (tmp_path / "report.html").exists()


def open_files() -> list[str]:
    names = []
    for descriptor in os.listdir("/proc/self/fd"):
        with contextlib.suppress(FileNotFoundError):
            names.append(os.path.basename(os.readlink(f"/proc/self/fd/{descriptor}")))
    return names


@pytest.mark.skipif(not os.path.exists("/proc/self/fd"), reason="looks at its own files in /proc")
async def test_a_report_can_be_cancelled_while_the_batch_is_read(tmp_path):
    await fill(tmp_path, [failed(f"f{number}") for number in range(5000)])
    task = asyncio.create_task(write_report(tmp_path))
    while "journal.sqlite" not in open_files() and not task.done():
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert "journal.sqlite" not in open_files()
    assert not (tmp_path / "report.html").exists()


async def test_an_error_of_the_caller_s_own_ends_the_report(tmp_path):
    await fill(tmp_path, with_pictures(tmp_path, 10))

    def refuse(seen, of):
        raise KeyError(seen)

    with pytest.raises(KeyError):
        await write_report(tmp_path, on_progress=refuse)


def test_a_missing_library_is_named_with_what_to_install(tmp_path):
    script = (
        "import sys, asyncio; sys.modules['PIL'] = None\n"
        "from prodia_async import InputError\n"
        "from prodia_async.batch._page import write_report\n"
        "try:\n    asyncio.run(write_report(sys.argv[1]))\n"
        "except InputError as error:\n    print(error)\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", script, tmp_path], capture_output=True, text=True, timeout=60, check=True
    )

    assert "Pillow" in ran.stdout
    assert 'pip install "prodia-async[report]"' in ran.stdout


def test_importing_the_room_does_not_load_pillow():
    script = "import sys, prodia_async.batch._page as page; print('PIL' in sys.modules)"
    ran = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True
    )

    assert ran.stdout.split() == ["False"]


async def test_inputs_are_looked_at_once_however_many_jobs_have_them(tmp_path):
    folder = tmp_path / "out"
    picture(tmp_path / "photos" / "cat.png")
    request = {"inputs": ["../photos/cat.png", "../photos/gone.png", "../photos/tone.wav"]}
    await fill(folder, [done(f"a{number}", request=request) for number in range(4)])
    told = []
    page = (await write_report(folder, on_progress=lambda seen, of: told.append((seen, of)))).read_text()

    assert told == [(1, 2), (2, 2)]
    assert (folder / "report/thumbs/__/photos/cat.png.webp").is_file()
    assert page.count('["../photos/cat.png",') == page.count("null,true]") == 4


async def test_one_sheet_of_several_folders(tmp_path):
    for name in ("A", "B <b>"):
        await fill(tmp_path / name, with_pictures(tmp_path / name, 2), [sample(at, at) for at in range(5)])
    page = await write_report(tmp_path / "A", tmp_path / "B <b>", to=tmp_path / "sheets" / "all.html")

    assert page == tmp_path / "sheets" / "all.html"
    text = page.read_text(encoding="utf-8")
    assert '<h1 dir="auto">all</h1>' in text
    assert '"url":"../A/"' in text
    assert '"url":"../B%20%3Cb>/"' in text or '"url":"../B%20%3Cb%3E/"' in text
    assert text.count(",true]]") == 4
    assert all((tmp_path / name / "report/thumbs/00/p000.png.webp").is_file() for name in ("A", "B <b>"))
    assert not (tmp_path / "A" / "report.html").exists()


async def test_a_sheet_of_several_folders_needs_a_name(tmp_path):
    for folders in ((), (tmp_path / "A", tmp_path / "B")):
        with pytest.raises(InputError, match="`to` names"):
            await write_report(*folders)


@pytest.mark.parametrize("name", ["journal.sqlite", "results.jsonl", "jobs.csv", "."])
async def test_a_sheet_replaces_nothing_but_a_page(name, tmp_path):
    await fill(tmp_path, with_pictures(tmp_path, 1))
    for file in ("results.jsonl", "jobs.csv", "all.HTML"):
        (tmp_path / file).write_text("not to be lost")
    before = {path: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}

    with pytest.raises(
        InputError, match=r"is there, and is no page: name the sheet's file, such as all\.html"
    ):
        await write_report(tmp_path, to=tmp_path / name)
    assert {path: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()} == before
    await write_report(tmp_path, to=tmp_path / "all.HTML")
    with pytest.raises(InputError, match="to cannot be 3: it takes the path of a file"):
        await write_report(tmp_path, to=3)


async def test_one_folder_without_a_batch_refuses_the_whole_sheet(tmp_path):
    await fill(tmp_path / "A", with_pictures(tmp_path / "A", 1))
    (tmp_path / "B").mkdir()

    with pytest.raises(InputError, match="holds no journal"):
        await write_report(tmp_path / "A", tmp_path / "B", to=tmp_path / "all.html")
    assert not (tmp_path / "A" / "report").exists()
    assert not (tmp_path / "all.html").exists()
