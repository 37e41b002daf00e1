"""Whatever is given for an argument or a field of a job: an error of ours, no hang, and no harm to others."""

from __future__ import annotations

import asyncio
import decimal
import enum
import fractions
import inspect
import itertools
import math
import pathlib
import traceback
import uuid
import warnings

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from prodia_async import (
    Adaptive,
    Fixed,
    Folder,
    Handle,
    Job,
    JobResult,
    Limits,
    Polling,
    Prodia,
    ProdiaError,
    Retry,
    Timeouts,
)
from prodia_async.batch import check_manifest, run_batch
from prodia_async.emulator import Emulator

TYPE = "inference.ping.v1"
GOOD = 20
PATIENCE = 60.0


class BoomError(Exception):
    def __repr__(self):
        raise BoomError

    __str__ = __repr__


def boom(*_, **__):
    raise BoomError


OPERATIONS = [
    *(
        "repr",
        "str",
        "eq",
        "ne",
        "lt",
        "le",
        "gt",
        "ge",
        "hash",
        "bool",
        "len",
        "iter",
        "next",
        "aiter",
        "anext",
    ),
    *(
        "fspath",
        "index",
        "int",
        "float",
        "call",
        "getattr",
        "contains",
        "getitem",
        "add",
        "radd",
        "sub",
        "rsub",
    ),
    *("mul", "neg", "round", "buffer", "enter", "aenter", "await", "format"),
]
Hostile = type("Hostile", (), {f"__{name}__": boom for name in OPERATIONS})
Masked = type("Masked", (), {"__class__": property(boom), "__repr__": boom})
KINDS = [
    type(
        f"Hostile{base.__name__}", (base,), {f"__{name}__": boom for name in OPERATIONS if name != "getattr"}
    )
    for base in (int, float, str, bytes, list, dict, tuple, pathlib.PurePosixPath, uuid.UUID)
]
Scalar = type("bool", (), {"__module__": "numpy", "__bool__": lambda self: True})
Int64 = type("int64", (), {"__module__": "numpy", "__index__": lambda self: 5})
Reader = type("Reader", (), {"read": boom})
TextReader = type("TextReader", (), {"read": lambda self, size=-1: "text"})
Named = type("Named", (), {"read": lambda self, size=-1: b"", "name": property(boom)})


class Level(enum.IntEnum):
    LOW = 3


class Word(enum.StrEnum):
    SYNC = "sync"


def recursive(kind):
    value = kind()
    if isinstance(value, dict):
        value["a"] = value
    else:
        value.append(value)
    return value


def released():
    view = memoryview(b"abc")
    view.release()
    return view


async def coroutine_function(*_):
    """Return nothing."""


def unawaited():
    coroutines.append(coroutine_function())
    return coroutines[-1]


coroutines = []


async def stream(*items):
    for item in items:
        yield item


def hostile(kind):
    return lambda: kind(str(uuid.UUID(int=1))) if issubclass(kind, uuid.UUID) else kind()


