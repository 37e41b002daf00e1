"""How a client is made, copied, pickled and closed."""

from __future__ import annotations

import platform
import random
import ssl
import sys
from collections.abc import Callable, Mapping
from functools import partial
from types import TracebackType
from typing import Any, Self
from weakref import WeakSet

from prodia_async import _door
from prodia_async._arguments import checked
from prodia_async._engine import Engine, Engines, Outcome
from prodia_async._errors import InputError, ProdiaError, quoted
from prodia_async._events import Hook, set_up_log
from prodia_async._files.sinks import Budget
from prodia_async._files.threads import start
from prodia_async._http.bearer import Bearer
from prodia_async._http.network import Trust, trust
from prodia_async._http.session import AiohttpTransport
from prodia_async._http.transport import Transport
from prodia_async._loops import OnExit
from prodia_async._pacing.clock import Clock, SystemClock
from prodia_async._pacing.limiter import Learned, Limiter
from prodia_async._settings import (
    Adaptive,
    Fixed,
    Limits,
    Options,
    Polling,
    Retry,
    Secret,
    Timeouts,
    Token,
    TokenFunction,
    allowed_concurrency,
    changed,
)
from prodia_async._stats import Event, LimitChange, Stats
from prodia_async._wire.address import DEFAULT_BASE_URL, proxy_for

_AGENT = f"prodia-async/{sys.modules['prodia_async'].__version__} Python/{platform.python_version()}"

_TELL = 5.0
"""Seconds that `on_event` may take to hear of the last events when the client is closed."""


_USUAL: tuple[Any, ...] = (False, {}, DEFAULT_BASE_URL, Adaptive(), Limits(), Polling(), Retry(), Timeouts())


def _shown(name: str, value: Any) -> str:
    """Return an argument as a repr shows it; nothing for a usual one. Texts in mappings may be passwords."""
    if value is None or any(type(value) is type(usual) and value == usual for usual in _USUAL):
        return ""
    if type(value) is dict:
        return f"{name}={{{', '.join(f'{key!r}: ***' for key in value)}}}"
    return f"{name}={quoted(value)}"


