"""The clients that are compared: programs that share one command line (clients/measure.py)."""

from __future__ import annotations

import functools
import importlib.util
import os
import pathlib
import shutil
import subprocess
import sys
from dataclasses import dataclass

CLIENTS = pathlib.Path(__file__).with_name("clients")
JAVASCRIPT = "prodia@1.6.0"


@dataclass(frozen=True)
class Client:
    """`share`: of the jobs that the fast clients run; the slow ones need fewer for the same time."""

    name: str
    label: str
    command: tuple[str, ...]
    share: float = 1.0


def _python(name: str, label: str, share: float = 1.0) -> Client:
    return Client(name, label, (sys.executable, str(CLIENTS / f"{name}.py")), share)


FLOOR = _python("floor", "floor: aiohttp alone")
BY_HAND = _python("by_hand", "aiohttp by hand")
SDK = _python("sdk", "prodia-async")
CURL = _python("curl", "curl")
HTTPX = _python("httpx_by_hand", "httpx by hand", 0.1)
REQUESTS = _python("requests_by_hand", "requests + toolbelt", 0.2)
UVLOOP = Client("sdk_uvloop", "prodia-async, uvloop", (*SDK.command, "--uvloop"))
NEEDS = {HTTPX: ("httpx", "requests_toolbelt"), REQUESTS: ("requests", "requests_toolbelt")}


@functools.cache
def available(folder: pathlib.Path) -> list[Client]:
    """Return the peers that can run here, and print a sentence on each that cannot; `folder` keeps them."""
    found: list[Client] = []
    for client, modules in NEEDS.items():
        absent = [name for name in modules if importlib.util.find_spec(name) is None]
        if absent:
            print(f"{client.label} is left out: not installed: {', '.join(absent)}")
        else:
            found.append(client)
    javascript, why = _javascript(folder)
    if javascript is None:
        print(f"the official JavaScript client is left out: {why}")
    else:
        found.append(javascript)
    return found


def uvloop() -> list[Client]:
    """Return the SDK on uvloop, if that is installed."""
    return [UVLOOP] if importlib.util.find_spec("uvloop") else []


def curl() -> list[Client]:
    """Return curl, if it is installed."""
    if shutil.which("curl"):
        return [CURL]
    print("curl is left out: it is not installed")
    return []


def _javascript(folder: pathlib.Path) -> tuple[Client | None, str]:
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        return None, "it needs Node.js and npm"
    command = (node, str(CLIENTS / "official.mjs"), "--modules", str(folder))
    client = Client("official", f"JavaScript {JAVASCRIPT}", command, 0.1)
    (folder / "package.json").write_text("{}")
    try:
        done = subprocess.run(
            [npm, "install", "--ignore-scripts", "--no-audit", "--no-fund", JAVASCRIPT],
            cwd=folder,
            env=os.environ | {"npm_config_cache": str(folder / "cache")},
            capture_output=True,
            text=True,
            timeout=180,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return None, f"npm: {error}"
    if done.returncode:
        return None, f"npm cannot install {JAVASCRIPT}: {done.stderr.strip()[-200:]}"
    return client, ""
