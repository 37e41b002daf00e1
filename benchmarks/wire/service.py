"""The server, a Go program in a process of its own, and what it used."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import shutil
import ssl
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass

import machine

SOURCE = pathlib.Path(__file__).with_name("server")
BUILD_TIME = 300.0


def build(folder: pathlib.Path) -> pathlib.Path:
    """Build the server into `folder`; ends the program with a sentence where that cannot be."""
    go = shutil.which("go")
    if go is None:
        sys.exit(
            "This benchmark's server is a Go program: install Go 1.19 or newer (`go` is not on the PATH)."
        )
    binary = folder / "wireserver"
    # Nothing is fetched: the program has no dependencies, and an older Go is as good as a newer one.
    settings = {"GOFLAGS": "-mod=mod", "GOPROXY": "off", "GOTOOLCHAIN": "local", "GO111MODULE": "on"}
    done = subprocess.run(
        [go, "build", "-o", str(binary), "."],
        cwd=SOURCE,
        env=os.environ | settings,
        capture_output=True,
        text=True,
        timeout=BUILD_TIME,
        check=False,
    )
    if done.returncode:
        sys.exit(f"Go cannot build this benchmark's server: {done.stderr.strip()[-500:]}")
    return binary


@dataclass(frozen=True)
class Usage:
    """CPU seconds of the server and jobs answered, since it started."""

    cpu: float
    jobs: int

    def since(self, before: Usage) -> Usage:
        return Usage(self.cpu - before.cpu, self.jobs - before.jobs)


@dataclass(frozen=True)
class Service:
    origin: str
    ca: pathlib.Path | None = None

    def base_url(self, size: int, hold_ms: int = 0) -> str:
        """Return the base URL whose jobs have one output of `size` bytes, after `hold_ms`."""
        return f"{self.origin}/{size}/{hold_ms}/v2"

    def usage(self) -> Usage:
        trusted = ssl.create_default_context(cafile=self.ca) if self.ca else None
        with urllib.request.urlopen(f"{self.origin}/usage", timeout=30, context=trusted) as reply:
            return Usage(**json.load(reply))


@contextlib.contextmanager
def running(binary: pathlib.Path, *, tls: bool = False) -> Iterator[Service]:
    """Run the server on one CPU for the time of the block."""
    ca = binary.with_name("certificate.pem") if tls else None
    command = [str(binary), *(["-tls", str(ca)] if ca else [])]
    environment = os.environ | {"GOMAXPROCS": "1"}
    with machine.pinned("server"):
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )
    with process:
        try:
            port = int(process.stdout.readline())
            yield Service(f"http{'s' if tls else ''}://127.0.0.1:{port}", ca)
        finally:
            process.stdin.close()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
