"""Prompts, seeds and variations: many jobs of few words."""

from __future__ import annotations

import json

import pytest
from batch.helpers import echo, read_results
from support.manifests import read_manifest

from prodia_async import InputError
from prodia_async.batch import check_manifest, run_batch
from prodia_async.batch._entries import Defaults
from prodia_async.batch._variations import Variations


async def read(path, config=None, **options):
    variations = Variations(options.pop("repeat", None), options)
    return await read_manifest(path, defaults=Defaults("t", config or {}), variations=variations)


@pytest.fixture
def prompts(tmp_path):
    path = tmp_path / "prompts.txt"
    path.write_text("\ufeffA red fox\n\n  [best] a {cat}, in snow  \r\n", encoding="utf-8")
    return path


async def test_each_line_of_a_text_is_a_prompt(prompts):
    entries, problems = await read(prompts, {"steps": 4, "prompt": "not this"})
    assert problems == []
    assert [(entry.line, entry.job.custom_id, entry.job.config) for entry in entries] == [
        (1, "a-red-fox-86cc9e34", {"steps": 4, "prompt": "A red fox"}),
        (3, "best-a-cat-in-snow-3582457f", {"steps": 4, "prompt": "[best] a {cat}, in snow"}),
    ]


async def test_a_prompt_stands_where_the_config_has_it(prompts):
    entries, _ = await read(prompts, {"prompt": "{prompt}, in oil", "title": ["{prompt}"], "n": 1})
    assert entries[1].job.config == {
        "prompt": "[best] a {cat}, in snow, in oil",
        "title": ["[best] a {cat}, in snow"],
        "n": 1,
    }


async def test_lines_that_are_no_text_are_told_and_the_same_line_is_another_job(tmp_path):
    path = tmp_path / "p.txt"
    path.write_bytes(b"a\n\xff\n" + b"x" * 5_000_000 + b"\n???\na\n")
    entries, problems = await read(path)
    names = [entry.job.custom_id for entry in entries]
    assert names == ["a-ca978112", "a03b221c", "a-ca978112-2"]
    assert [(each.line, each.reason) for each in problems] == [
        (2, "not UTF-8 text"),
        (3, "longer than 4 MiB"),
    ]


async def test_a_text_of_json_lines_is_a_manifest_as_ever(tmp_path):
    path = tmp_path / "jobs.txt"
    path.write_text('{"type":"u","config":{"a":"{x}"}}\n')
    [entry], _ = await read(path, {"prompt": "{b} }"})  # of lines, braces mean nothing
    assert entry.job.config == {"prompt": "{b} }", "a": "{x}"}


async def test_seeds_count_up_from_the_jobs_own(write_manifest):
    path = write_manifest(
        {"custom_id": 7}, {"config": {"seed": 41}}, {"config": {"seed": "x"}, "custom_id": "b"}
    )
    entries, [problem] = await read(path, repeat=3)
    assert [entry.job.config["seed"] for entry in entries] == [1, 2, 3, 41, 42, 43]
    assert [entry.job.custom_id for entry in entries[:3]] == ["7_seed-1", "7_seed-2", "7_seed-3"]
    assert len({entry.job.custom_id for entry in entries}) == 6
    assert problem.reason == "the job's seed is 'x': --repeat counts up from a whole number"
    entries, _ = await read(write_manifest({}), {"seed": 5}, repeat=2)
    assert [entry.job.config["seed"] for entry in entries] == [5, 6]


async def test_values_vary_in_all_combinations_and_stand_in_braces(prompts):
    entries, _ = await read(
        prompts, {"prompt": "{prompt}, {style}"}, style=["oil", "ink"], steps=[2, 4.5, None], repeat=2
    )
    assert len(entries) == 2 * 2 * 3 * 2
    assert entries[0].job.config == {"prompt": "A red fox, oil", "steps": 2, "seed": 1}
    assert entries[11].job.config == {"prompt": "A red fox, ink", "steps": None, "seed": 2}
    assert entries[0].job.custom_id == "a-red-fox-86cc9e34_style-oil_steps-2_seed-1"
    assert (
        len({entry.job.custom_id for entry in entries}) == len({entry.fingerprint for entry in entries}) == 24
    )


async def test_names_are_the_same_whatever_else_varies_and_long_values_are_cut(write_manifest):
    path = write_manifest({"custom_id": "a"}, {"custom_id": "b"})
    few, many = [{entry.job.custom_id for entry in (await read(path, x=range(n)))[0]} for n in (2, 5)]
    assert few < many
    long, other = "word " * 20, "word " * 19 + "work "
    names = [entry.job.custom_id for entry in (await read(path, style=[long, other]))[0]]
    assert len(set(names)) == 4
    assert max(map(len, names)) < 50


