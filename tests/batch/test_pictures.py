"""A folder of pictures, or a pattern, in place of a manifest."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from batch.helpers import read_results
from support.manifests import read_manifest

from prodia_async import InputError
from prodia_async.batch import check_manifest, run_batch
from prodia_async.batch._entries import Defaults

PNG = b"\x89PNG\r\n\x1a\n" + bytes(20)
JPEG = b"\xff\xd8\xff\xe0" + bytes(20)


@pytest.fixture
def photos(tmp_path) -> Path:
    """A folder with pictures of these names."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for name in ("cat10.jpg", "Cat2.png", "cat2.jpg", "a dog's.JPEG", "日本.webp"):
        (folder / name).write_bytes(PNG)
    return folder


async def read(place, config=None):
    return await read_manifest(str(place), defaults=Defaults("t", config or {}))


def ids(entries) -> list[str]:
    return [entry.job.custom_id for entry in entries]


async def test_each_picture_is_a_job_in_the_order_of_people(photos):
    entries, problems = await read(photos, {"image": "{name}", "prompt": "{stem} of {folder} {{}}"})
    assert problems == []
    assert ids(entries) == ["a dog's.JPEG", "cat2.jpg", "Cat2.png", "cat10.jpg", "日本.webp"]
    assert [entry.job.inputs for entry in entries] == [(photos / entry.job.custom_id,) for entry in entries]
    assert entries[1].job.config == {"image": "cat2.jpg", "prompt": "cat2 of photos {}"}


@pytest.mark.parametrize("form", ["{}", "{}/", "{}/*", "{}/*.*", "{}/[!z]*"])
async def test_a_folder_and_a_pattern_name_the_same_jobs(photos, form, monkeypatch):
    everything, _ = await read(photos)
    monkeypatch.chdir(photos.parent)
    for place in (photos, "photos", "./photos"):
        entries, _ = await read(form.format(place))
        assert entries == everything


async def test_the_current_folder_may_be_meant(photos, monkeypatch):
    everything, _ = await read(photos, {"prompt": "{folder}"})
    monkeypatch.chdir(photos)
    for place in (".", "*", "./*"):
        entries, _ = await read(place, {"prompt": "{folder}"})
        assert entries == everything


async def test_another_picture_is_a_new_job_and_changes_no_other(photos):
    before, _ = await read(photos)
    (photos / "cat2.webp").write_bytes(PNG)
    (photos / "a.png").write_bytes(JPEG)
    after = {entry.job.custom_id: entry.fingerprint for entry in (await read(photos))[0]}
    assert len(after) == len(before) + 2
    assert {entry.job.custom_id: entry.fingerprint for entry in before}.items() < after.items()


async def test_pictures_of_folders_in_it_are_named_by_their_way(photos):
    for name in ("b/1.png", "b/c/1.png", ".hidden/1.png", "b/.1.png"):
        (photos / name).parent.mkdir(parents=True, exist_ok=True)
        (photos / name).write_bytes(PNG)
    entries, _ = await read(f"{photos}/**/1.png", {"prompt": "{folder}"})
    assert [(entry.job.custom_id, entry.job.config["prompt"]) for entry in entries] == [
        ("b/1.png", "b"),
        ("b/c/1.png", "c"),
    ]


async def test_what_a_batch_has_made_is_no_input_of_it(photos, monkeypatch):
    monkeypatch.chdir(photos)
    for name in ("out/outputs/aa/x.png", "out/report/thumbs/x.png", "outputs/mine.png"):
        Path(name).parent.mkdir(parents=True)
        Path(name).write_bytes(PNG)
    Path("out/journal.sqlite").touch()
    assert "outputs/mine.png" in ids((await read("**"))[0])
    assert not [name for name in ids((await read("**"))[0]) if name.startswith("out/")]
    assert ids((await read("out/outputs/*/*"))[0]) == ["aa/x.png"]  # which names them
    Path("journal.sqlite").touch()
    assert ids((await read("**/*.png"))[0]) == ["Cat2.png"]


async def test_files_that_are_no_pictures_are_left_out_of_a_folder_and_told(photos, caplog):
    for name in ("notes.txt", "clip.mp4", "drawing.svg", ".DS_Store", "raw.cr2"):
        (photos / name).write_bytes(b"x")
    (photos / "more.jpg").mkdir()
    entries, problems = await read(photos)
    assert (len(entries), problems) == (5, [])
    assert "4 other files, such as 'clip.mp4', no pictures by their names, left out" in caplog.text
    assert "clip.mp4" in ids((await read(f"{photos}/*.mp4"))[0])  # a pattern means what it says