CONSTANTS = [
    *(None, True, False, 0, 1, -1, 2**70, 10**400, 10**5000, 1.5, math.nan, math.inf, -math.inf, 5e-324, 1j),
    *(
        decimal.Decimal(1),
        fractions.Fraction(1, 3),
        Level.LOW,
        Word.SYNC,
        Scalar(),
        Int64(),
        uuid.UUID(int=7),
    ),
    *(
        "",
        " ",
        "5",
        "sync",
        "Async",
        "image/png",
        "a\0b",
        "\ud800",
        "x" * 5000,
        "a\r\nb: c",
        "data:,x",
        "x/y",
    ),
    *(b"", b"x", b"\0", bytearray(b"x"), (), ("a",), ("a", b"x", 5), [], [5], [b"x"], {}, {"a": 1}, {1: 2}),
    *({"a": {1}}, {"\udfff": 1}, frozenset(), range(3), object(), ..., NotImplemented, pathlib.Path("x")),
    *(Job, Job(TYPE), Job(5, 5, 5, 5, 5, "5", 5), Retry, Retry(), Prodia, print, len, Hostile, Folder("x")),
    *(coroutine_function, stream, boom, asyncio, type, Folder(5), Folder(Folder("x")), lambda job: job),
]
MADE = [
    *(Hostile, Masked, Reader, TextReader, Named, released, *map(hostile, KINDS)),
    *(lambda: recursive(list), lambda: recursive(dict), lambda: iter([b"x"]), lambda: map(boom, [1])),
    *(lambda: (job for job in [5]), unawaited, lambda: stream(b"x"), lambda: stream("x")),
    *(lambda: [Hostile()], lambda: {"a": Hostile()}, lambda: [("a", Hostile())], lambda: [stream(5)]),
    *(lambda: KINDS[2]("5"), lambda: KINDS[2](TYPE), lambda: KINDS[0](5), lambda: KINDS[1](5)),
    *(lambda: KINDS[5](a=1), lambda: [KINDS[3](b"x")], lambda: lambda job: Hostile()),
    lambda: Prodia(token="other").handle("job-of-another-client"),
    lambda: Prodia(token="other"),
]
SINGLE = [lambda value=value: value for value in CONSTANTS] + MADE
VALUES = st.one_of(
    st.sampled_from(SINGLE),
    st.one_of(st.text(max_size=9), st.binary(max_size=9), st.floats(), st.integers()).map(
        lambda value: lambda: value
    ),
)
FIELDS = Job.__struct_fields__
OF_RUN = [name for name in inspect.signature(Prodia.run).parameters if name not in ("self", "mode")]
OF_MANY = [name for name in inspect.signature(Prodia.as_completed).parameters if name != "self"]
OF_HANDLE = {
    name: [each for each in inspect.signature(getattr(Handle, name)).parameters if each != "self"]
    for name in ("state", "wait", "outputs", "result", "download")
}
OF_NEW_HANDLE = ["job_id", "custom_id"]
SETTINGS = (Retry, Timeouts, Polling, Limits, Adaptive, Fixed)
OF_BATCH = list(inspect.signature(run_batch).parameters)
OF_CHECK = list(inspect.signature(check_manifest).parameters)


def some(names, most=2):
    return st.dictionaries(st.sampled_from(names), VALUES, min_size=1, max_size=most)


def examples(count):
    return settings(
        max_examples=count,
        deadline=None,
        derandomize=True,  # a run of the suite finds what the one before it found
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    )


def made(arguments):
    return {name: make() for name, make in arguments.items()}


async def attempt(call, prodia):
    """Make a call; only our own errors may come of it, and none that is long."""
    try:
        return await call(prodia)
    except ProdiaError as error:
        return f"{error!r}"
    except Exception as error:  # noqa: BLE001 - pytest cannot show some of them
        place = traceback.extract_tb(error.__traceback__)[-3:]
        raise AssertionError(f"{type(error).__name__} came out of {place}") from None


def beside_good_jobs(*calls):
    """Make calls of a client while it runs twenty good jobs, which are to end as if nobody else was there."""

    async def all_of_it():
        async with (
            Emulator(latency=0, capacity=1000) as emulator,
            Prodia(
                base_url=emulator.base_url,
                token=emulator.token,
                retry=Retry(max_errors=0),
                on_event=boom,
            ) as prodia,
        ):
            good = [prodia.run(TYPE, {"n": number}, custom_id=str(number)) for number in range(GOOD)]
            async with asyncio.timeout(PATIENCE):
                found = await asyncio.gather(*good, *[attempt(call, prodia) for call in calls])
            assert all(isinstance(result, JobResult) for result in found[:GOOD])
            assert all(len(told) < 1500 for told in found[GOOD:] if isinstance(told, str))
            del found
            stats = prodia.stats()
            assert (stats.in_flight, stats.waiting) == (0, 0)

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "coroutine '.*' was never awaited", RuntimeWarning)
        asyncio.run(all_of_it(), debug=False)  # which would cost more than all else


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path, monkeypatch, caplog):
    caplog.set_level("CRITICAL", "prodia_async")
    monkeypatch.chdir(tmp_path)
    yield
    for coroutine in coroutines:  # nobody awaits it, and nothing is to warn of that
        coroutine.close()
    coroutines.clear()


