"""Buckets: outputs that go into an object store, and inputs that come out of one. The extra `cloud`.

`to="s3://bucket/prefix/"` and `inputs=["s3://bucket/in.jpg"]`, with `gs://`, `az://`, `file://` and `memory://`
too, open the store as obstore does, with what the environment says. `Store(store, "prefix/")` takes any store
of obstore, with credentials and options of its own, or whatever else has the methods of `ObjectStore`.
"""

from __future__ import annotations

import asyncio
import atexit
import copy
import re
import secrets
import time
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from prodia_async._errors import InputError, quoted
from prodia_async._extras import missing
from prodia_async._files.readers import Reader, Source
from prodia_async._settings import MiB
from prodia_async._store_sink import Room, StoreSink, StoreWriter
from prodia_async._uploads import RANGE, DroppedError, ObjectStore, Upload, reason, seen, settled
from prodia_async._wire import media

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from prodia_async._models import Job

__all__ = ["ObjectStore", "Store", "StoreSink", "StoreWriter", "Stored"]

_UPLOADS = 4
_COLLECT = 64 * MiB
_TRIAL = 30.0
"""Seconds that a store may take to say whether it takes outputs."""

_HEAD = 512
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_BAD_KEY = re.compile(r"[\x00-\x1f\x7f]|(?:^|/)\.{0,2}/|(?:^|/)\.{1,2}$")
_WITHOUT_BUCKET = {"file", "memory"}


class Store:
    """`to=Store(store, "prefix/")`: outputs go into an object store, none is replaced.

    The first output of a job is `<prefix><custom_id or job id>.<ext>`, then `-2`, `-3`. `store` is one of
    obstore's, or has the methods of `ObjectStore`. With `owns` the keys of a job are its own, and whatever
    stands there is replaced, the first of a job last: where it stands, all do. That is for work which is done
    again under the same custom_id. `url`: what stands before
    the key in `Output.url`, such as `s3://bucket`, without a slash at its end;
    obstore's stores tell it themselves.

    `uploads`: how many jobs may upload outputs of more than 8 MiB at the same time, each with at most some 40
    MiB in memory; others wait, and the service with them. `collect`: bytes of small outputs under way. Both
    hold for each event loop.
    """

    accept: str | None = None
    is_good: bool = False
    """Whether it is known to take outputs."""

    name: str | None = None
    """The key of the first output, after the prefix, where it was given: it is replaced."""

    def __init__(
        self,
        store: ObjectStore,
        prefix: str = "",
        *,
        url: str | None = None,
        owns: bool = False,
        uploads: int = _UPLOADS,
        collect: int = _COLLECT,
    ) -> None:
        for method in ("put_async", "get_async", "head_async", "delete_async"):
            if not callable(getattr(store, method, None)):
                raise InputError(f"Store(...) takes a store of obstore, not {type(store).__name__}")
        if uploads < 1 or collect < 0:
            raise InputError("Store(...) takes uploads of at least 1 and collect of at least 0")
        self.store = store
        prefix = _key(prefix, "a prefix")
        self.prefix: str = prefix if not prefix or prefix.endswith("/") else f"{prefix}/"
        self.owns = owns
        self.keeps_types: bool = type(store).__name__ != "LocalStore"
        """Whether it takes content types; files have none."""

        self._url = _url_of(store) if url is None else url
        self._sizes = uploads, collect
        self._rooms: WeakKeyDictionary[asyncio.AbstractEventLoop, Room] = WeakKeyDictionary()

    async def prepare(self) -> None:
        """Find out whether the store takes outputs, before one is paid for: an upload is begun and aborted.

        Raises InputError.
        """
        async with self.room().trial:  # once for many jobs that begin at the same time
            if self.is_good:
                return
            failure = await self._try()
            if isinstance(failure, NotImplementedError) and self.keeps_types:
                self.keeps_types = False
                failure = await self._try()
            if not isinstance(failure, DroppedError | None):
                raise InputError(f"outputs cannot go to {self}: {reason(failure)}")
            self.is_good = True

    async def _try(self) -> BaseException | None:
        attributes = {"Content-Type": media.OCTETS} if self.keeps_types else None
        upload = Upload(self.store, f"{self.prefix}.prodia-{secrets.token_hex(8)}", attributes)
        upload.fail()
        await settled([upload.task], _TRIAL)
        if upload.task.done():
            return upload.task.result()
        return TimeoutError(f"it did not answer within {_TRIAL:g} s")

    def __call__(self, job: Job) -> StoreSink:
        """Make the sink of one attempt of a job."""
        return StoreSink(self, job.custom_id)

    def __repr__(self) -> str:
        return f"Store({self.url_of(self.prefix + (self.name or ''))!r})"

    def room(self) -> Room:
        """Return what the running loop's jobs share."""
        loop = asyncio.get_running_loop()
        room = self._rooms.get(loop)
        if room is None:
            room = self._rooms[loop] = Room(*self._sizes)
        return room

    def check_many(self) -> None:
        """Raise InputError for one key, which many jobs cannot share."""
        if self.name is not None:
            one = self.url_of(self.prefix + self.name)
            raise InputError(f"to= cannot be the one key {quoted(one)} for many jobs: pass a prefix")

    def url_of(self, key: str) -> str:
        """Return the URL of a key, prefix included."""
        return f"{self._url}/{key}"

    def renamed(self, name: str | None = None) -> Store:
        """Return the same store, whose first output has this key after the prefix, and is replaced."""
        other = copy.copy(self)
        other.name = name
        return other

    def input(self, key: str) -> Stored:
        """Return the object at a key, after the prefix, as an input: `inputs=[store.input("in.jpg")]`."""
        return Stored(self.store, _key(self.prefix + key, "a key"), self.url_of(self.prefix + key))

    async def stands(self, key: str, size: int | None = None) -> bool:
        """Ask, in one HEAD, whether an object, of that size, is at a key, after the prefix.

        Raises what the store raises.
        """
        found = await seen(self.store, self.prefix + key)
        return found is not None and size in (None, found["size"])


