"""The Go program in `tests/goserver`: built once, run as a process, told what to do line by line."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import pathlib
import shutil
import subprocess
import threading
from collections.abc import Iterator
from typing import Any

SOURCE = pathlib.Path(__file__).parents[1] / "goserver"
TOKEN = "go-token"
_BUILD_TIME = 300.0
_ANSWER_TIME = 60.0


class NoGoError(Exception):
    """There is no Go here, or it cannot build the program; the text says which."""


def build(folder: pathlib.Path) -> pathlib.Path:
    """Build the program into `folder`, where Go keeps its cache, too. Raises NoGoError."""
    go = shutil.which("go")
    if go is None:
        raise NoGoError("Go is not installed: the conformance tests need its `go build`")
    binary = folder / "goserver"
    places = {"GOCACHE": str(folder / "cache"), "GOPATH": str(folder / "path")}
    # Nothing is fetched: the program has no dependencies, and an older Go is as good as a newer one.
    settings = {"GOFLAGS": "-mod=mod", "GOPROXY": "off", "GOTOOLCHAIN": "local", "GO111MODULE": "on"}
    try:
        done = subprocess.run(
            [go, "build", "-o", str(binary), "."],
            cwd=SOURCE,
            env=os.environ | places | settings,
            capture_output=True,
            text=True,
            timeout=_BUILD_TIME,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NoGoError(f"Go cannot build the program: {error}") from error
    if done.returncode:
        raise NoGoError(f"Go cannot build the program: {done.stderr.strip()[-500:]}")
    return binary


class GoServer:
    """The running program: an API server at `base_url`, and what `ask` makes it do."""

    def __init__(self, process: subprocess.Popen[bytes], *, tls: bool) -> None:
        self._process = process
        self._lock = threading.Lock()
        self.base_url = f"http{'s' if tls else ''}://127.0.0.1:{int(self._line())}"

    def ask(self, do: str, **fields: Any) -> Any:
        """Have it obey one command (see main.go), and return its answer; bytes become base64."""
        assert self._process.stdin is not None
        command = json.dumps({"do": do, **fields}, default=_base64).encode() + b"\n"
        with self._lock:
            self._process.stdin.write(command)
            self._process.stdin.flush()
            return json.loads(self._line())

    async def asked(self, do: str, **fields: Any) -> Any:
        """Do the same without holding the event loop up, on which the answer may depend."""
        return await asyncio.to_thread(self.ask, do, **fields)

    def read(self, content_type: str, body: bytes) -> Any:
        """Return what Go's reader says of a multipart body: its `parts`, and the `error` that ended them."""
        return self.ask("read", content_type=content_type, body=body)

    def write(self, parts: list[dict[str, Any]]) -> tuple[str, bytes]:
        """Have Go's writer write a multipart body: return its Content-Type and the body."""
        written = self.ask("write", parts=parts)
        return written["content_type"], base64.b64decode(written["body"])

    def _line(self) -> bytes:
        assert self._process.stdout is not None
        late = threading.Timer(_ANSWER_TIME, self._process.kill)
        late.start()
        try:
            line = self._process.stdout.readline()
        finally:
            late.cancel()
        if not line:
            raise RuntimeError("the Go program has ended, or did not answer")
        return line


def _base64(value: Any) -> str:
    if not isinstance(value, bytes):
        raise TypeError(f"no JSON for {type(value).__name__}")
    return base64.b64encode(value).decode()


@contextlib.contextmanager
def running(binary: pathlib.Path, *, cert: pathlib.Path | None = None) -> Iterator[GoServer]:
    """Run the program, with TLS where `cert` names a file with a certificate and its key."""
    command = [str(binary), "-token", TOKEN]
    if cert is not None:
        command += ["-cert", str(cert), "-key", str(cert)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        try:
            yield GoServer(process, tls=cert is not None)
        finally:
            assert process.stdin is not None
            process.stdin.close()  # it ends with its standard input
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
