"""What the scenarios share: a client of the emulator that the test runs."""

import gc
import os
import ssl

from prodia_async import Prodia

PING = "inference.ping.v1"
BASE_URL = os.environ["SCENARIO_URL"]


def client() -> Prodia:
    ca = os.environ.get("SCENARIO_CA")
    return Prodia(base_url=BASE_URL, ssl_context=ssl.create_default_context(cafile=ca) if ca else None)


def slow(seconds: float) -> dict[str, object]:
    return {"emulator": {"latency": seconds}}


def descriptors() -> int:
    gc.collect()
    return len(os.listdir("/proc/self/fd" if os.path.isdir("/proc/self/fd") else "/dev/fd"))