class Stored:
    """An object of a store, as an input. It is looked at once, and read anew for each attempt.

    An object that changes in between (its ETag tells) is an InputError.
    """

    def __init__(self, store: ObjectStore, key: str, url: str) -> None:
        self.url = url
        self.name: str = key.rpartition("/")[2]
        self._store = store
        self._key = key

    def __repr__(self) -> str:
        return f"Stored({self.url!r})"

    async def prodia_source(self, label: str) -> Source:
        """Look at it, and return what is sent of it: its first bytes, which say its type, tell its size."""
        try:
            head, meta = await self._look()
        except Exception as error:  # noqa: BLE001 - a store may raise anything
            found = self._unreadable(label, error)
            raise found from None
        size, mark = int(meta["size"]), meta["e_tag"]
        return Source(
            label, lambda source: Reader(source, items=_Reading(self, label, size, mark)), size, head
        )

    async def _look(self) -> tuple[bytes, Any]:
        try:
            result = await self._store.get_async(self._key, options={"range": (0, _HEAD)})
            return bytes(await result.bytes_async()), result.meta
        except FileNotFoundError:
            raise
        except Exception:
            meta = await self._store.head_async(self._key)
            if meta["size"]:
                raise
            return b"", meta  # nothing has no first bytes, and asking for them is an error

    async def take(self, start: int, end: int, mark: str | None) -> bytes:
        """Read a range of the object that had this ETag."""
        options: dict[str, Any] = {"range": (start, end)}
        if mark is not None:
            options["if_match"] = mark
        result = await self._store.get_async(self._key, options=options)
        return bytes(await result.bytes_async())

    def _unreadable(self, label: str, error: Exception) -> InputError:
        if isinstance(error, FileNotFoundError):
            return InputError(f"{label}: {self.url} does not exist: check the bucket and the key")
        return InputError(f"{label}: {self.url} cannot be read: {reason(error)}")

    def unreadable(self, label: str, error: Exception) -> InputError:
        """Return what an error on the way means."""
        gone = isinstance(error, FileNotFoundError) or type(error).__name__ == "PreconditionError"
        if gone or isinstance(error, _ChangedError):
            what = f"{label} changed while it was sent"
            return InputError(f"{what}: let nobody write to {self.url}, and run the job again")
        return self._unreadable(label, error)


class _ChangedError(Exception):
    """A range is not as long as it was."""


