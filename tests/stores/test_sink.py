"""A store as a sink: names, what is replaced, faults, cancellation, and how much is held."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys

import pytest
from obstore.store import LocalStore, MemoryStore
from stores.proxies import Faulty, Mute, Slow
from support.cancelling import Trap, by_scope, native

from prodia_async import InputError, Job, OutputError, OutputInfo
from prodia_async._models import JobResult
from prodia_async.stores import Store

MiB = 1024 * 1024
RESULT = JobResult(type="inference.ping.v1", config={}, id="job-1")
PNG, TEXT, FILM = "image/png", "text/plain", "video/mp4"
MIXED = [(PNG, 10), (FILM, 3 * MiB), (TEXT, 3), (FILM, 2 * MiB), (PNG, MiB + 1)]


async def fill(sink, *outputs):
    for number, (kind, size) in enumerate(outputs):
        writer = await sink.open(OutputInfo(number, None, kind))
        for start in range(0, size, MiB):
            await writer.write(b"%d" % number * min(MiB, size - start))
        await writer.close()


async def run(place, *outputs, custom_id=None, result=RESULT):
    """Do what a run does with a sink."""
    if isinstance(getattr(place.store, "store", None), LocalStore):
        place.keeps_types = False  # as `prepare` finds out
    sink = place(Job("inference.ping.v1", custom_id=custom_id))
    try:
        await fill(sink, *outputs)
        await sink.commit(result)
    finally:
        await sink.discard()


def idle(place):
    room = place.room()
    return not room.collected and not room.begun and room.slots._value == place._sizes[0]


@pytest.mark.parametrize("collect", [0, 64 * MiB])
async def test_names_and_types(bucket, collect):
    place = Store(bucket.store, "pre", collect=collect)
    await run(place, (PNG, 5), (TEXT, 6), (PNG, 7), custom_id="an id/with a slash")
    first = "pre/an_id_with_a_slash-"
    assert [key.startswith(first) for key in bucket.names()] == [True] * 3
    assert sorted(key.rpartition("-")[2].lstrip("0123456789abcdef") for key in bucket.names()) == [
        ".png",
        ".png",
        ".txt",
    ]
    assert sorted(map(bucket.kind, bucket.names())) == [PNG, PNG, TEXT]


@pytest.mark.parametrize("collect", [0, 64 * MiB])
async def test_nothing_is_replaced(bucket, collect):
    place = Store(bucket.store, "pre/", collect=collect)
    for size in (5, 6, 7):
        await run(place, (PNG, size), custom_id="x")
    assert {key: len(bucket.content(key)) for key in bucket.names()} == {
        "pre/x.png": 5,
        "pre/x-2.png": 6,
        "pre/x-3.png": 7,
    }


@pytest.mark.parametrize("collect", [0, 64 * MiB])
async def test_many_at_once_under_one_name(collect):
    store = MemoryStore()  # moto looks for a key and puts it in two steps: two puts at once may both succeed
    place = Store(store, collect=collect, uploads=10)
    async with asyncio.TaskGroup() as group:
        for size in range(1, 9):
            group.create_task(run(place, (PNG, size), custom_id="x"))
    assert sorted(kept(store)) == [*range(1, 9)]
    assert idle(place)


@pytest.mark.parametrize("collect", [0, 64 * MiB])
async def test_what_a_job_owns_is_replaced(bucket, collect):
    place = Store(bucket.store, collect=collect, owns=True)
    for size in (5, 6):
        await run(place, (PNG, size), (TEXT, size), custom_id="x")
    assert {key: len(bucket.content(key)) for key in bucket.names()} == {"x.png": 6, "x-2.txt": 6}


async def test_a_key_that_another_program_takes_meanwhile(bucket):
    place = Store(bucket.store, collect=0)
    sink = place(Job("inference.ping.v1", custom_id="x"))
    await fill(sink, (PNG, 5), (PNG, 2 * MiB))
    bucket.put("x-2.png", b"another's")
    with pytest.raises(
        OutputError, match=rf"s3://{bucket.name}/x-2.png meanwhile: give each job a custom_id"
    ):
        await sink.commit(RESULT)
    assert bucket.names() == ["x-2.png"]
    assert bucket.content("x-2.png") == b"another's"
    assert (bucket.uploads(), idle(place)) == ([], True)


async def test_the_id_of_the_job_names_a_large_output(bucket):
    place = Store(bucket.store, collect=0)
    sink = place(Job("inference.ping.v1"))
    sink.job_part(b'{"id": "job-7", "type": "x"}')
    await fill(sink, (FILM, 5))
    await sink.commit(RESULT)
    sink = place(Job("inference.ping.v1"))
    sink.job_part(b"no JSON")
    await fill(sink, (FILM, 5))
    await sink.commit(RESULT)
    assert bucket.names()[0] == "job-7.mp4"
    assert bucket.names()[1].startswith("output-")


async def test_a_large_output_is_seen_by_nobody_before_the_commit(bucket):
    place = Store(bucket.store)
    sink = place(Job("inference.ping.v1", custom_id="x"))
    await fill(sink, (FILM, 20 * MiB))
    while bucket.uploads() != ["x.mp4"]:
        await asyncio.sleep(0.01)
    assert (bucket.names(), bucket.uploads()) == ([], ["x.mp4"])
    await sink.commit(RESULT)
    assert (bucket.names(), bucket.uploads()) == (["x.mp4"], [])
    assert bucket.content("x.mp4") == b"0" * 20 * MiB
    assert bucket.kind("x.mp4") == FILM


async def test_a_large_output_that_is_dropped_leaves_no_upload(bucket):
    place = Store(bucket.store)
    sink = place(Job("inference.ping.v1", custom_id="x"))
    writer = await sink.open(OutputInfo(0, None, FILM))
    for _ in range(20):
        await writer.write(bytes(MiB))
    while not bucket.uploads():
        await asyncio.sleep(0.01)
    await sink.discard()
    assert (bucket.names(), bucket.uploads(), idle(place)) == ([], [], True)


def kept(store):
    sizes = {meta["path"]: meta["size"] for block in store.list() for meta in block}
    return [sizes[key] for key in sorted(sizes)]


@pytest.fixture(params=["s3", "memory", "local"])
def store(request, tmp_path):
    if request.param == "s3":
        return request.getfixturevalue("bucket").store
    return MemoryStore() if request.param == "memory" else LocalStore(str(tmp_path))


@pytest.fixture
def uploads(request, tmp_path):
    """Tell what is unfinished: uploads, and files of obstore's on the way."""
    if "s3" in request.node.name:
        return request.getfixturevalue("bucket").uploads
    return lambda: [path for path in tmp_path.rglob("*#*") if path.is_file()]