async def test_two_combinations_of_one_name_are_told(write_manifest):
    entries, [problem] = await read(write_manifest({"custom_id": "a"}), x=["1_y-2", "1"], y=["3", "2_y-3"])
    assert [entry.job.custom_id for entry in entries] == ["a_x-1_y-2_y-3", "a_x-1_y-2_y-2_y-3", "a_x-1_y-3"]
    assert problem.reason == "custom_id 'a_x-1_y-2_y-3' was used before"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"vary": {"a": []}}, "vary has no value for 'a'"),
        ({"vary": {"a": [1, "1"]}}, "vary has the value '1' of 'a' twice"),
        ({"vary": {"seed": [1]}, "repeat": 2}, "makes seeds, and so does vary"),
        ({"vary": {"prompt": ["x"]}}, r"vary \(--vary\) cannot set 'prompt': each job of this manifest has"),
        ({"vary": {"a": "xy"}}, "vary cannot be .*: it takes a mapping of names to lists"),
        ({"vary": {"a": [{1, 2}]}}, "vary cannot be|of type set"),
        ({"vary": [1]}, "vary cannot be"),
        ({"repeat": 0}, "repeat cannot be 0: it takes how many seeds, at least 1"),
        ({"first": 0}, "first cannot be 0: it takes a number of jobs"),
    ],
)
async def test_senseless_variations_are_an_input_error(prompts, options, said):
    with pytest.raises(InputError, match=said):
        await check_manifest(prompts, type="t", **options)


async def test_a_sample_runs_and_the_same_call_without_it_goes_on(write_manifest, tmp_path, prodia, emulator):
    path = write_manifest(*[echo(f"job-{number}") for number in range(10)], "{")
    out = tmp_path / "out"
    report = await run_batch(path, out, prodia=prodia, first=3)
    assert (report.done, report.problem_count, set(read_results(out))) == (3, 0, {"job-0", "job-1", "job-2"})
    report = await run_batch(path, out, prodia=prodia, first=3)
    assert (report.done, report.skipped, emulator.stats().completed) == (3, 3, 3)
    report = await run_batch(path, out, prodia=prodia)
    assert (report.done, report.skipped, report.problem_count) == (10, 3, 1)
    assert emulator.stats().completed == 10


async def test_a_sample_of_a_shard_and_of_variations(write_manifest):
    path = write_manifest(*[{"type": "t", "custom_id": str(number)} for number in range(100)])
    whole = await check_manifest(path, shard="1/3", repeat=2)
    sample = await check_manifest(path, shard="1/3", repeat=2, first=7)
    assert (sample.jobs, whole.jobs > 30) == (7, True)


async def test_what_all_of_it_costs(write_manifest):
    path = write_manifest({"type": "a"}, {"type": "a", "config": {"x": 1}}, {"type": "b"}, "{")
    check = await check_manifest(path, prices={"a": 0.25, "c": 9}, repeat=2)
    assert (check.jobs, check.dollars, check.unpriced) == (6, 1.0, 2)
    assert (await check_manifest(path)).dollars is None


async def test_a_written_manifest_says_all_that_was_given(write_manifest, tmp_path):
    (tmp_path / "in.png").write_bytes(b"x")
    line = {"config": {"a": [1]}, "inputs": ["in.png"], "priority": 2, "mode": "async", "extra": {"jobs": []}}
    path = write_manifest({"custom_id": 5}, line, "{")
    to = tmp_path / "all.jsonl"
    to.write_text("what was there before")
    told = await check_manifest(path, type="t", accept="image/png", repeat=2, write_to=to)
    assert (told.jobs, told.problem_count) == (4, 1)
    lines = [json.loads(each) for each in to.read_text().splitlines()]
    assert lines[0] == {"custom_id": "5_seed-1", "type": "t", "config": {"seed": 1}, "accept": "image/png"}
    assert lines[3] | {"custom_id": ""} == line | {
        "custom_id": "",
        "type": "t",
        "config": {"a": [1], "seed": 2},
        "accept": "image/png",
    }
    first = await read_manifest(path, defaults=Defaults("t", accept="image/png"), variations=Variations(2))
    again = await read_manifest(to)
    assert [(each.job, each.fingerprint) for each in first[0]] == [
        (each.job, each.fingerprint) for each in again[0]
    ]


async def test_a_manifest_that_cannot_be_written_leaves_nothing(write_manifest, tmp_path):
    path = write_manifest({"type": "t"})
    with pytest.raises(InputError, match="cannot be written: No such file"):
        await check_manifest(path, write_to=tmp_path / "none" / "x.jsonl")
    (tmp_path / "folder").mkdir()
    with pytest.raises(InputError, match="cannot be written: it is no regular file"):
        await check_manifest(path, write_to=tmp_path / "folder")
    assert sorted(each.name for each in tmp_path.iterdir()) == ["folder", "jobs.jsonl"]
