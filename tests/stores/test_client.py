"""Outputs into stores and inputs out of them, through the client and over real sockets."""

from __future__ import annotations

import asyncio
import hashlib
import os
import pathlib
import pickle
import subprocess
import sys

import obstore
import pytest
from obstore.store import MemoryStore
from stores.proxies import Faulty, Slow
from support.cancelling import QUICK
from support.leaks import assert_idle
from support.replies import DONE, job_part, multipart, output
from support.servers import answer, hang_up, serving

from prodia_async import File, Folder, InputError, Job, OutputError, Prodia, Retry
from prodia_async.emulator import Emulator, background_emulator
from prodia_async.stores import Store

MiB = 1024 * 1024
PICTURE = "inference.flux-fast.schnell.txt2img.v2"
BYTES, PING = "emulator.bytes.v1", "inference.ping.v1"


@pytest.fixture
async def prodia():
    async with Emulator(capacity=64, latency=0.001) as emulator:
        options = {"retry": Retry(backoff=0.0), "polling": QUICK}
        async with Prodia(base_url=emulator.base_url, token=emulator.token, **options) as client:
            yield client
            assert_idle(client)


@pytest.fixture
def opened(bucket, monkeypatch):
    """The bucket as URLs find it."""
    for name, value in bucket.environment.items():
        monkeypatch.setenv(name, value)
    return bucket


async def test_run_into_a_prefix(prodia, opened):
    result = await prodia.run(PICTURE, {"prompt": "a"}, to=f"{opened.url}/a/b", custom_id="x")
    [output] = result.outputs
    assert (output.url, output.path, output.data) == (f"{opened.url}/a/b/x.jpg", None, None)
    assert output.size == len(opened.content("a/b/x.jpg"))
    assert opened.kind("a/b/x.jpg") == "image/jpeg"
    assert repr(output.url) in repr(output)
    elsewhere = pickle.loads(pickle.dumps(output))
    assert elsewhere == output
    assert hash(elsewhere) == hash(output)
    with pytest.raises(ValueError, match=f"this output went to {output.url}"):
        elsewhere.read()


@pytest.mark.parametrize("size", [0, 10, 9 * MiB])
async def test_an_output_is_read_from_its_store(prodia, bucket, tmp_path, size):
    to = Store(bucket.store, "a/", url="s3://b")
    result = await prodia.run("emulator.bytes.v1", {"size": size}, to=to, custom_id="x")
    [output] = result.outputs
    content = bucket.content("a/x.bin")
    assert await asyncio.to_thread(output.read) == content
    assert len(content) == size
    saved = await asyncio.to_thread(output.save, tmp_path / "x")
    assert await asyncio.to_thread(saved.read_bytes) == content
    if size:
        bucket.put("a/x.bin", b"other")
        with pytest.raises(OSError, match=r"s3://b/a/x\.bin"):
            await asyncio.to_thread(output.read)
        bucket.clear()
        with pytest.raises(FileNotFoundError, match=r"s3://b/a/x\.bin could not be read: "):
            await asyncio.to_thread(output.read)


async def test_run_to_one_key_replaces_it_and_asks_for_its_type(prodia, opened):
    for seed in (1, 2):
        result = await prodia.run(PICTURE, {"prompt": "a", "seed": seed}, to=f"{opened.url}/a/x.png")
    assert opened.names() == ["a/x.png"]
    assert (result.outputs[0].content_type, result.warnings) == ("image/png", ())
    await prodia.run(PICTURE, {"prompt": "a"}, to=File(f"{opened.url}/a/y"))
    await prodia.run(PICTURE, {"prompt": "a"}, to=Folder(f"{opened.url}/a.png"), custom_id="z")
    assert opened.names() == ["a.png/z.jpg", "a/x.png", "a/y"]


@pytest.mark.parametrize("form", ["memory://{}/", "memory://{}", "file://{}/", "file://{}"])
async def test_other_schemes(prodia, tmp_path, form):
    url = form.format(tmp_path)
    result = await prodia.run(PICTURE, {"prompt": "a"}, to=url, custom_id="x")
    assert result.outputs[0].url == f"{url.rstrip('/')}/x.jpg"
    again = await prodia.run(PING, inputs=[result.outputs[0].url])
    assert again.raw["emulator"]["inputs"][0]["size"] == result.outputs[0].size


async def test_as_completed(prodia, opened):
    jobs = [Job(PICTURE, {"prompt": "a"}, custom_id=str(number)) for number in range(20)]
    async with prodia.as_completed(jobs, to=f"{opened.url}/many/") as outcomes:
        urls = [outcome.result.outputs[0].url async for outcome in outcomes]
    assert sorted(urls) == sorted(f"{opened.url}/many/{number}.jpg" for number in range(20))
    assert len(opened.names()) == 20
    with pytest.raises(InputError, match=r"cannot be the one key .* for many jobs"):
        prodia.as_completed(jobs, to=f"{opened.url}/x.png")


