"""One upload into an object store: fed block by block, then ended or aborted, whatever is cancelled."""

from __future__ import annotations

import asyncio
import contextlib
import re
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Protocol

import anyio

from prodia_async._settings import MiB

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Coroutine, Mapping

_PART = 8 * MiB  # of an upload: S3 takes at least 5 MiB, and at most 10,000 of them
_PARTS = 2  # sent at once, by one upload
RANGE = 4 * MiB
"""An object is read by requests of this size: a store's time limit is one for a whole request."""

_PATIENCE = 30.0
"""Seconds that somebody who was cancelled waits for a store; after that it is left to end by itself."""

_SECRETS = re.compile(r"\?[^\s)]*|<\?xml.*|\n.*", re.DOTALL)
_CODE = re.compile(r"<Code>(\w+)</Code>")
_MOST_SAID = 300


class ObjectStore(Protocol):
    """What is asked of a store: four methods as obstore's stores have them.

    `head_async` raises FileNotFoundError where nothing is, `put_async(mode="create")` FileExistsError, or
    an error whose class is called AlreadyExistsError, where something is.
    """

    async def put_async(
        self, path: str, file: Any, *, attributes: Any = None, mode: Any = None, **options: Any
    ) -> Any:
        """Store bytes, or what an async iterator gives, whole or not at all."""

    async def get_async(self, path: str, *, options: Any = None) -> Any:
        """Begin to read an object."""

    async def head_async(self, path: str) -> Any:
        """Return a mapping with an object's `size` and `e_tag`."""

    async def delete_async(self, paths: str) -> Any:
        """Remove an object."""


def reason(error: BaseException) -> str:
    """Say in a line what a store's error says, without what may be secret: queries and signed requests."""
    text = str(error)
    code = _CODE.search(text)
    said = _SECRETS.sub("", text).strip().rstrip(":") or type(error).__name__
    return f"{said[:_MOST_SAID]}{f' ({code[1]})' if code else ''}"


class Steady(asyncio.Task[BaseException | None]):
    """A task that a cancellation does not reach: what it does ends by itself, also while its loop is closed.

    A request to a store that is cut may or may not have been done, and leaves an unfinished upload behind.
    Its result is the error that it ended with, for nobody may be there to take it.
    """

    def __init__(self, coroutine: Coroutine[Any, Any, Any]) -> None:
        super().__init__(_outcome(coroutine), loop=asyncio.get_running_loop())
        _under_way.add(self)  # a loop keeps no task alive
        self.add_done_callback(_under_way.discard)

    def cancel(self, msg: Any | None = None) -> bool:  # noqa: ARG002 - the signature is asyncio's
        """Do nothing, and say so."""
        return False


async def _outcome(coroutine: Coroutine[Any, Any, Any]) -> BaseException | None:
    try:
        await coroutine
    except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 - it is handed on
        return error
    return None


async def settled(tasks: Collection[Steady], timeout: float | None = None) -> None:
    """Wait until all are over, or for `timeout` seconds; their errors are not raised.

    A cancellation is raised when they are over, or after 30 s.
    """
    left = set(tasks)
    if not left:
        return
    try:
        await asyncio.wait(left, timeout=timeout)
    except asyncio.CancelledError:
        loop = asyncio.get_running_loop()
        until = loop.time() + _PATIENCE
        with anyio.CancelScope(shield=True):  # a cancelled scope would cancel again at each turn
            while left := {task for task in left if not task.done()}:
                with contextlib.suppress(asyncio.CancelledError):  # one more of them changes nothing
                    await asyncio.wait(left, timeout=until - loop.time())
                if loop.time() >= until:
                    break
        raise


_under_way: set[asyncio.Task[Any]] = set()


class Upload:
    """One upload under way: it is given blocks, and ends with `end` or `fail`.

    Whatever else cut it would leave its parts in the store, for only an iterator that raises makes obstore
    abort the upload: see `Blocks`.
    """

    def __init__(self, store: ObjectStore, key: str, attributes: Mapping[str, str] | None) -> None:
        self._blocks = Blocks()
        self.task: Steady = Steady(
            store.put_async(
                key,
                self._blocks,
                attributes=attributes,
                use_multipart=True,
                chunk_size=_PART,
                max_concurrency=_PARTS,
            )
        )
        self.task.add_done_callback(lambda _: self._blocks.taken.set())

    async def give(self, block: bytearray) -> None:
        """Hand a block over, once the one before is taken. Raises what the upload failed with."""
        blocks = self._blocks
        while blocks.block is not None and not self.task.done():
            blocks.taken.clear()
            await blocks.taken.wait()
        if self.task.done():
            raise self.task.result() or RuntimeError("the store ended an upload before it was whole")
        blocks.block = block
        blocks.news.set()

    async def end(self) -> None:
        """Let the object appear. Raises what the upload failed with."""
        self._blocks.is_whole = True
        self._blocks.news.set()
        error = await self.task
        if error is not None:
            raise error

    def fail(self) -> None:
        """Have the store drop what it has."""
        self._blocks.block, self._blocks.is_dropped = None, True
        self._blocks.news.set()


class DroppedError(Exception):
    """The outputs of this job are not wanted."""


class Blocks:
    """What an upload reads: an async iterator over blocks that come one at a time."""

    def __init__(self) -> None:
        self.block: bytearray | None = None
        self.is_whole = self.is_dropped = False
        self.news, self.taken = asyncio.Event(), asyncio.Event()

    def __aiter__(self) -> Blocks:
        return self

    async def __anext__(self) -> bytearray:
        while True:
            if self.is_dropped:
                raise DroppedError
            if self.block is not None:
                block, self.block = self.block, None
                self.taken.set()
                return block
            if self.is_whole:
                raise StopAsyncIteration
            self.news.clear()
            await self.news.wait()


def fetch(store: ObjectStore, key: str, url: str, write: Callable[[bytes], object], size: int) -> None:
    """Hand the bytes of an object, which has so many, to `write`, a range at a time.

    Blocks, and works in a thread of its own, for the one that asks may run an event loop. Raises OSError.
    """
    with ThreadPoolExecutor(max_workers=1) as thread:
        thread.submit(_fetch, store, key, url, write, size).result()


def _fetch(store: ObjectStore, key: str, url: str, write: Callable[[bytes], object], size: int) -> None:
    with asyncio.Runner() as runner:
        for start in range(0, size, RANGE):
            write(runner.run(_range(store, key, url, (start, min(size, start + RANGE)))))


async def _range(store: ObjectStore, key: str, url: str, ends: tuple[int, int]) -> bytes:
    try:
        result = await store.get_async(key, options={"range": ends})
        block = bytes(await result.bytes_async())
    except Exception as error:  # noqa: BLE001 - a store may raise anything
        kind = FileNotFoundError if isinstance(error, FileNotFoundError) else OSError
        raise kind(f"{url} could not be read: {reason(error)}") from None
    if len(block) != ends[1] - ends[0]:
        raise OSError(f"{url} is not what was stored: it has changed since")
    return block


async def seen(store: ObjectStore, key: str) -> Mapping[str, Any] | None:
    """Ask, in one HEAD, for the `size` and `e_tag` of what is at a key; None for nothing."""
    try:
        found: Mapping[str, Any] = await store.head_async(key)
    except FileNotFoundError:
        return None
    return found


def is_taken(error: Exception) -> bool:
    """Tell whether an error says that something stands at the key."""
    return isinstance(error, FileExistsError) or type(error).__name__ == "AlreadyExistsError"
