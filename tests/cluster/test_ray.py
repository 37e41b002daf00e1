"""Ray Data: nothing is lost, and nothing is paid for twice but what was in flight."""

from __future__ import annotations

import os
import re
import signal
import time

import numpy as np
import pytest
from cluster.nodes import ended

from prodia_async import InputError
from prodia_async.ray import Generate

ROWS = 400


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "captions.csv"
    path.write_text("sku,caption\n" + "".join(f"sku-{number},cat {number}\n" for number in range(ROWS)))
    return str(path)


def assert_all_stand(place, printed, *statuses):
    assert len(place.bucket.names()) == ROWS
    assert place.bucket.uploads() == []
    counts = dict(re.findall(r"^(\w+): (\d+) rows$", printed, re.MULTILINE))
    assert set(counts) <= set(statuses)
    assert sum(map(int, counts.values())) == ROWS


def test_400_jobs_and_the_same_again(place, nodes, table, tmp_path):
    program = "ray_pictures.py", table, f"{place.bucket.url}/out/", str(tmp_path / "results")
    assert_all_stand(place, place.run(*program), "done")
    first = place.emulator.stats()
    assert (first.completed, first.repeated, first.failed) == (ROWS, 0, 0)
    assert first.shed > 0
    assert first.peak_busy > 16  # what Ray gives one call of one actor
    assert_all_stand(place, place.run(*program), "exists")
    assert place.emulator.stats().requests == first.requests


def begun(place, table, tmp_path):
    """Start the example, and wait until a quarter of its pictures stand."""
    program = place.start("ray_pictures.py", table, f"{place.bucket.url}/out/", str(tmp_path / "results"))
    deadline = time.monotonic() + 120
    while len(place.bucket.names()) < ROWS / 4:
        assert program.poll() is None, program.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return program


@pytest.mark.nightly
def test_a_killed_actor_repeats_what_was_in_flight(place, nodes, table, tmp_path):
    with begun(place, table, tmp_path) as program:
        actors = nodes.stop_actors(2)
        in_flight = place.unkept()
        os.kill(actors[0], signal.SIGKILL)
        os.kill(actors[1], signal.SIGCONT)
        assert_all_stand(place, ended(program), "done", "exists")
    assert 0 < place.emulator.stats().repeated <= in_flight


@pytest.mark.nightly
def test_a_node_that_is_gone_repeats_what_was_in_flight(place, nodes, table, tmp_path):
    second = nodes.add()
    with begun(place, table, tmp_path) as program:
        actors = nodes.stop_actors(2)
        in_flight = place.unkept()
        nodes.remove(second)
        for process in set(actors).intersection(nodes.actors()):
            os.kill(process, signal.SIGCONT)
        assert_all_stand(place, ended(program), "done", "exists")
    assert place.emulator.stats().repeated <= in_flight


def rows(config):
    kind = "inference.flux-fast.schnell.txt2img.v2"
    return Generate(type=kind, id="sku", config=config, accept="image/png", to="memory:///")


async def test_a_row_keeps_its_columns_and_gets_those_of_its_job(place, monkeypatch):
    for name in ("PRODIA_TOKEN", "PRODIA_BASE_URL"):
        monkeypatch.setenv(name, place.environment[name])
    tensor = np.zeros((2, 2))
    given = {"sku": 7, "caption": np.str_("a cat"), "steps": np.int64(4), "tags": np.array(["a"])}
    async with rows(config=lambda row: {"prompt": row["caption"], "steps": row["steps"]}) as generate:
        done = await generate({**given, "tensor": tensor})
    assert done["tensor"] is tensor
    assert [done[name] for name in given] == [7, "a cat", 4, ["a"]]
    assert [type(done[name]) for name in given] == [int, str, int, list]
    assert (done["status"], done["error"], done["url"]) == ("done", None, "memory:///7.png")


async def test_columns_that_are_named_as_ours():
    async with rows(None) as generate:
        with pytest.raises(InputError, match=r"columns of their own named \['error', 'url'\]: rename them"):
            await generate({"sku": 1, "caption": "x", "url": "", "error": ""})
