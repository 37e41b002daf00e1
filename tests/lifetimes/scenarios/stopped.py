"""One job of a client with short time limits; it says what became of it."""

import asyncio
import os
import ssl
import sys
import tempfile

from prodia_async import Polling, Prodia, ProdiaError, Retry, Timeouts

SHORT = 1.5


async def main(phase: str) -> None:
    ca = os.environ.get("SCENARIO_CA")
    given: dict[str, object] = {"inputs": [("a.bin", bytes(16 * 1024 * 1024))]} if phase == "write" else {}
    short = {"connect": "connect", "answer": "first_byte", "nothing": "first_byte"}.get(phase, "idle")
    if phase in ("limit", "poll"):
        given |= {"timeout": 3.0, "to": tempfile.mkdtemp()}
    if phase == "poll":
        given |= {"mode": "async", "config": {"emulator": {"latency": 2.0}}}
    async with Prodia(
        base_url=os.environ["SCENARIO_URL"],
        ssl_context=ssl.create_default_context(cafile=ca) if ca else None,
        retry=Retry(max_errors=0),
        polling=Polling(interval=0.25, max_interval=0.25),
        timeouts=Timeouts(**{"connect": 30.0, "first_byte": 30.0, "idle": 30.0, short: SHORT}),
    ) as prodia:
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        try:
            result = await prodia.run("inference.ping.v1", **given)  # type: ignore[arg-type]
        except ProdiaError as error:
            sys.stdout.write(f"{type(error).__name__} {error}\n")
        else:
            sys.stdout.write(f"done {sum(output.size for output in result.outputs)}\n")


asyncio.run(main(sys.argv[1]))