class Client:
    """The settings of a client, its engines, and its end: what `Prodia` stands on."""

    def __init__(
        self,
        *,
        token: str | TokenFunction | None = None,
        base_url: str | None = None,
        max_concurrency: int | None = None,
        limiter: Adaptive | Fixed | None = None,
        retry: Retry | None = None,
        timeout: float | None = None,
        timeouts: Timeouts | None = None,
        polling: Polling | None = None,
        limits: Limits | None = None,
        price: bool = False,
        headers: Mapping[str, str] | None = None,
        user_agent: str | None = None,
        on_event: Callable[[Event], object] | None = None,
        allow_insecure: bool | None = None,
        pickle_token: bool = False,
        ssl_context: ssl.SSLContext | None = None,
        session_options: Mapping[str, Any] | None = None,
        transport: Callable[[], Transport] | None = None,
        clock: Clock | None = None,
    ) -> None:
        given = {name: value for name, value in locals().items() if name != "self"}
        given["token"] = None if token is None else _door.token_of(token)
        del token  # a traceback may show the variables of its frames
        self.__setstate__(given)

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Set up: a client is its settings."""
        token: Any = state["token"] if state["token"] is not None else _door.token_of(None)
        if type(token) is InputError:  # isinstance() would ask a function of the user's own
            raise token
        given = checked(state)
        set_up_log()
        self._token = token
        self._address = _door.address_of(given["base_url"], given["allow_insecure"])
        if given["limiter"] is not None and given["max_concurrency"] is not None:
            raise InputError("give limiter= or max_concurrency=, not both")
        most = given["max_concurrency"]
        self._limiter = given["limiter"] or (Adaptive() if most is None else Adaptive(most))
        given |= {"base_url": self._address.url, "limiter": self._limiter, "max_concurrency": None}
        self._arguments = given
        self._clock: Clock = given["clock"] or SystemClock()
        self._hooks: WeakSet[Hook] = WeakSet()  # shared with copies
        self._proxy = proxy_for(self._address)
        hidden = self._proxy.login.hidden if self._proxy and self._proxy.login else ()
        self._secret = Secret("", *hidden)
        self._trust: Trust | None = None
        self._options = Options(
            url=f"{self._address.url}/v2/job",
            redact=self._secret.redact,
            tell=self._new_hook(given["on_event"]),
            **{name: given[name] for name in Options.__struct_fields__ if given.get(name) is not None},
        )
        self._learned: Learned = {}
        self._engines = Engines(self._make_engine)
        self._owns_engines = True

    def _new_hook(self, on_event: Callable[[Event], object] | None) -> Callable[[Event], None] | None:
        if on_event is None:
            return None
        hook = Hook(on_event)
        self._hooks.add(hook)
        return hook.tell

    def with_options(
        self,
        *,
        retry: Retry | None = None,
        timeout: float | None = None,
        timeouts: Timeouts | None = None,
        polling: Polling | None = None,
        limits: Limits | None = None,
        price: bool | None = None,
        headers: Mapping[str, str] | None = None,
        on_event: Callable[[Event], object] | None = None,
    ) -> Self:
        """Return a copy with other options that shares connections and limiter, and never closes them."""
        given = {name: value for name, value in locals().items() if name != "self" and value is not None}
        given = checked(given)
        copy = object.__new__(type(self))
        copy.__dict__.update(self.__dict__)
        own = {name: value for name, value in given.items() if name != "on_event"}
        if on_event is not None:
            own["tell"] = self._new_hook(given["on_event"])
        copy._options = changed(self._options, own)
        copy._arguments = {**self._arguments, **given, "headers": copy._options.headers}
        copy._owns_engines = False
        return copy

    def stats(self) -> Stats:
        """Return the counts of this client, and of its copies, in the running event loop."""
        engine = self._here()
        return engine.stats() if engine is not None else Stats()

    def limit_history(self) -> tuple[LimitChange, ...]:
        """Return the last 1,000 changes of the limits in the running event loop, oldest first."""
        engine = self._here()
        return tuple(engine.limiter.history) if engine is not None else ()

    def _here(self) -> Engine | None:
        try:
            return self._engines.peek()
        except RuntimeError:  # no running loop
            return None

    def set_limit(self, limit: int) -> None:
        """Let at most `limit` jobs be in flight from now on: `Adaptive`'s ceiling, `Fixed`'s number.

        It holds for this client and its copies, in each event loop, before and after the first job, and may
        be said from any thread. Jobs in flight above a lower limit are not touched: none is sent until so
        many have ended. Fewer are allowed where the process may open too few files, as for
        `max_concurrency`. A client that is pickled keeps the limit that it was made with.

        Raises InputError for anything but a whole number of at least 1.
        """
        limit = checked({"limit": limit}, needed=("limit",))["limit"]
        self._engines.set_limit(allowed_concurrency(limit, told=True))

    async def aclose(self, *, drain: float = 0.0) -> tuple[Outcome, ...]:
        """Close this event loop's connections, and return the jobs that did not finish.

        No job begins any more, and those that wait are sent away; those in flight have `drain` seconds to
        finish before they are cut. Each that did not is in what is returned, and its own call raises the same
        ClientClosedError, whose `may_have_run` tells whether the service may have run it.

        Using the client again reopens it, but for one that was stopped with a `drain`: it and its copies stay
        closed. A copy made by `with_options` closes nothing.
        """
        drain = checked({"drain": drain})["drain"]
        if not self._owns_engines:
            return ()
        if drain:
            self._engines.stopped = True
        engine = self._engines.peek()
        async with OnExit(self._close):
            return () if engine is None else await engine.drain(drain)

    async def _close(self) -> None:
        await self._engines.aclose()
        heard = [start(hook.wait, _TELL, apart=True) for hook in self._hooks if hook.is_busy]
        for trip in heard:
            await trip.settled()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    def __repr__(self) -> str:
        given = [_shown(name, value) for name, value in self._arguments.items() if name != "token"]
        return f"Prodia({', '.join([*filter(None, given), 'token=***'])})"

    def __getstate__(self) -> dict[str, Any]:
        if type(self._arguments["token"]) is Token and not self._arguments["pickle_token"]:
            raise InputError(
                "this client holds an explicit token and is not pickled with it: set PRODIA_TOKEN where it "
                "is unpickled, or say Prodia(pickle_token=True)"
            )
        return self._arguments

    def __copy__(self, _: object = None) -> Self:
        return self.with_options()

    __deepcopy__ = __copy__

    def _make_engine(self) -> Engine:
        limiter = self._limiter
        limit = self._engines.limit
        if limit is None:
            limit = allowed_concurrency(limiter.max_concurrency, told=limiter != Adaptive())
        bearer = Bearer(self._token, self._secret.hide)
        make_transport = self._arguments["transport"] or partial(self._make_transport, bearer)
        chance = random.Random()  # noqa: S311 - jitter and boundaries, not secrets
        slots = Limiter(limiter, self._clock, chance, limit=limit, learned=self._learned)
        try:
            transport = make_transport()
        except (ProdiaError, TypeError):  # a TypeError: options that aiohttp does not know
            raise
        except Exception as error:
            raise InputError(f"the transport could not be made: {quoted(error)}") from error
        return Engine(transport, slots, Budget(self._options.limits.collect), chance, bearer)

    def _make_transport(self, bearer: Bearer) -> Transport:
        self._address.check_offline()
        context, proxy = self._arguments["ssl_context"], self._proxy
        needs_tls = context or "https" in (self._address.scheme, proxy and proxy.url[:5])
        if self._trust is None and needs_tls:
            self._trust = trust(context)
        agent = self._arguments["user_agent"] or _AGENT
        return AiohttpTransport(
            bearer,
            {"User-Agent": agent, "Accept-Encoding": "identity"},
            self._options.timeouts.keepalive,
            proxy=proxy,
            trust=self._trust,
            session_options=self._arguments["session_options"],
        )


def rooms_of(client: Client) -> tuple[Engines, Options]:
    """Return what runs a client's calls, for rooms that make their own."""
    if not isinstance(client, Client):
        raise InputError(f"prodia takes a client, such as Prodia(), not {quoted(client)}")
    return client._engines, client._options  # noqa: SLF001 - the class's own module
