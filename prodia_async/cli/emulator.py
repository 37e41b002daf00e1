"""`prodia-async emulator`: a local server that behaves like the service."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Any

import click

from prodia_async import InputError
from prodia_async import emulator as emulators
from prodia_async.cli import door, loop
from prodia_async.cli.options import debug_option
from prodia_async.cli.terminal import Exit, plain, tell

if TYPE_CHECKING:
    import asyncio
    from typing import Literal

    from prodia_async.emulator import EmulatorStats


def _fault(text: str) -> tuple[str, float]:
    """Return the name and the rate of `NAME=RATE`; the emulator knows the names. Raises BadParameter."""
    name, _, rate = text.rpartition("=")
    try:
        return name, float(rate)
    except ValueError:
        raise click.BadParameter(f"{text!r} is not NAME=RATE: --fault reset=0.01") from None


def _price(text: str) -> float | Literal["list"] | None:
    """Return the price that an option names. Raises BadParameter."""
    if text in ("list", "none"):
        return "list" if text == "list" else None
    try:
        return float(text)
    except ValueError:
        raise click.BadParameter(f"{text!r} is neither dollars, such as 0.04, nor list nor none") from None


@click.command(
    cls=door.Command, epilog="Example: prodia-async emulator --port 8000 --capacity 8 --latency 0.5"
)
@click.option(
    "--host", default="127.0.0.1", show_default=True, help="0.0.0.0: every address, for a container."
)
@click.option("--port", type=click.IntRange(0, 65535), default=8000, show_default=True, help="0: a free one.")
@click.option(
    "--capacity", type=click.IntRange(min=0), default=8, show_default=True, help="How many jobs run at once."
)
@click.option(
    "--latency", type=click.FloatRange(min=0), default=0.5, show_default=True, help="Mean seconds of a job."
)
@click.option(
    "--latency-sigma", type=click.FloatRange(min=0), default=0.0, show_default=True, help="Its spread."
)
@click.option(
    "--retry-after",
    type=click.FloatRange(min=0),
    default=1.0,
    show_default=True,
    help="Seconds that a 429 asks to wait.",
)
@click.option(
    "--free-at",
    type=click.Choice(["headers", "end"]),
    default="headers",
    show_default=True,
    help="When a slot is idle again: with the answer's headers or its last byte.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Of latencies, seeds and faults.")
@click.option(
    "--price",
    type=_price,
    default="0.0025",
    show_default=True,
    metavar="DOLLARS",
    help="What a job costs; list: the vendor's prices, by type and config; none.",
)
@click.option("--strict", is_flag=True, help="Answer 400 to a config outside the known schema of its type.")
@click.option(
    "--record", metavar="FOLDER", help="Write each request and reply, without tokens, into a folder."
)
@click.option("--replay", metavar="FOLDER", help="Answer from a folder that was recorded.")
@click.option("--at-once", is_flag=True, help="Replay without the recorded time.")
@click.option("--upstream", metavar="URL", help="Hand all on to this service, with the client's own token.")
@click.option("--token", default="emulator-token", show_default=True, help="The only token that is accepted.")
@click.option(
    "--fault",
    "faults",
    type=_fault,
    multiple=True,
    metavar="NAME=RATE",
    help="A fault, and with what chance from 0 to 1 a request meets it: reset=0.01. Can be repeated.",
)
@debug_option
def command(*, host: str, port: int, faults: tuple[tuple[str, float], ...], **given: Any) -> Exit:
    """Serve jobs on this computer until Ctrl-C, then print an account.

    A job that finds no idle slot is answered 429, as the service does. Pictures are real, but drawn here.
    """

    async def main(stop: asyncio.Event) -> Exit:
        try:
            server = emulators.Emulator(host=host, port=port, faults=dict(faults), **given)
            await server.start()
        except ValueError as error:
            raise InputError(str(error)) from error
        except OSError as error:
            where = f"port {port}" if host == "127.0.0.1" else f"{host} port {port}"
            reason = error.strerror or error
            raise InputError(f"{where} cannot be used: {reason}; choose another --port") from error
        try:
            _greet(server.base_url, server.token)
            await stop.wait()
        finally:
            await server.aclose()
        _account(server.stats())
        return Exit.DONE

    return loop.run(main, on_stop=lambda: None)


def _greet(base_url: str, token: str) -> None:
    tell(f"The emulator listens on {base_url}; its token is {plain(token)}. Ctrl-C stops it.")
    tell(f"export PRODIA_BASE_URL={base_url}")
    tell(f"export PRODIA_TOKEN={shlex.quote(token)}")


def _account(stats: EmulatorStats) -> None:
    tell(
        f"{stats.requests} requests: {stats.completed} completed, {stats.shed} shed, "
        f"{stats.refused} refused, {stats.failed} failed; ${stats.dollars:.4g} billed; "
        f"at most {stats.peak_busy} of {stats.capacity} slots busy"
    )
    if stats.faults:
        tell("faults: " + ", ".join(f"{count} {name}" for name, count in sorted(stats.faults.items())))
