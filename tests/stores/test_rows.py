"""`Rows`: a row in, a plain dict out; what stands is not run again."""

from __future__ import annotations

import asyncio
import pickle

import pytest
from obstore.store import MemoryStore
from stores.proxies import Faulty

from prodia_async import InputError, Retry
from prodia_async.emulator import Emulator
from prodia_async.rows import Rows
from prodia_async.stores import Store

PICTURE = "inference.flux-fast.schnell.txt2img.v2"
TO_PICTURE = "inference.flux.schnell.img2img.v1"
FIELDS = ["status", "url", "urls", "job_id", "dollars", "error", "may_have_run", "attempts"]


@pytest.fixture
async def service(monkeypatch):
    async with Emulator(capacity=16, latency=0.001, retry_after=0.01) as emulator:
        monkeypatch.setenv("PRODIA_TOKEN", emulator.token)
        monkeypatch.setenv("PRODIA_BASE_URL", emulator.base_url)
        yield emulator


@pytest.fixture
def opened(bucket, monkeypatch):
    for name, value in bucket.environment.items():
        monkeypatch.setenv(name, value)
    return bucket


def pictures(to, **options):
    given = {"type": PICTURE, "id": "sku", "config": {"prompt": "caption"}, "accept": "image/png"}
    return Rows(**{**given, "to": to, **options})


async def test_a_row_is_run_once(service, opened):
    async with pictures(f"{opened.url}/out/") as rows:
        row = {"sku": 7, "caption": "a cat"}
        first = await rows(row)
        assert list(first) == FIELDS
        job_id, dollars = first.pop("job_id"), first.pop("dollars")
        url = f"{opened.url}/out/7.png"
        assert isinstance(job_id, str)
        assert dollars > 0
        told = {"error": None, "may_have_run": False, "attempts": 1}
        assert first == {"status": "done", "url": url, "urls": [url], **told}
        again = await rows(row)
        assert list(again) == FIELDS
        assert (again["status"], again["url"], again["attempts"]) == ("exists", url, 0)
    assert service.stats().completed == 1
    assert opened.names() == ["out/7.png"]


async def test_400_rows_twice_and_from_a_pickle(service, opened):
    table = [{"sku": f"sku {number}", "caption": "a cat"} for number in range(400)]
    plain = {"type": "emulator.bytes.v1", "config": {"size": 100}, "accept": "application/octet-stream"}
    async with pictures(f"{opened.url}/out/", **plain) as rows:
        done = await asyncio.gather(*map(rows, table))
    assert {each["status"] for each in done} == {"done"}
    assert len(set(opened.names())) == 400
    sent = service.stats().completed
    async with pickle.loads(pickle.dumps(rows)) as copied:
        again = await asyncio.gather(*map(copied, table))
    assert {each["status"] for each in again} == {"exists"}
    assert [each["url"] for each in again] == [each["url"] for each in done]
    assert service.stats().completed == sent == 400


async def test_functions_columns_and_inputs(service, opened):
    async with pictures(f"{opened.url}/a/") as rows:
        made = await rows({"sku": "in", "caption": "a cat"})
    async with Rows(
        type=lambda row: row["kind"],
        id=lambda row: f"{row['a']}-{row['b']}",
        config=lambda row: {"prompt": row["caption"], "image": "in.png"},
        inputs="photos",
        accept="image/png",
        to=Store(opened.store, "b"),
        price=False,
    ) as rows:
        row = {"kind": TO_PICTURE, "a": 1, "b": 2, "caption": "in oil", "photos": [made["url"]]}
        done = await rows(row)
        assert (done["status"], done["dollars"]) == ("done", None)
        assert done["url"] == f"s3://{opened.name}/b/1-2.png"
    async with pictures(f"{opened.url}/c/", config="settings", inputs=["photo"], type=TO_PICTURE) as rows:
        done = await rows({"sku": 1, "settings": {"prompt": "x", "image": "in.png"}, "photo": made["url"]})
        assert done["status"] == "done"


