"""How outputs get into an object store: nothing is seen before the commit, and nothing stays without it.

A small output is collected, and put in one request at the commit. A larger one is uploaded in parts while it
arrives; the upload's end is held back until the commit, and only then does the object appear.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import secrets
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, Protocol

from msgspec import json

from prodia_async._errors import OutputError
from prodia_async._files.landing import name_of, safe_name
from prodia_async._models import JobResult, OutputInfo
from prodia_async._settings import MiB
from prodia_async._uploads import ObjectStore, Steady, Upload, fetch, is_taken, reason, seen, settled
from prodia_async._wire import media

_SMALL = 8 * MiB  # an output up to this size is collected, if the store has room for it
_BLOCK = MiB  # what an upload is handed at once; one more is held while it has one in hand


class Room:
    """What the jobs of one event loop share of a store: how much is held, and which keys are taken."""

    def __init__(self, uploads: int, collect: int) -> None:
        self.trial: asyncio.Lock = asyncio.Lock()
        """Held by who finds out whether the store takes outputs."""
        self.slots: asyncio.Semaphore = asyncio.Semaphore(uploads)
        """Jobs that upload at the same time; each holds at most some 40 MiB."""
        self.collect = collect
        self.collected = 0
        """Bytes of small outputs that wait for their commit."""
        self.begun: set[str] = set()
        """Keys of uploads under way."""


class Place(Protocol):
    """Where outputs go: see `prodia_async.stores.Store`."""

    store: ObjectStore
    prefix: str
    name: str | None
    owns: bool
    keeps_types: bool

    def room(self) -> Room:
        """Return what the running loop's jobs share."""

    def url_of(self, key: str) -> str:
        """Return the URL of a key."""


class StoreWriter:
    """One output on its way into a store; `url` says where it is, once it is committed."""

    def __init__(self, sink: StoreSink, info: OutputInfo) -> None:
        self.url: str | None = None
        self.prodia_fetch: Callable[[Callable[[bytes], object], int], None] | None = None
        self.info = info
        self.upload: Upload | None = None
        self.key = ""  # of an upload, or of what has been put
        self.held: bytearray = bytearray()
        self.size: int = 0
        self._sink = sink
        self._counted = 0  # bytes of `held` that the store's room counts

    async def write(self, data: bytes) -> None:
        """Take the next bytes; waits where the store is slower than the network."""
        self.size += len(data)
        if self.upload is None:
            room = self._sink.room
            if len(self.held) + len(data) <= _SMALL and room.collected + len(data) <= room.collect:
                room.collected += len(data)
                self._counted += len(data)
                self.held += data
                return
            with self._sink.told():
                self.upload = await self._sink.begin(self)
        self.held += data
        if len(self.held) >= _BLOCK:
            await self._hand_over(self.upload)

    async def close(self) -> None:
        """Take note that the output is whole."""
        if self.upload is not None and self.held:
            await self._hand_over(self.upload)

    async def _hand_over(self, upload: Upload) -> None:
        block, self.held = self.held, bytearray()
        self._let_go()
        with self._sink.told():
            await upload.give(block)

    def _let_go(self) -> None:
        self._sink.room.collected -= self._counted
        self._counted = 0

    def release(self) -> None:
        """Forget the bytes."""
        self.held = bytearray()
        self._let_go()


