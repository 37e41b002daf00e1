from __future__ import annotations

import os

import pytest
from support.manifests import read_manifest

SAME_NAME = "input 1 and input 2 are both named 'a.png'"
ADVICE = r": allow_outside \(--allow-outside\) permits it"

BAD = {
    '["none.png"]': "input 'none.png' is missing: there is no '.*none.png'",
    '["a.png/b"]': "input 'a.png/b' is missing",
    '["folder"]': "input 'folder' is not a file",
    '["."]': "input '.' lies outside the manifest's folder",
    '["pipe"]': "input 'pipe' is not a file",
    '["loop"]': "input 'loop' is not readable: ",
    '[""]': "'' in `inputs` is not a path",
    '["a\\u0000"]': r"'a\\x00' in `inputs` is not a path",
    '["a\\nb"]': r"the file name 'a\\nb' holds a control character: rename it",
    '["../secret"]': f"input '../secret' lies outside the manifest's folder{ADVICE}",
    '["folder/../../x"]': f"input 'folder/../../x' lies outside the manifest's folder{ADVICE}",
    '["/etc/passwd"]': f"input '/etc/passwd' lies outside the manifest's folder{ADVICE}",
    '["../jobs-2/a.png"]': f"input '../jobs-2/a.png' lies outside the manifest's folder{ADVICE}",
    '["out"]': f"input 'out' is linked from outside the manifest's folder{ADVICE}",
    '["outer/a.png"]': f"input 'outer/a.png' is linked from outside the manifest's folder{ADVICE}",
    '["a.png", "folder/../a.png"]': f"{SAME_NAME}: each needs a file name of its own",
    '["a.png", "folder/a.png"]': f"{SAME_NAME}: each needs a file name of its own",
}


@pytest.fixture
def folder(tmp_path):
    """A manifest's folder with good and bad inputs, and another beside it."""
    folder, other = tmp_path / "jobs", tmp_path / "jobs-2"
    for place in (folder, folder / "folder", other):
        place.mkdir()
        (place / "a.png").write_bytes(b"x")
    (folder / "a\nb").write_bytes(b"x")
    os.mkfifo(folder / "pipe")
    (folder / "loop").symlink_to("loop")
    (folder / "out").symlink_to(other / "a.png")
    (folder / "outer").symlink_to(other)
    (folder / "in").symlink_to("folder/a.png")
    (folder / "inner").symlink_to(folder / "folder")
    return folder


async def read(folder, inputs: str, **options):
    path = folder / "jobs.jsonl"
    path.write_text(f'{{"type":"t","inputs":{inputs}}}\n{{"type":"good","inputs":["a.png"]}}\n')
    entries, problems = await read_manifest(path, **options)
    assert entries.pop().job.type == "good"
    return entries, problems


@pytest.mark.parametrize(("inputs", "reason"), BAD.items())
async def test_an_input_that_cannot_be_sent_is_told(folder, inputs, reason):
    entries, [problem] = await read(folder, inputs)
    assert entries == []
    assert problem.line == 1
    with pytest.raises(AssertionError, match=f"^{reason}"):
        raise AssertionError(problem.reason)


async def test_a_name_too_long_for_the_system_is_told(folder):
    _, [problem] = await read(folder, f'["{"a" * 300}"]')
    assert problem.reason.startswith(f"input '{'a' * 199}… is not readable: File name too long")


@pytest.mark.parametrize("name", ["../jobs-2/a.png", "out", "outer/a.png"])
async def test_what_lies_outside_can_be_permitted(folder, name):
    [entry], problems = await read(folder, f'["{name}"]', allow_outside=True)
    assert problems == []
    [path] = entry.job.inputs
    assert path == (folder.parent / "jobs-2" / "a.png" if name.startswith("..") else folder / name)
    assert path.read_bytes() == b"x"


@pytest.mark.parametrize("name", ["in", "inner/a.png", "folder/a.png"])
async def test_links_within_the_folder_are_followed(folder, name):
    [entry], problems = await read(folder, f'["{name}"]')
    assert problems == []
    assert entry.job.inputs == (folder / name,)


async def test_dots_are_resolved_by_name_so_that_what_is_checked_is_what_is_opened(folder):
    # The system would go through the link, and then up from where it leads.
    [entry], _ = await read(folder, '["outer/../a.png"]')
    assert entry.job.inputs == (folder / "a.png",)


async def test_a_folder_that_is_reached_by_a_link_is_a_folder_as_any(folder):
    link = folder.parent / "link"
    link.symlink_to(folder)
    [entry], problems = await read(link, '["folder/a.png", "in"]')
    assert problems == []
    assert entry.job.inputs == (link / "folder" / "a.png", link / "in")


async def test_the_mark_changes_with_the_inputs(folder):
    path = folder / "folder" / "a.png"
    marks = []

    async def mark() -> None:
        [entry], _ = await read(folder, '["in", "a.png"]')
        marks.append(entry.inputs_mark)

    os.utime(path, ns=(0, 1_000))
    await mark()
    await mark()
    os.utime(path, ns=(0, 1_001))
    await mark()
    path.write_bytes(b"longer")
    os.utime(path, ns=(0, 1_001))
    await mark()
    assert marks[0] == marks[1]
    assert len(set(marks)) == 3
    assert {len(mark) for mark in marks} == {8}
    [entry], _ = await read(folder, "[]")
    assert entry.inputs_mark == b""


async def test_a_bad_line_keeps_its_name_so_that_the_names_of_others_stay(folder):
    line = '{"type":"t","inputs":["later.png"]}\n'
    path = folder / "jobs.jsonl"
    path.write_text(line + '{"type":"t","custom_id":"x","inputs":["later.png"]}\n' + line)
    _, problems = await read_manifest(path)
    assert [problem.line for problem in problems] == [1, 2, 3]
    (folder / "later.png").write_bytes(b"x")
    whole, _ = await read_manifest(path)
    path.write_text(line.replace("later", "none") + line + line)
    part, [problem] = await read_manifest(path)
    assert problem.line == 1
    assert [entry.job.custom_id for entry in part] == [whole[0].job.custom_id, whole[2].job.custom_id]
    assert whole[2].job.custom_id == f"{whole[0].job.custom_id}-2"