async def test_an_asynchronous_job(prodia, opened):
    handle = await prodia.submit(PICTURE, {"prompt": "a"}, custom_id="x")
    result = await handle.result(to=f"{opened.url}/")
    assert result.outputs[0].url == f"{opened.url}/x.jpg"
    await prodia.run(PICTURE, {"prompt": "a"}, mode="async", to=f"{opened.url}/", custom_id="y")
    assert opened.names() == ["x.jpg", "y.jpg"]


async def test_a_large_output_has_the_name_of_its_job(prodia, opened):
    result = await prodia.run(BYTES, {"size": 20 * MiB}, to=f"{opened.url}/")
    assert result.outputs[0].url == f"{opened.url}/{result.id}.bin"
    assert result.outputs[0].size == len(opened.content(f"{result.id}.bin")) == 20 * MiB
    assert opened.uploads() == []


async def test_a_retry_begins_from_the_start(opened):
    whole = multipart(job_part(), output(bytes(2 * MiB)))
    async with serving(hang_up("reset"), answer(whole)) as server:
        retry = Retry(backoff=0.0, resend_unknown=1)
        async with Prodia(base_url=server.base_url, token="t", retry=retry) as client:
            result = await client.run(BYTES, to=Store(opened.store, collect=0), custom_id="x")
    assert len(result.attempts) == 2
    assert (opened.names(), opened.uploads()) == (["x.png"], [])


async def test_a_cancelled_job_leaves_nothing(prodia, opened):
    place = Store(Slow(opened.store, 0.01), url=opened.url)
    job = asyncio.ensure_future(prodia.run(BYTES, {"size": 40 * MiB}, to=place, custom_id="x"))
    while opened.uploads() != ["x.bin"]:
        await asyncio.sleep(0.001)
    job.cancel()
    await asyncio.wait([job])
    assert job.cancelled()
    assert (opened.names(), opened.uploads()) == ([], [])


@pytest.mark.parametrize("size", [MiB, 20 * MiB])
async def test_a_store_that_fails_fails_the_job(prodia, opened, size):
    faulty = Faulty(opened.store, 99, after_blocks=1)
    place = Store(faulty, url=opened.url)
    await prodia.run(BYTES, {"size": 1}, to=place, custom_id="first")
    faulty.at = faulty.calls + (1 if size == MiB else 2)
    with pytest.raises(OutputError, match=r"bytes.v1 \(custom_id 'x'\).* did not take the output") as caught:
        await prodia.run(BYTES, {"size": size}, to=place, custom_id="x")
    assert caught.value.may_have_run
    assert "s3cret" not in "".join(map(repr, (caught.value, caught.value.__cause__)))
    assert (opened.names(), opened.uploads()) == (["first.bin"], [])


async def test_a_bucket_that_is_not_there_is_found_before_anything_is_sent(prodia, opened):
    with pytest.raises(InputError, match=r"outputs cannot go to Store\('s3://nobodys/x/'\).*NoSuchBucket"):
        await prodia.run(PICTURE, {"prompt": "a"}, to="s3://nobodys/x/")
    assert prodia.stats().requests == 0


@pytest.mark.parametrize(
    "url",
    [
        "s3://",
        "s3:///x",
        "s3://bad bucket/x/",
        "s3://key:s3cret@bucket/x/",
        "s3://bucket//x/",
        "s3://bucket/../x/",
        "s3://bucket/a/./x/",
        "s3://bucket/a\nb/",
        "gs:///x/",
        "az://?sig=s3cret/x/",
        "memory://host/x/",
        "file://host/x/",
    ],
)
async def test_bad_urls(prodia, url):
    for options in ({"to": url}, {"inputs": [url]}):
        with pytest.raises(InputError) as caught:
            await prodia.run(PICTURE, {"prompt": "a"}, **options)
        assert "s3cret" not in str(caught.value)
    assert prodia.stats().requests == 0


