"""Every kind of sink, and how to look at what each has kept: ours, a user's own, and object stores."""

import asyncio
from importlib.util import find_spec

import pytest
from files.steps import descriptors

from prodia_async._files.outputs import MemorySink
from prodia_async._files.sinks import Budget, FileSink, FolderSink
from prodia_async._models import Job
from prodia_async.stores import Store

MiB = 1024 * 1024
KINDS = ["memory", "file", "file without budget", "folder", "folder without budget", "user"]
IS_CLOUD_HERE = find_spec("obstore") is not None and find_spec("moto") is not None
STORES = [f"{kind}{way}" for kind in ("s3", "memory store", "local store") for way in ("", " in parts")]

if IS_CLOUD_HERE:
    import obstore
    from obstore.store import LocalStore, MemoryStore
    from support.buckets import bucket, object_server  # noqa: F401 - fixtures


class UsersSink:
    """What a user may write: a plain object with the three methods."""

    def __init__(self, store):
        self.store = store
        self.open_now = []

    async def open(self, output):
        writer = UsersWriter(output.index)
        self.open_now.append(writer)
        return writer

    async def commit(self, result):
        await asyncio.sleep(0)
        for writer in self.open_now:
            self.store[f"{result.id}-{writer.index}"] = b"".join(writer.blocks)
        self.open_now = []

    async def discard(self):
        self.open_now = []


class UsersWriter:
    def __init__(self, index):
        self.index = index
        self.blocks = []

    async def write(self, data):
        await asyncio.sleep(0)
        self.blocks.append(data)

    async def close(self):
        await asyncio.sleep(0)


class Case:
    """A kind of sink, and how to look at what it has kept."""

    def __init__(self, kind, folder, bucket=None):
        self.kind = kind
        self.bucket = bucket
        self.folder = folder
        self.store = {}
        self.writers = []
        self.budget = Budget(0 if kind.endswith("without budget") else 32 * MiB)
        self.place = self.objects = None
        if kind in STORES:
            made = {"s3": bucket and bucket.store, "memory store": MemoryStore(), "local store": None}
            self.objects = made[kind.removesuffix(" in parts")] or LocalStore(str(folder))
            self.place = Store(self.objects, "out/", collect=0 if kind.endswith("in parts") else 32 * MiB)

    def sink(self):
        self.writers = []
        if self.place is not None:
            return self.place(Job("inference.ping.v1"))
        if self.kind == "user":
            return UsersSink(self.store)
        if self.kind == "memory":
            return MemorySink(64 * MiB)
        if self.kind.startswith("folder"):
            return FolderSink(self.folder / "new" / "out", None, self.budget)
        return FileSink(self.folder / "x.png", self.budget)

    async def output(self, sink, info, *blocks):
        writer = await sink.open(info)
        self.writers.append(writer)
        for block in blocks:
            await writer.write(block)
        await writer.close()

    def kept(self):
        if self.bucket is not None:
            return [self.bucket.content(key) for key in sorted(self.bucket.names())]
        if self.kind.startswith("memory store"):
            keys = sorted(each["path"] for block in obstore.list(self.objects) for each in block)
            return [bytes(obstore.get(self.objects, key).bytes()) for key in keys]
        if self.kind == "user":
            return list(self.store.values())
        if self.kind == "memory":
            return [writer.data for writer in self.writers if writer.data is not None]
        return [path.read_bytes() for path in sorted(self.folder.rglob("*")) if path.is_file()]

    def is_clean(self):
        """Tell whether nothing half done is left: no bytes held, no temporary file, no unfinished upload."""
        if self.bucket is not None and self.bucket.uploads():
            return False
        if self.place is not None:
            room = self.place.room()
            free = room.slots._value == self.place._sizes[0]
            half = [path for path in self.folder.rglob("*") if path.is_file() and "#" in path.name]
            return free and not room.collected and not room.begun and not half
        return self.budget.used == 0 and not list(self.folder.rglob(".prodia-*"))

    def descriptors(self):
        """Return how many are open; a store keeps its connections."""
        return descriptors() if self.place is None else 0

    def clear(self):
        self.store.clear()
        self.writers.clear()
        for path in [path for path in self.folder.rglob("*") if path.is_file()]:
            path.unlink()
        if self.bucket is not None:
            self.bucket.clear()
        elif self.kind.startswith("memory store"):
            for block in obstore.list(self.objects):
                for each in block:
                    obstore.delete(self.objects, each["path"])


@pytest.fixture(params=KINDS + (STORES if IS_CLOUD_HERE else []))
def case(request, tmp_path):
    bucket = request.getfixturevalue("bucket") if request.param.startswith("s3") else None
    return Case(request.param, tmp_path, bucket)