@pytest.mark.parametrize("way", [native, by_scope])
async def test_cancelled_at_every_await(store, uploads, way):
    """All of the outputs or none, whatever is awaited; some of it is uploaded, some put at once."""
    place = Store(store, collect=MiB)
    steps = 0
    for at in range(1, 200):
        trap = Trap(at)
        await way(lambda: run(place, *MIXED, custom_id="x"), trap)
        found = kept(store)
        assert sorted(found) in ([], sorted(size for _, size in MIXED))
        assert (uploads(), idle(place)) == ([], True)
        await store.delete_async([meta["path"] for block in store.list() for meta in block])
        if trap.suspended < at:
            assert found
            break
        steps += 1
    assert steps > 5


@pytest.mark.parametrize("after_blocks", [0, 2])
async def test_a_store_that_fails_at_each_call(store, uploads, after_blocks):
    for at in range(1, 20):
        faulty = Faulty(store, at, after_blocks=after_blocks)
        place = Store(faulty, collect=MiB, url="s3://bucket")
        failure = None
        try:
            await run(place, *MIXED, custom_id="x")
        except OutputError as error:
            failure = error
        assert (uploads(), idle(place)) == ([], True)
        if failure is None:
            break
        assert failure.may_have_run
        assert "Store('s3://bucket/') did not take the output: " in str(failure)
        assert "s3cret" not in f"{failure!r} {failure.__cause__!r}"
        assert kept(store) == []
    assert at > 4
    assert faulty.calls < at
    assert len(kept(store)) == len(MIXED)


@pytest.mark.parametrize("owns", [False, True])
async def test_an_output_whose_answer_is_lost_stands(bucket, owns):
    place = Store(Mute(bucket.store), collect=MiB, owns=owns)
    await run(place, *MIXED, custom_id="x")
    assert sorted(kept(bucket.store)) == sorted(size for _, size in MIXED)
    assert (bucket.uploads(), idle(place)) == ([], True)