def one_call(kind, arguments):
    async def calling(prodia):
        given = {"job": TYPE, "timeout": 20.0} | made(arguments)
        if kind in ("stream", "submit"):
            given.pop("to", None)
        if kind == "stream":
            async with prodia.stream(**given) as reply:
                return [[piece async for piece in output] async for output in reply]
        return repr(await (prodia.submit(**given) if kind == "submit" else prodia.run(**given)))

    return calling


def test_each_of_one_call():
    calls = [one_call("run", {name: make}) for name in OF_RUN for make in SINGLE]
    beside_good_jobs(*calls)


def test_each_of_a_client_its_copies_and_its_settings():
    client, made_well = Prodia(token="t"), 0
    makers = [
        *[(Prodia, name, {"token": "t"}) for name in inspect.signature(Prodia).parameters],
        *[(client.with_options, name, {}) for name in inspect.signature(Prodia.with_options).parameters][1:],
        *[(kind, name, {}) for kind in SETTINGS for name in kind.__struct_fields__],
    ]
    for make, name, others in makers:
        for value in SINGLE:
            try:
                repr(make(**others | {name: value()}))
            except ProdiaError as error:
                assert len(repr(error)) < 1500  # noqa: PT017 - some of them are made well
            else:
                made_well += 1
    assert made_well < len(makers) * len(SINGLE) / 4


def test_each_of_a_handle():
    calls = [
        ({"job_id": "none"}, method, {name: make})
        for method, names in OF_HANDLE.items()
        for name in names
        for make in SINGLE
    ]
    calls += [({"job_id": "none"} | {name: make()}, "state", {}) for name in OF_NEW_HANDLE for make in SINGLE]

    def call(new, method, arguments):
        async def calling(prodia):
            given = ({"name": "none"} if method == "download" else {}) | made(arguments)
            return await getattr(prodia.handle(**new), method)(**{"timeout": 20.0} | given)

        return calling

    beside_good_jobs(*[call(*each) for each in calls])


@examples(20)
@given(
    st.lists(st.tuples(st.sampled_from(["run", "stream", "submit"]), some(OF_RUN)), min_size=1, max_size=12)
)
def test_of_one_call(given_calls):
    beside_good_jobs(*[one_call(kind, arguments) for kind, arguments in given_calls])


def many_jobs(bad, given):
    async def many(prodia):
        good = [Job(TYPE, custom_id=f"good-{number}") for number in range(GOOD)]
        jobs = [*good[:7], *[Job(**{"type": TYPE} | fields) for fields in bad], *good[7:]]
        repr(jobs)
        results = []
        try:
            async with prodia.as_completed(**{"jobs": jobs, "timeout": 20.0} | given) as outcomes:
                async for outcome in outcomes:
                    repr(outcome)
                    results.append(outcome)
        except BoomError:
            assert "jobs" in given  # what an iterable raises is its own
        if not given:
            assert len(results) == len(jobs)
            ids = {outcome.job.custom_id for outcome in results if outcome.error is None}
            assert {job.custom_id for job in good} <= ids

    return many


def test_each_of_many_jobs():
    bad = [{name: make()} for name in FIELDS for make in SINGLE]
    beside_good_jobs(many_jobs(bad, {}))


@examples(20)
@given(st.lists(some(FIELDS, 3), max_size=12), st.one_of(st.just({}), some(OF_MANY, 1)))
def test_of_many_jobs(bad_fields, arguments):
    bad, given = [made(fields) for fields in bad_fields], made(arguments)
    beside_good_jobs(many_jobs(bad, given))


@examples(20)
@given(st.lists(some(OF_BATCH), min_size=1, max_size=4), st.lists(some(OF_CHECK), max_size=4))
def test_of_a_batch(batches, checks):
    lines = "".join(f'{{"type": "{TYPE}", "custom_id": "{number}"}}\n' for number in range(3))
    pathlib.Path("m.jsonl").write_text(lines, encoding="utf-8")

    def run(arguments):
        async def running(prodia):
            given = {"manifest": "m.jsonl", "out": f"out-{next(numbers)}", "prodia": prodia} | made(arguments)
            return await run_batch(**given)

        return running

    def check(arguments):
        async def checking(_):
            given = {"manifest": "m.jsonl"} | made(arguments)
            return await check_manifest(**given)

        return checking

    beside_good_jobs(*map(run, batches), *map(check, checks))


numbers = itertools.count()
