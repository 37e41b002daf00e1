"""Stores that fail, or take their time, at any call that reaches them."""

from __future__ import annotations

import asyncio
from typing import Any

CALLS = ("put_async", "get_async", "head_async", "delete_async")


class Faulty:
    """A store whose `at`-th call fails: before anything is done or, for an upload, after so many blocks."""

    def __init__(self, store: Any, at: int, *, after_blocks: int = 0) -> None:
        self.store, self.at, self.after_blocks = store, at, after_blocks
        self.calls = 0

    def __getattr__(self, name: str) -> Any:
        if name not in CALLS:
            raise AttributeError(name)

        async def call(path: str, *args: Any, **options: Any) -> Any:
            self.calls += 1
            if self.calls == self.at:
                if self.after_blocks and args and hasattr(args[0], "__anext__"):
                    args = (self._broken(args[0]), *args[1:])
                else:
                    raise ConnectionError("no route to https://bucket.example/x?sig=s3cret-signature")
            return await getattr(self.store, name)(path, *args, **options)

        return call

    async def _broken(self, blocks: Any) -> Any:
        left = self.after_blocks
        async for block in blocks:
            yield block
            left -= 1
            if not left:
                raise ConnectionError("cut off")


class Mute:
    """A store that does what it is told to, and whose answers to puts are lost."""

    def __init__(self, store: Any) -> None:
        self.store = store

    def __getattr__(self, name: str) -> Any:
        return getattr(self.store, name)

    async def put_async(self, *args: Any, **options: Any) -> Any:
        await self.store.put_async(*args, **options)
        raise ConnectionError("the answer was lost")


class Slow:
    """A store that takes some time for each call, and for each block of an upload."""

    def __init__(self, store: Any, seconds: float) -> None:
        self.store, self.seconds = store, seconds
        self.at_once = self.most_at_once = 0

    def __getattr__(self, name: str) -> Any:
        if name not in CALLS:
            raise AttributeError(name)

        async def call(path: str, *args: Any, **options: Any) -> Any:
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
            try:
                await asyncio.sleep(self.seconds)
                if args and hasattr(args[0], "__anext__"):
                    args = (self._slowly(args[0]), *args[1:])
                return await getattr(self.store, name)(path, *args, **options)
            finally:
                self.at_once -= 1

        return call

    async def _slowly(self, blocks: Any) -> Any:
        async for block in blocks:
            await asyncio.sleep(self.seconds)
            yield block
