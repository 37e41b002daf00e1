from __future__ import annotations

import copy
import gc
import itertools
import os
import pathlib
import pickle
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest
from support.processes import complaints

from prodia_async import (
    Adaptive,
    InputError,
    Job,
    NotFoundError,
    Outcome,
    ProdiaTimeoutError,
    QueueFullError,
    blocking,
)
from prodia_async.blocking import Prodia
from prodia_async.emulator import Emulator, background_emulator

PING = "inference.ping.v1"
PICTURE = "inference.flux-fast.schnell.txt2img.v2"
SCENARIO = pathlib.Path(__file__).parent / "scenario.py"


def slow(seconds: float) -> dict[str, object]:
    return {"emulator": {"latency": seconds}}


@pytest.fixture(scope="module")
def emulator() -> Iterator[Emulator]:
    with background_emulator(capacity=32, latency=0.01) as emulator:
        yield emulator


@pytest.fixture
def prodia(emulator: Emulator) -> Iterator[Prodia]:
    with Prodia(base_url=emulator.base_url, token=emulator.token) as prodia:
        yield prodia


def test_a_job_into_a_file(prodia, tmp_path):
    result = prodia.run(PICTURE, {"prompt": "a cat"}, to=tmp_path / "cat.jpg")
    assert result.outputs[0].path == tmp_path / "cat.jpg"
    assert (tmp_path / "cat.jpg").read_bytes()[:2] == b"\xff\xd8"
    assert prodia.stats().completed == 1