def test_without_the_extra():
    code = (
        "import sys; sys.modules['obstore'] = None\n"
        "import asyncio; from prodia_async import InputError, Prodia\n"
        "async def main():\n"
        "    for given in ({'to': 's3://b/x/'}, {'inputs': ['s3://b/x']}):\n"
        "        try: await Prodia(token='t').run('a.b.v1', **given)\n"
        "        except InputError as error: print(error)\n"
        "asyncio.run(main())"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert ended.stdout.count('pip install "prodia-async[cloud]"') == 2


def test_nothing_of_it_is_imported_without_need():
    code = "import sys, prodia_async; prodia_async.Prodia(token='t'); print([*sys.modules])"
    ended = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert "obstore" not in ended.stdout
    assert "prodia_async.stores" not in ended.stdout


async def test_inputs_by_url(prodia, opened):
    content = bytes(range(256)) * 40_000  # more than two ranges
    opened.put("in/photo.jpg", content)
    opened.put("in/noname", b"\x89PNG\r\n\x1a\n" + bytes(100))
    opened.put("in/empty.txt", b"")
    urls = [f"{opened.url}/in/{name}" for name in ("photo.jpg", "noname", "empty.txt")]
    named = ("other.jpg", f"{opened.url}/in/photo.jpg")
    result = await prodia.run(PING, inputs=[*urls, named, ("b", b"x")])
    sha256 = hashlib.sha256(content).hexdigest()
    seen = [
        (each["filename"], each["content_type"], each["size"]) for each in result.raw["emulator"]["inputs"]
    ]
    assert seen == [
        ("photo.jpg", "image/jpeg", len(content)),
        ("noname", "image/png", 108),
        ("empty.txt", "text/plain", 0),
        ("other.jpg", "image/jpeg", len(content)),
        ("b", "application/octet-stream", 1),
    ]
    assert result.raw["emulator"]["inputs"][0]["sha256"] == sha256


async def test_inputs_of_a_store(prodia):
    store = MemoryStore()
    await obstore.put_async(store, "p/a.jpg", b"abc")
    result = await prodia.run(PING, inputs=[Store(store, "p").input("a.jpg")])
    assert result.raw["emulator"]["inputs"][0]["size"] == 3


async def test_an_input_is_read_again_with_its_exact_length(opened):
    opened.put("a.bin", bytes(5 * MiB))
    async with serving(hang_up("reset"), answer(DONE)) as server:
        retry = Retry(backoff=0.0, resend_unknown=1)
        async with Prodia(base_url=server.base_url, token="t", retry=retry) as client:
            await client.run(PING, inputs=[f"{opened.url}/a.bin"])
    hashes = [request.inputs() for request in server.requests]
    assert hashes == [{"a.bin": hashlib.sha256(bytes(5 * MiB)).hexdigest()}] * 2
    assert all(int(request.headers["content-length"]) > 5 * MiB for request in server.requests)


@pytest.mark.parametrize("content", [None, b"shorter", b"x" * 9 * MiB])
async def test_an_input_that_changes_under_way(prodia, content):
    store = MemoryStore()
    await obstore.put_async(store, "a.bin", bytes(9 * MiB))

    class Changing:
        gets = 0

        def __getattr__(self, name):
            return getattr(store, name)

        async def get_async(self, *args, **options):
            self.gets += 1
            if self.gets == 2:
                await store.delete_async("a.bin")
                if content is not None:
                    await store.put_async("a.bin", content)
            return await store.get_async(*args, **options)

    with pytest.raises(
        InputError, match=r"input 'a.bin' changed while it was sent: let nobody write to memory"
    ):
        await prodia.run(PING, inputs=[Store(Changing()).input("a.bin")])


async def test_an_input_that_is_not_there(prodia, opened):
    with pytest.raises(InputError, match=f"input 'a.jpg': {opened.url}/a.jpg does not exist"):
        await prodia.run(PING, inputs=[f"{opened.url}/a.jpg"])
    with pytest.raises(InputError, match="is a prefix: pass the URL of one object"):
        await prodia.run(PING, inputs=[f"{opened.url}/a/"])
    assert prodia.stats().requests == 0


async def test_spooled_and_streamed(prodia, opened):
    opened.put("a.jpg", b"abc")
    for options in ({"spool": True}, {"expect_continue": True}):
        await prodia.run(PING, inputs=[f"{opened.url}/a.jpg"], **options)
    async with prodia.stream(PING, inputs=[f"{opened.url}/a.jpg"]) as reply:
        async for output in reply:
            async for _ in output:
                pass
    assert reply.result.raw["emulator"]["inputs"][0]["size"] == 3


MEMORY = pathlib.Path(__file__).with_name("memory.py")


@pytest.mark.skipif(not pathlib.Path("/proc/self/clear_refs").exists(), reason="peak RSS is read from /proc")
@pytest.mark.newest
@pytest.mark.parametrize(
    ("way", "size"),
    # moto reads a whole object for each range of it: of 1 GiB that would take an hour
    [("out", 64), ("in", 64), pytest.param("out", 1024, marks=pytest.mark.nightly)],
)
def test_memory_stays_flat(bucket, way, size):
    with background_emulator(latency=0.0) as emulator:
        service = {"PRODIA_BASE_URL": emulator.base_url, "PRODIA_TOKEN": emulator.token}
        command = [sys.executable, str(MEMORY), way, str(size), bucket.url]
        environment = {**os.environ, **bucket.environment, **service}
        ended = subprocess.run(command, env=environment, stdout=subprocess.PIPE, timeout=300, check=True)
    assert int(ended.stdout) <= 48 * MiB
    assert bucket.uploads() == []