async def test_a_file_that_cannot_be_sent_is_a_bad_line(photos):
    (photos / "a-empty.jpg").touch()
    (photos / "a-page.jpg").write_bytes(b"<!doctype html>")
    (photos / "a-gone.jpg").symlink_to(photos / "nowhere")
    os.mkfifo(photos / "a-pipe.jpg")
    (photos / "a\nb.jpg").write_bytes(PNG)
    Path(os.fsdecode(os.fsencode(photos) + b"/a-\xff.jpg")).write_bytes(PNG)
    entries, problems = await read(photos)
    assert len(entries) == 5
    told = sorted(problem.reason for problem in problems)
    for reason, start, what in zip(
        told,
        ["'a-empty.jpg'", "'a-gone.jpg'", "'a-page.jpg'", "'a-pipe.jpg'", "the file name 'a", "the name 'a-"],
        [
            "is empty",
            "cannot be read: No such file",
            "is called a picture, and does not begin as one",
            "is not a regular file",
            "holds a control character: rename it",
            "is not UTF-8 text: rename it",
        ],
        strict=True,
    ):
        assert reason.startswith(start)
        assert what in reason


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
async def test_an_unreadable_file_is_a_bad_line_and_an_unreadable_folder_an_error(photos):
    (photos / "cat2.jpg").chmod(0)
    _, [problem] = await read(photos)
    assert problem.reason == "'cat2.jpg' cannot be read: Permission denied"
    photos.chmod(0)
    with pytest.raises(InputError, match="cannot be read: Permission denied"):
        await read(photos)


async def test_where_there_is_nothing_it_says_what_to_do(photos, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "a.txt").touch()
    for place, said in {
        "empty": r"has no pictures: name a manifest, or for pictures in folders of it a pattern in quotes: ",
        "texts": r"has no pictures, but 1 other file, such as 'a.txt': name a manifest",
        "photos/*.gif": r"no file matches '.*\*\.gif'",
        "photos/x[1]": r"no file matches",
        "gone": r"cannot be read: No such file",
    }.items():
        with pytest.raises(InputError, match=said):
            await read(tmp_path / place)


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"a": ["{nmae}"]}, r"nothing is called {nmae} here, only {folder}, {name}, {stem}: a brace that is"),
        ({"a": {"b": "{prompt}"}}, "nothing is called {prompt} here"),
        ({"a": "{"}, r"'\{' has a brace alone"),
        ({"a": "{name} }"}, "has a brace alone"),
        ({"a": "{na me}"}, "has a brace alone"),
    ],
)
async def test_a_name_that_nothing_fills_is_told_before_anything_is_read(photos, config, said):
    with pytest.raises(InputError, match=said):
        await read(photos, config)


async def test_a_linked_folder_is_read_and_a_link_out_of_it_needs_a_word(photos, tmp_path):
    (tmp_path / "link").symlink_to(photos)
    assert len((await read(tmp_path / "link"))[0]) == 5
    (tmp_path / "other.png").write_bytes(PNG)
    (photos / "z.png").symlink_to(tmp_path / "other.png")
    entries, [problem] = await read(photos)
    assert len(entries) == 5
    assert "is linked from outside the manifest's folder" in problem.reason


async def test_thousands_of_pictures_are_read_in_order(tmp_path):
    folder = tmp_path / "many"
    folder.mkdir()
    (folder / "1.png").write_bytes(PNG)
    for number in range(2, 5001):
        os.link(folder / "1.png", folder / f"{number}.png")
    entries, problems = await read(folder)
    assert problems == []
    assert ids(entries) == [f"{number}.png" for number in range(1, 5001)]


async def test_what_would_run_is_written_as_a_manifest_that_goes_on(photos, tmp_path, prodia):
    options = {"type": "emulator.bytes.v1", "config": {"size": 3, "name": "{stem}"}}
    jobs = tmp_path / "elsewhere" / "jobs.jsonl"
    jobs.parent.mkdir()
    await check_manifest(photos, write_to=jobs, **options)
    lines = [json.loads(line) for line in jobs.read_text().splitlines()]
    assert lines[1] == {
        "custom_id": "cat2.jpg",
        "type": "emulator.bytes.v1",
        "config": {"size": 3, "name": "cat2"},
        "inputs": [str(photos / "cat2.jpg")],
    }
    assert list(jobs.parent.iterdir()) == [jobs]
    report = await run_batch(photos, tmp_path / "out", prodia=prodia, **options)
    assert (report.done, report.failed) == (5, 0)
    assert set(read_results(tmp_path / "out")) == {line["custom_id"] for line in lines}
    report = await run_batch(jobs, tmp_path / "out", prodia=prodia, allow_outside=True)
    assert (report.done, report.skipped, report.problem_count) == (5, 5, 0)
