"""One value per loop, what a forked child forgets, and clean-up that survives cancellation.

Sockets, timers and waiters belong to the loop that made them. A client that keeps them in a `PerLoop` works
in several `asyncio.run` one after another, in several threads, and in forked children.
"""

from __future__ import annotations

import asyncio
import os
import weakref
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

import anyio

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable


class PerLoopValue(Protocol):
    """What lives in one loop."""

    async def aclose(self) -> None:
        """Close in the loop that it was made in."""

    def close_dead(self) -> None:
        """Release the descriptors of a loop that is closed, without touching that loop."""

    def abandon(self) -> None:
        """In a forked child: let go of the parent's descriptors without a word on any wire."""


V = TypeVar("V", bound=PerLoopValue)

_forgetful: weakref.WeakSet[Any] = weakref.WeakSet()

forget_in_child = _forgetful.add
"""Have `forget()` of this thing called in each forked child, for as long as it lives: threads, locks and
connections of the parent are not the child's own."""


def _forget_all() -> None:
    for thing in list(_forgetful):
        thing.forget()


if hasattr(os, "register_at_fork"):  # pragma: no branch - absent on Windows, which has no fork
    os.register_at_fork(after_in_child=_forget_all)


class OnExit:
    """`async with OnExit(cleanup)`: await what `cleanup()` gives in the end, shielded from cancellation.

    It gives None where nothing is left to be awaited, which costs no shield. A coroutine whose loop was
    killed is finalised without a loop: then nothing can be awaited, and is not.
    """

    def __init__(self, cleanup: Callable[[], Awaitable[object] | None]) -> None:
        self._cleanup = cleanup

    async def __aenter__(self) -> None:
        return None

    async def __aexit__(self, kind: type[BaseException] | None, *error: object) -> None:
        if kind is not GeneratorExit and (left := self._cleanup()) is not None:
            await shielded(left)


shielded_tasks: weakref.WeakSet[asyncio.Task[Any]] = weakref.WeakSet()
"""Those in a cleanup that no scope and no deadline may cut."""


async def shielded(cleanup: Awaitable[object]) -> None:
    """Await a cleanup, shielded from the cancellation of scopes and deadlines."""
    task = asyncio.current_task()
    with anyio.CancelScope(shield=True):
        if task is None or task in shielded_tasks:
            await cleanup
            return
        shielded_tasks.add(task)
        try:
            await cleanup
        finally:
            shielded_tasks.discard(task)


def make_immortal(thing: object) -> None:
    """Keep `thing`, and all that it refers to, from ever being finalised."""
    import ctypes  # noqa: PLC0415 - 3 ms that only a fork or a killed loop costs

    ctypes.pythonapi.Py_IncRef(ctypes.py_object(thing))


_open: set[PerLoopValue] = set()
"""Keeps each value until its guard has closed it, so that it is never finalised while it is open."""


class PerLoop(Generic[V]):
    """The values of one client, by running loop. Several threads may use it at once."""

    def __init__(self, make: Callable[[], V]) -> None:
        self._make = make
        self._entries: dict[asyncio.AbstractEventLoop, tuple[V, AsyncGenerator[None, None]]] = {}
        forget_in_child(self)

    def forget(self) -> None:
        """In a forked child: never use, close or finalise what was inherited.

        Closing would unregister the parent's sockets from the epoll object that both share, and a TLS
        finaliser would end the parent's connection; so the values are made immortal, and their descriptors
        are taken from them in case the child runs on in the parent's loop.
        """
        for entry in self._entries.values():
            make_immortal(entry)
            entry[0].abandon()
        self._entries = {}

    def peek(self) -> V | None:
        """Return the running loop's value if there is one."""
        entry = self._entries.get(asyncio.get_running_loop())
        return None if entry is None else entry[0]

    def live(self) -> list[tuple[asyncio.AbstractEventLoop, V]]:
        """Return each loop that is not closed, and its value."""
        return [(loop, value) for loop, (value, _) in tuple(self._entries.items()) if not loop.is_closed()]

    async def get(self) -> V:
        """Return the running loop's value, made if this is its first use here."""
        value = self.peek()
        if value is None:
            self.close_dead()
            value = self._make()
            guard = _guard(weakref.ref(self), value)
            self._entries[asyncio.get_running_loop()] = value, guard
            _open.add(value)
            await anext(guard)
        return value

    async def aclose(self) -> None:
        """Close the running loop's value and what dead loops left."""
        self.close_dead()
        entry = self._entries.get(asyncio.get_running_loop())
        if entry is not None:
            await entry[1].aclose()

    def close_dead(self) -> None:
        """Close what is left of loops that were closed without telling us."""
        for loop in tuple(self._entries):
            if loop.is_closed() and (entry := self._entries.pop(loop, None)):  # given to one thread alone
                entry[0].close_dead()
                _open.discard(entry[0])


async def _guard(owner: weakref.ref[PerLoop[V]], value: V) -> AsyncGenerator[None, None]:
    """Close the value when the loop shuts its async generators down, as every loop runner does.

    It also ends when the client is dropped, since it holds the value but not the client.
    """
    pid = os.getpid()
    try:
        yield
    finally:
        if pid == os.getpid():
            values = owner()
            if values is not None:
                values._entries.pop(asyncio.get_running_loop(), None)  # noqa: SLF001 - the two are one
            await value.aclose()
            _open.discard(value)