async def test_what_fails_is_told_and_nothing_raises(service, opened):
    async with pictures(f"{opened.url}/out/", client={"retry": Retry(max_errors=0)}) as rows:
        missing = await rows({"sku": 1})
        assert missing["error"] == "the row has no column 'caption': it has ['sku']"
        assert (missing["status"], missing["may_have_run"]) == ("failed", False)
        assert (await rows({"sku": "", "caption": "x"}))["error"] == "the row's id is empty"
    async with pictures(f"{opened.url}/out/", config=lambda row: row["caption"].upper()) as rows:
        assert (await rows({"sku": 1, "caption": None}))["error"].startswith("AttributeError: ")
    async with pictures(f"{opened.url}/out/", type="inference.no-such.v1") as rows:
        refused = await rows({"sku": 1, "caption": "x"})
        assert refused["status"] == "failed"
        assert "inference.no-such.v1 (custom_id '1')" in refused["error"]
    assert opened.names() == []


async def test_an_output_that_cannot_be_kept_may_have_been_billed(service):
    faulty = Faulty(MemoryStore(), 3)
    async with pictures(Store(faulty, url="s3://b")) as rows:
        lost = await rows({"sku": 1, "caption": "x"})
        assert (lost["status"], lost["may_have_run"], lost["attempts"]) == ("failed", True, 1)
        assert "did not take the output" in lost["error"]
        assert "s3cret" not in str(lost)
        faulty.at = faulty.calls + 1
        unseen = await rows({"sku": 1, "caption": "x"})
        assert (unseen["status"], unseen["may_have_run"]) == ("failed", False)
        assert "s3cret" not in str(unseen)
        assert (await rows({"sku": 1, "caption": "x"}))["status"] == "done"


async def test_two_rows_of_one_id_at_once(service, opened):
    async with pictures(f"{opened.url}/out/") as rows:
        row = {"sku": 1, "caption": "x"}
        statuses = sorted(each["status"] for each in await asyncio.gather(rows(row), rows(row)))
    assert statuses == ["done", "failed"]
    assert service.stats().completed == 1


async def test_all_outputs_of_a_row_stand_where_its_first_does(service, opened):
    """Its keys are the row's own, and get their objects last to first."""
    order = []

    class Watched:
        def __getattr__(self, name):
            return getattr(opened.store, name)

        async def put_async(self, path, *args, **options):
            order.append(path)
            return await opened.store.put_async(path, *args, **options)

    options = {"config": lambda row: {"prompt": "x", "output_message_count": 1}}
    async with pictures(Store(Watched(), url=opened.url), **options) as rows:
        done = await rows({"sku": 1})
    assert done["status"] == "done"
    assert [f"{opened.url}/{path}" for path in order[1:]] == done["urls"][::-1]


@pytest.mark.parametrize(
    "options",
    [
        {"to": "out/"},
        {"to": None},
        {"to": "ftp://x/"},
        {"accept": "png"},
        {"client": {"token": "t"}},
    ],
)
def test_what_cannot_work(options):
    with pytest.raises(InputError):
        pictures(options.pop("to", "memory:///x/"), **options)


async def test_a_bucket_that_is_not_there_and_no_token(service, opened, monkeypatch):
    with pytest.raises(InputError, match="NoSuchBucket"):
        await pictures("s3://nobodys/x/")({"sku": 1, "caption": "x"})
    monkeypatch.delenv("PRODIA_TOKEN")
    with pytest.raises(InputError, match="no token: set PRODIA_TOKEN"):
        await pictures(f"{opened.url}/")({"sku": 1, "caption": "x"})


async def test_further_outputs_of_a_row_are_never_the_outputs_of_another(service, opened):
    config = {"outputs": 2, "content_type": "image/png", "size": 3}
    options = {"type": "emulator.bytes.v1", "config": lambda _: config, "to": f"{opened.url}/out/"}
    async with Rows(id="sku", accept="image/png", **options) as rows:
        first, second = await rows({"sku": "x"}), await rows({"sku": "x-2"})
        assert (first["status"], second["status"]) == ("done", "done")
        assert opened.names() == ["out/x-2.png", "out/x-2/2.png", "out/x.png", "out/x/2.png"]