class _Reading:
    """One attempt's reading of an object, a range at a time."""

    def __init__(self, stored: Stored, label: str, size: int, mark: str | None) -> None:
        self._given = stored, label, size, mark

    async def __aiter__(self) -> AsyncIterator[bytes]:
        stored, label, size, mark = self._given
        for start in range(0, size, RANGE):
            end = min(size, start + RANGE)
            try:
                block = await stored.take(start, end, mark)
                if len(block) != end - start:
                    raise _ChangedError  # noqa: TRY301 - like what the store says
            except Exception as error:  # noqa: BLE001 - a store may raise anything
                found = stored.unreadable(label, error)
                raise found from None
            yield block


def target(url: str, outright: bool | None = None) -> Store:
    """Return where outputs go with `to=url`: by the rules of paths, a known media suffix makes it a key.

    `outright` says whether it is one, where that was said. Raises InputError.
    """
    store, base, key = _opened(url, "to=")
    name = key.rpartition("/")[2]
    if not (media.type_for_name(name) is not None if outright is None else outright):
        return Store(store, key, url=base)
    if not name:
        raise InputError(f"to= cannot be the file {quoted(url)}: pass a URL that ends in a name")
    made = Store(store, key[: len(key) - len(name)], url=base).renamed(name)
    kind = media.type_for_name(name)
    made.accept = None if kind == media.OCTETS else kind
    return made


def stored(label: str, url: str) -> Stored:
    """Return the object at a URL as an input. Raises InputError for a URL that cannot be one."""
    store, base, key = _opened(url, label)
    if not key or key.endswith("/"):
        raise InputError(f"{label}: {quoted(url)} is a prefix: pass the URL of one object")
    return Stored(store, key, f"{base}/{key}")


atexit.register(time.sleep, 0.2)
"""obstore's threads let go of what they had a moment after their answer: an exit meanwhile aborts the process
(obstore 0.12.1: two thirds of those whose last act is an upload)."""

_stores: dict[str, ObjectStore] = {}
"""Those that were opened by a URL, which keep connections."""

_MOST_STORES = 64


def _opened(url: str, what: str) -> tuple[ObjectStore, str, str]:
    """Return the store of a URL, what its keys stand after, and the key."""
    scheme, _, rest = url.partition("://")
    scheme = scheme.lower()
    bucket, _, key = rest.partition("/")
    base = f"{scheme}://{bucket}"
    if bool(bucket) is (scheme in _WITHOUT_BUCKET) or not (not bucket or _BUCKET.fullmatch(bucket)):
        form = f"{scheme}:///folder/" if scheme in _WITHOUT_BUCKET else f"{scheme}://bucket/prefix/"
        raise InputError(f"{what} is no URL of a store: it takes the form {form!r}")
    _key(key, f"{what}: {base}/...")
    if base not in _stores:
        try:
            from obstore.store import from_url  # noqa: PLC0415 - an extra

            store: Any = from_url(f"{base}/")
        except ImportError:
            raise InputError(missing(f"{what}: {base}", "obstore", "cloud")) from None
        except Exception as error:  # noqa: BLE001 - a store may raise anything
            said = reason(error)
            raise InputError(
                f"{what}: {base} cannot be opened: {said}: set its environment, or pass Store(...)"
            ) from None
        if len(_stores) >= _MOST_STORES:
            del _stores[next(each for each in _stores if each != "memory://")]
        _stores[base] = store
    return _stores[base], base, key


def _key(key: Any, what: str) -> str:
    if not isinstance(key, str) or _BAD_KEY.search(key):
        raise InputError(f"{what} cannot be {quoted(key)}: keys have no empty parts, '.' and '..'")
    return str(key)


def _url_of(store: Any) -> str:
    """Return what stands before the keys of one of obstore's stores."""
    config = getattr(store, "config", None) or {}
    kind = type(store).__name__
    scheme = {"S3Store": "s3", "GCSStore": "gs", "AzureStore": "az", "LocalStore": "file"}.get(kind, "memory")
    bucket = config.get("bucket") or config.get("container_name") or ""
    prefix = str(getattr(store, "prefix", None) or "").strip("/")
    return "/".join(part for part in (f"{scheme}://{bucket}", prefix) if part)