async def test_what_stands_already_is_not_taken_for_an_output(bucket):
    bucket.put("x.mp4", b"0" * 3 * MiB)
    place = Store(Faulty(bucket.store, 2, after_blocks=1), collect=0, owns=True, url="s3://b")
    with pytest.raises(OutputError):
        await run(place, (FILM, 3 * MiB), custom_id="x")
    assert (bucket.uploads(), idle(place)) == ([], True)


async def test_a_slow_store_holds_the_writer_back(store, uploads):
    slow = Slow(store, 0.01)
    place = Store(slow, collect=0, uploads=2)
    given = 0

    async def job(number):
        nonlocal given
        place.keeps_types = not isinstance(store, LocalStore)
        sink = place(Job("inference.ping.v1", custom_id=str(number)))
        writer = await sink.open(OutputInfo(0, None, FILM))
        for _ in range(6):
            await writer.write(bytes(MiB))
            given += 1
        await writer.close()
        await sink.commit(RESULT)

    async with asyncio.TaskGroup() as group:
        for number in range(6):
            group.create_task(job(number))
    assert kept(store) == [6 * MiB] * 6
    assert slow.most_at_once <= 2 * 2
    assert (uploads(), idle(place)) == ([], True)


async def test_those_that_wait_to_upload_can_be_cancelled(bucket):
    place = Store(bucket.store, collect=0, uploads=1)
    first, second = place(Job("a", custom_id="a")), place(Job("b", custom_id="b"))
    await fill(first, (PNG, 5))
    waiting = asyncio.ensure_future(fill(second, (PNG, 5)))
    await asyncio.sleep(0.01)
    assert not waiting.done()
    waiting.cancel()
    await asyncio.wait([waiting])
    await second.discard()
    await first.commit(RESULT)
    await run(place, (PNG, 5), custom_id="c")
    assert (bucket.names(), bucket.uploads(), idle(place)) == (["a.png", "c.png"], [], True)


def test_a_loop_that_ends_leaves_no_upload(bucket):
    async def main():
        place = Store(bucket.store, collect=0)

        async def job():
            sink = place(Job("inference.ping.v1", custom_id="x"))
            try:
                await fill(sink, (FILM, 20 * MiB))
                await asyncio.sleep(60)
            finally:
                await sink.discard()

        task = asyncio.ensure_future(job())
        while not bucket.uploads():
            await asyncio.sleep(0.01)
        assert not task.done()

    asyncio.run(main())
    assert (bucket.names(), bucket.uploads()) == ([], [])


UPLOADER = """
import asyncio, sys
from obstore.store import S3Store
import prodia_async.stores

async def blocks():
    for _ in range(9):
        yield bytes(1024 * 1024)

async def main(name):
    await S3Store(name, client_options={"allow_http": True}).put_async("x", blocks())

asyncio.run(main(sys.argv[1]))
"""


@pytest.mark.newest
def test_a_process_whose_last_act_is_an_upload_ends_well(bucket):
    """Of obstore alone, two thirds of such processes are aborted at their end."""
    command = [sys.executable, "-c", UPLOADER, bucket.name]
    for _ in range(6):
        subprocess.run(command, env={**os.environ, **bucket.environment}, check=True, timeout=120)


async def test_10_000_objects():
    store = MemoryStore()
    place = Store(store, "many/", uploads=2)
    for start in range(0, 10_000, 500):
        async with asyncio.TaskGroup() as group:
            for number in range(start, start + 500):
                group.create_task(run(place, (PNG, 100), custom_id=str(number)))
    assert kept(store) == [100] * 10_000
    assert idle(place)


@pytest.mark.parametrize(
    ("prefix", "options"),
    [
        ("a//b", {}),
        ("../b", {}),
        ("a/./b", {}),
        ("a/..", {}),
        ("/a", {}),
        ("a\nb", {}),
        (".", {}),
        (7, {}),
        ("a", {"uploads": 0}),
        ("a", {"collect": -1}),
    ],
)
def test_what_a_store_is_not_made_of(prefix, options):
    with pytest.raises(InputError):
        Store(MemoryStore(), prefix, **options)


@pytest.mark.parametrize("store", [None, "s3://bucket/", object(), 7])
def test_what_is_no_store(store):
    with pytest.raises(InputError, match="takes a store of obstore"):
        Store(store)
