"""Run one batch as the command does, in a process of its own, and print what it costs.

`one.py MANIFEST OUT [frames]`: `frames` counts the Python frames entered on the loop's thread, which no
other program disturbs.
"""

from __future__ import annotations

import json
import resource
import sys
import time

from null import NullTransport

from prodia_async import Prodia
from prodia_async.batch import run_batch
from prodia_async.cli import loop
from prodia_async.cli.terminal import Exit


async def main(manifest: str, out: str, what: str = "") -> Exit:
    frames = 0

    def count(_frame: object, event: str, _arg: object) -> None:
        nonlocal frames
        frames += event == "call"

    async with Prodia(token="none", base_url="http://127.0.0.1:1", transport=NullTransport) as prodia:
        started, busy = time.perf_counter(), time.process_time()
        if what == "frames":
            sys.setprofile(count)
        report = await run_batch(manifest, out, prodia=prodia, price=True)
        sys.setprofile(None)
        seconds, busy = time.perf_counter() - started, time.process_time() - busy
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    cost = {"seconds": seconds, "cpu": busy, "run": report.seconds, "peak": peak, "frames": frames}
    print(json.dumps(cost | {"done": report.done, "failed": report.failed, "requests": report.requests}))
    return Exit.DONE


if __name__ == "__main__":
    sys.exit(loop.run(lambda _: main(*sys.argv[1:])))
