"""Meeting each fault with a client, and seeing what it makes of it and what it leaves behind."""

from __future__ import annotations

import asyncio
import contextlib
import json
import pathlib
import ssl
import subprocess
import sys
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from support.leaks import Census, client
from verdicts.rows import Row

from prodia_async import Prodia, ProdiaError, Retry, Timeouts

TOKEN = "verdict-token"
RETRY = Retry(backoff=0.0, max_errors=1, patience=0.0)
PATIENT = Timeouts(connect=20.0, first_byte=20.0, idle=20.0)
IMPATIENT = Timeouts(connect=20.0, first_byte=0.5, idle=0.3)
"""For faults that keep the client waiting; any other must be met in time on a busy machine, too."""
INPUT = 64 * 1024 * 1024  # more than the buffers of both sides hold

_SERVER = """
import asyncio, ssl, sys
from prodia_async.emulator import Emulator

async def main():
    context = None
    if sys.argv[2]:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(sys.argv[2])
    rates = dict.fromkeys(sys.argv[3:], 0.01)
    options = dict(capacity=64, latency=0.0, retry_after=0.01, token=sys.argv[1], ssl=context, faults=rates)
    async with Emulator(**options) as emulator:
        print(emulator.base_url, flush=True)
        await asyncio.to_thread(sys.stdin.read)

asyncio.run(main())
"""


@dataclass(frozen=True)
class Service:
    """An emulator in a process of its own, so that nothing of it is taken for the client's."""

    base_url: str
    tls: ssl.SSLContext | None = None

    def account(self) -> dict[str, Any]:
        with urllib.request.urlopen(f"{self.base_url}/stats", context=self.tls, timeout=20) as reply:
            return json.load(reply)


@contextlib.contextmanager
def serving(
    certificate: pathlib.Path | None = None, tls: ssl.SSLContext | None = None, faults: Sequence[str] = ()
) -> Iterator[Service]:
    """Run an emulator; each of `faults` meets one request in a hundred."""
    command = [sys.executable, "-c", _SERVER, TOKEN, "" if certificate is None else str(certificate), *faults]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            yield Service(process.stdout.readline().strip(), tls)
        finally:
            process.stdin.close()
            process.wait(20)


def certified(folder: pathlib.Path) -> tuple[pathlib.Path, ssl.SSLContext]:
    """Return a certificate for a server on this computer, and what a client trusts it by."""
    import trustme  # the command that prints the table needs none

    authority = trustme.CA()
    path = folder / "server.pem"
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(str(path))
    trust = ssl.create_default_context()
    authority.configure_trust(trust)
    return path, trust


@dataclass(frozen=True)
class Seen:
    """What came of a fault."""

    outcome: str
    ran: bool
    attempts: tuple[str, ...]
    says: str
    billed: int
    left: tuple[str, ...]

    def surprises(self, row: Row) -> list[str]:
        """Return what is not as the table says, in words; none is as it should be."""
        came = (self.outcome, self.attempts)
        row = next((form for form in row.forms if (form.outcome, form.attempts) == came), row)
        found = [
            f"{name} is {getattr(self, name)!r}"
            for name in ("outcome", "ran", "attempts")
            if getattr(self, name) != getattr(row, name)
        ]
        if row.says not in self.says:
            found.append(f"it says {self.says!r}")
        if self.billed and not self.ran:
            found.append(f"{self.billed} jobs were billed, and it denies that")
        return found + [f"left: {thing}" for thing in self.left]


async def ask(service: Service) -> None:
    """Run a job that meets no fault."""
    async with client(service.base_url, token=TOKEN, ssl_context=service.tls) as prodia:
        await prodia.run("inference.ping.v1")


async def meet(row: Row, service: Service, folder: pathlib.Path) -> Seen:
    """Run a job that meets the fault, its outputs into the folder."""
    census = Census(folder)
    before = await asyncio.to_thread(service.account)
    waits = any(form.outcome == "ProdiaTimeoutError" for form in row.forms)
    timeouts = IMPATIENT if waits else PATIENT
    options = {"token": TOKEN, "retry": RETRY, "timeouts": timeouts, "ssl_context": service.tls}
    async with client(service.base_url, **options) as prodia:
        told = await _told(row, prodia, folder)
    with contextlib.suppress(AssertionError):
        await census.assert_nothing_left()
    after = await asyncio.to_thread(service.account)
    outside = [str(path) for path in folder.parent.iterdir() if path != folder]
    left = [*census.leftovers(), *outside]
    if told[0] != "done":
        left += [str(path) for path in folder.rglob("*")]
    return Seen(*told, after["billed"] - before["billed"], tuple(left))


async def _told(row: Row, prodia: Prodia, folder: pathlib.Path) -> tuple[str, bool, tuple[str, ...], str]:
    size = 1 if row.fault == "drip" else 2000  # each byte takes 10 ms
    config: dict[str, Any] = {"size": size, "emulator": {"fault": row.fault}}
    inputs = [("input.bin", bytes(INPUT))] if row.is_upload else None
    try:
        result = await prodia.run("emulator.bytes.v1", config, inputs=inputs, to=f"{folder}/")
    except ProdiaError as error:
        verdicts = tuple(attempt.verdict for attempt in error.attempts)
        return type(error).__name__, error.may_have_run, verdicts, str(error)
    assert all(output.path is not None and output.path.is_file() for output in result.outputs)
    return "done", True, tuple(attempt.verdict for attempt in result.attempts), " ".join(result.warnings)