class StoreSink:
    """Takes the outputs of one attempt of a job into a store."""

    def __init__(self, store: Place, custom_id: str | None) -> None:
        self.room: Room = store.room()
        self._store = store
        self._stem = custom_id
        self._writers: list[StoreWriter] = []
        self._has_slot = False
        self._begun: list[str] = []

    async def open(self, output: OutputInfo) -> StoreWriter:
        """Begin an output."""
        writer = StoreWriter(self, output)
        self._writers.append(writer)
        return writer

    def job_part(self, body: bytes) -> None:
        """Hear of the reply's job part: its id names a large output before the reply has ended."""
        if self._stem is None:
            with contextlib.suppress(Exception):  # the reply's reader says what is wrong with it
                self._stem = str(json.decode(body)["id"])

    async def begin(self, writer: StoreWriter) -> Upload:
        """Begin an upload, when the store has room for one more job with uploads."""
        if not self._has_slot:
            await self.room.slots.acquire()
            self._has_slot = True
        stem = safe_name(self._stem or f"output-{secrets.token_hex(8)}")
        number = writer.info.index + 1
        writer.key = self._key(stem, writer, number)
        while not self._replaces(writer) and not await self._takes(writer.key):
            number += 1
            writer.key = self._key(stem, writer, number)
        return Upload(self._store.store, writer.key, self._attributes(writer))

    async def _takes(self, key: str) -> bool:
        """Take a key for an upload, unless another upload of this loop has it, or something stands there."""
        if key in self.room.begun:
            return False
        self.room.begun.add(key)
        self._begun.append(key)  # given back in the end, whatever comes
        return await seen(self._store.store, key) is None

    async def commit(self, result: JobResult) -> None:
        """Let the outputs appear, all of them or none, in order; last to first where keys are the job's own.

        From its begin on a cancellation waits until it has ended.
        """
        if not self._writers:
            return
        task = Steady(self._commit(safe_name(self._stem or result.id or result.request_id or "output")))
        await settled([task])
        error = task.result()
        if error is not None:
            raise error

    async def discard(self) -> None:
        """Leave nothing: an upload under way is aborted, and waited for."""
        writers, self._writers = self._writers, []
        await self._drop(writers)

    async def _commit(self, stem: str) -> None:
        writers, self._writers = self._writers, []
        failure: OutputError | None = None
        try:
            for writer in writers[::-1] if self._store.owns else writers:
                await self._land(writer, stem)
        except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 - a loop's end cuts `Blocks`
            failure = self.failed(error)
        if failure is not None:
            await self._undo([writer for writer in writers if writer.url is not None])
        await self._drop(writers)
        if failure is not None:
            raise failure

    async def _land(self, writer: StoreWriter, stem: str) -> None:
        if writer.upload is None:
            await self._put(writer, stem)
        else:
            await self._end(writer, writer.upload)
        writer.url = self._store.url_of(writer.key)
        writer.prodia_fetch = partial(fetch, self._store.store, writer.key, writer.url)

    async def _end(self, writer: StoreWriter, upload: Upload) -> None:
        """End an upload. Its answer may be lost: a store takes its time to put many parts together."""
        before = await seen(self._store.store, writer.key)
        if before is not None and not self._replaces(writer):
            raise OutputError(
                f"something else was written to {self._store.url_of(writer.key)} meanwhile: "
                "give each job a custom_id of its own",
                may_have_run=True,
            )
        try:
            await upload.end()
        except (Exception, asyncio.CancelledError):
            after = await self._left(writer)
            if after is None or (before is not None and after["e_tag"] == before["e_tag"]):
                raise

    async def _left(self, writer: StoreWriter) -> Mapping[str, Any] | None:
        """Look what stands after a request that failed: None unless it may be our output."""
        with contextlib.suppress(Exception):  # what failed is the request before
            found = await seen(self._store.store, writer.key)
            if found is not None and found["size"] == writer.size:
                return found
        return None

    async def _put(self, writer: StoreWriter, stem: str) -> None:
        """Put a small output in one request, under a key that is free, or ours."""
        number = writer.info.index + 1
        mode = "overwrite" if self._replaces(writer) else "create"
        while True:
            writer.key = self._key(stem, writer, number)
            number += 1
            if writer.key in self.room.begun:
                continue
            try:
                await self._store.store.put_async(
                    writer.key, writer.held, attributes=self._attributes(writer), mode=mode
                )
            except Exception as error:
                if mode == "create" and is_taken(error):
                    continue
                found = await self._left(writer)
                digest = hashlib.md5(writer.held, usedforsecurity=False).hexdigest()
                if found is None or str(found["e_tag"]).strip('"') != digest:  # as S3 makes it of one put
                    raise
            return

    async def _undo(self, writers: list[StoreWriter]) -> None:
        """Remove what has appeared: the job's outputs stand together or not at all."""
        for writer in writers:
            with contextlib.suppress(Exception):  # of a store that fails: what fails the job is told
                await self._store.store.delete_async(writer.key)
                writer.url = None

    async def _drop(self, writers: list[StoreWriter]) -> None:
        """Forget what was collected, and abort what is under way."""
        for writer in writers:
            writer.release()
        uploads = [writer.upload for writer in writers if writer.upload is not None]
        for upload in uploads:
            upload.fail()
        try:
            await settled([upload.task for upload in uploads])
        finally:
            self._leave()

    def _leave(self) -> None:
        """Give back the place among those that upload, and the keys."""
        if self._has_slot:
            self.room.slots.release()
            self._has_slot = False
        self.room.begun.difference_update(self._begun)
        self._begun = []

    def _key(self, stem: str, writer: StoreWriter, number: int) -> str:
        """Return the key of an output: `<prefix><stem>.<ext>`, then `-2`, `-3`, like files in a folder.

        Where keys are given to jobs that own them, then `<stem>/2.<ext>`: another may be called `x-2`.
        """
        name = self._store.name
        if name is not None:
            if number == 1:
                return self._store.prefix + name
            stem = name.rpartition(".")[0] or name
            if self._store.owns:
                return f"{self._store.prefix}{stem}/{number}{media.suffix_for(writer.info.content_type)}"
        return self._store.prefix + name_of(stem, media.suffix_for(writer.info.content_type), number)

    def _replaces(self, writer: StoreWriter) -> bool:
        return self._store.owns or (self._store.name is not None and writer.info.index == 0)

    def _attributes(self, writer: StoreWriter) -> dict[str, str] | None:
        return {"Content-Type": writer.info.content_type} if self._store.keeps_types else None

    def failed(self, error: BaseException) -> OutputError:
        """Return what an error of the store means."""
        if isinstance(error, OutputError):
            return error
        return OutputError(f"{self._store} did not take the output: {reason(error)}", may_have_run=True)

    @contextlib.contextmanager
    def told(self) -> Iterator[None]:
        """Raise whatever a store raises as OutputError; its own text may show what is secret."""
        try:
            yield
        except Exception as error:  # noqa: BLE001 - a store may raise anything
            failure = self.failed(error)
            raise failure from None