def test_paths_are_those_of_the_moment(prodia, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert prodia.run(PICTURE, {"prompt": "a cat"}, to="cat.jpg").outputs[0].path == tmp_path / "cat.jpg"


@pytest.mark.parametrize(
    "call",
    [
        lambda prodia: prodia.run(PING, {"a": object()}),
        lambda prodia: prodia.run(PING, timeout="5"),
        lambda prodia: prodia.submit(PING, priority="5"),
        lambda prodia: prodia.stream(PING, inputs="in.jpg").open(),
        lambda prodia: prodia.as_completed([], to=3),
        lambda prodia: prodia.handle(""),
        lambda prodia: prodia.with_options(retry=3),
        lambda prodia: list(prodia.as_completed(["no job"])),
        lambda prodia: Prodia(limiter=8),
        lambda prodia: prodia.close(drain="long"),
    ],
)
def test_bad_arguments_are_input_errors(call, prodia):
    with pytest.raises(InputError):
        call(prodia)


def test_many_threads_share_a_client(prodia):
    results = []
    threads = [threading.Thread(target=lambda: results.append(prodia.run(PING))) for _ in range(60)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len({result.id for result in results}) == 60
    assert sum(thread.name == "prodia-async-blocking" for thread in threading.enumerate()) == 1


@pytest.mark.parametrize("form", [list, iter, tuple, lambda jobs: (job for job in jobs)])
def test_outcomes_of_any_iterable(form, prodia):
    outcomes = list(prodia.as_completed(form([Job(PING, custom_id=str(number)) for number in range(40)])))
    assert {outcome.job.custom_id for outcome in outcomes} == {str(number) for number in range(40)}
    assert all(isinstance(outcome, Outcome) and outcome.error is None for outcome in outcomes)


def test_an_iterable_may_use_the_client_and_wait_for_outcomes(prodia):
    seen = threading.Semaphore(1)

    def jobs() -> Iterator[Job]:
        for number in range(5):
            assert seen.acquire(timeout=30)
            yield Job(PING, custom_id=prodia.run(PING).id + str(number))

    for _ in prodia.as_completed(jobs()):
        seen.release()
    assert prodia.stats().completed == 10


def test_an_iterable_that_raises_is_told_after_the_outcomes(prodia):
    def jobs() -> Iterator[Job]:
        yield Job(PING)
        raise LookupError("no such row")

    outcomes = prodia.as_completed(jobs())
    assert next(outcomes).error is None
    with pytest.raises(LookupError, match="no such row"):
        next(outcomes)


def leave_by_break(prodia: Prodia) -> None:
    for _ in prodia.as_completed(Job(PING, slow(0.05)) for _ in itertools.count()):
        break


def leave_by_block(prodia: Prodia) -> None:
    with prodia.as_completed(Job(PING, slow(0.05)) for _ in itertools.count()) as outcomes:
        next(outcomes)


def leave_by_close(prodia: Prodia) -> None:
    outcomes = prodia.as_completed(Job(PING, slow(0.05)) for _ in itertools.count())
    next(outcomes)
    outcomes.close()


def leave_by_an_exception(prodia: Prodia) -> None:
    def use() -> None:
        for _ in prodia.as_completed(Job(PING, slow(0.05)) for _ in itertools.count()):
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError) as caught:
        use()
    del caught
    gc.collect()


@pytest.mark.parametrize("leave", [leave_by_break, leave_by_block, leave_by_close, leave_by_an_exception])
def test_whoever_leaves_early_pays_for_no_more(leave, prodia):
    leave(prodia)
    stats = prodia.stats()
    assert (stats.in_flight, stats.waiting) == (0, 0)
    assert stats.cancelled > 0


def test_a_stream(prodia):
    with prodia.stream(PICTURE, {"prompt": "a cat"}) as reply:
        assert reply.output is not None
        assert reply.output.content_type == "image/jpeg"
        [content] = [b"".join(output) for output in reply]
    assert content[:2] == b"\xff\xd8"
    assert reply.result is not None


def test_an_asynchronous_job(prodia, tmp_path):
    handle = prodia.submit(PICTURE, {"prompt": "a cat"})
    again = prodia.handle(handle.id)
    assert handle.wait() == again.wait() == "processed"
    [name] = handle.outputs()
    assert handle.download(name, tmp_path).path.parent == tmp_path
    assert handle.result(to=tmp_path).id
    with pytest.raises(NotFoundError):
        prodia.handle("00000000-0000-0000-0000-000000000000").state()


def test_the_handle_of_an_error_blocks_too(prodia):
    with pytest.raises(ProdiaTimeoutError) as caught:
        prodia.run(PICTURE, {"prompt": "a cat"} | slow(1), mode="async", timeout=0.4)
    assert isinstance(caught.value.handle, blocking.Handle)
    assert caught.value.handle.wait(timeout=30) == "processed"


def test_a_copy_shares_and_a_pickled_one_begins_anew(prodia, emulator):
    copies = [copy.copy(prodia), prodia.with_options(price=True)]
    assert [each.run(PING).id for each in copies]
    assert prodia.stats().completed == 2
    with pytest.raises(InputError, match="pickle_token"):
        pickle.dumps(prodia)
    whole = Prodia(base_url=emulator.base_url, token=emulator.token, pickle_token=True)
    assert pickle.loads(pickle.dumps(whole)).run(PING).id


def test_a_call_in_the_loop_itself_is_refused(prodia):
    def sinks(_: Job) -> object:
        return prodia.run(PING)

    with pytest.raises(InputError, match="wait for itself"):
        prodia.run(PING, to=sinks)


def test_a_full_line_is_told(emulator):
    with (
        Prodia(
            base_url=emulator.base_url,
            token=emulator.token,
            limiter=Adaptive(max_concurrency=1, max_waiting=1),
        ) as prodia,
        pytest.raises(ExceptionGroup) as caught,
    ):
        run_at_once(prodia, 20)
    assert caught.group_contains(QueueFullError)


def run_at_once(prodia: Prodia, number: int) -> None:
    errors: list[Exception] = []

    def run() -> None:
        try:
            prodia.run(PING, slow(0.2))
        except Exception as error:  # noqa: BLE001 - it is raised below
            errors.append(error)

    threads = [threading.Thread(target=run) for _ in range(number)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    raise ExceptionGroup("jobs failed", errors)


def test_the_token_shows_nowhere():
    secret = "s3cret-token"
    assert secret not in repr(Prodia(token=secret))
    with pytest.raises(InputError) as caught:
        Prodia(token=secret, retry=3)  # type: ignore[arg-type]
    frame = caught.tb
    while frame is not None:
        if "prodia_async" in frame.tb_frame.f_code.co_filename:
            seen = {name: value for name, value in frame.tb_frame.f_locals.items() if name != "self"}
            assert secret not in repr(seen)
        frame = frame.tb_next


@pytest.mark.parametrize(
    "scene",
    [
        "leave",
        "abandoned",
        "fork",
        "in_a_loop",
        "no_descriptors",
        "threads_at_exit",
        "atexit",
        "multiprocessing",
    ],
)
def test_scenes_of_a_process(scene, emulator):
    ended = start(scene, emulator)
    out, err = ended.communicate(timeout=60)
    assert (ended.returncode, out, complaints(err)) == (0, "done\n", "")


def test_ctrl_c_cancels_the_job_and_the_client_goes_on(emulator):
    process = start("ctrl_c", emulator)
    assert process.stdout.readline() == "waiting\n"
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out, complaints(err)) == (0, "done\n", "")


def start(scene: str, emulator: Emulator) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-X", "dev", "-W", "error", "-W", "ignore::DeprecationWarning", SCENARIO, scene],
        env={**os.environ, "PRODIA_BASE_URL": emulator.base_url, "PRODIA_TOKEN": emulator.token},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize("way", ["run", "stream", "submit", "as_completed"])
def test_a_call_s_own_headers_are_looked_at_in_each_way(prodia, way):
    given = [Job("inference.ping.v1")] if way == "as_completed" else "inference.ping.v1"
    with pytest.raises(InputError, match="the header Host is the client's own"):
        getattr(prodia, way)(given, headers={"Host": "x"}).open()


def test_a_token_may_be_given_by_a_function(emulator):
    tokens = ["wrong", emulator.token]
    with Prodia(base_url=emulator.base_url, token=lambda: tokens.pop(0)) as prodia:
        assert [attempt.status for attempt in prodia.run(PING).attempts] == [401, 200]
