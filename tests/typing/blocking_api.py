"""What type checkers see of the blocking face. Never run: mypy reads it."""

from __future__ import annotations

from typing import assert_type

from prodia_async import Job, JobResult, Outcome, Output, Stats
from prodia_async.blocking import Handle, Prodia, StreamedOutput


def calls(prodia: Prodia, jobs: list[Job]) -> None:
    """The calls take what their asynchronous forms take, and return what those give."""
    assert_type(prodia.run("t", {"prompt": "a cat"}, to="out/"), JobResult)
    assert_type(prodia.submit("t", inputs=["in.jpg"]), Handle)
    assert_type(prodia.handle("id").result(to="out/"), JobResult)
    assert_type(prodia.handle("id").state(), str)
    assert_type(prodia.handle("id").download("a.png"), Output)
    assert_type(prodia.stats(), Stats)
    assert_type(prodia.with_options(price=True), Prodia)
    for outcome in prodia.as_completed(jobs, to="out/"):
        assert_type(outcome, Outcome)
    with prodia.as_completed(iter(jobs), ahead=3) as outcomes:
        assert_type(next(outcomes), Outcome)
    with prodia.stream("t") as reply:
        for output in reply:
            assert_type(output, StreamedOutput)
            for chunk in output:
                assert_type(chunk, bytes)
    assert_type(prodia.close(drain=30), tuple[Outcome, ...])


def mistakes(prodia: Prodia) -> None:
    """What is refused there is refused here."""
    Prodia(retry=3)  # type: ignore[arg-type]
    Prodia("token")  # type: ignore[call-arg]
    prodia.run("t", timeout="5")  # type: ignore[arg-type]
    prodia.run("t", mode="fast")  # type: ignore[arg-type]
    prodia.as_completed(["t"])  # type: ignore[list-item]
    prodia.with_options(token="t")  # type: ignore[call-arg]
