"""Programs that run beside an emulator and a bucket, and the nodes of a cluster, of which some are killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from support.buckets import Bucket
from support.processes import all_that_ran

from prodia_async.emulator import Emulator

EXAMPLES = Path(__file__).parents[2] / "examples"
_RAY = {
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # every address is 127.0.0.1
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_DATA_DISABLE_PROGRESS_BARS": "1",
}
_NODE: dict[str, Any] = {"num_cpus": 2, "object_store_memory": 100 << 20}


class Place:
    """Where jobs run and outputs go, and the environment that tells a program of both."""

    def __init__(self, emulator: Emulator, bucket: Bucket, home: Path) -> None:
        self.emulator, self.bucket = emulator, bucket
        token = {"PRODIA_TOKEN": emulator.token, "PRODIA_BASE_URL": emulator.base_url}
        found = {"HOME": str(home), "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        self.environment = {**os.environ, **bucket.environment, **token, **found}

    def start(self, name: str, *words: str, **environment: str) -> subprocess.Popen[str]:
        """Start an example."""
        return subprocess.Popen(
            [sys.executable, str(EXAMPLES / name), *words],
            env={**self.environment, **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, name: str, *words: str, **environment: str) -> str:
        """Run an example and return what it prints."""
        with self.start(name, *words, **environment) as program:
            return ended(program)

    def unkept(self) -> int:
        """Return how many jobs have run whose outputs are not in the bucket, while all actors are stopped."""
        return all_that_ran(self.emulator) - len(self.bucket.names())


def ended(program: subprocess.Popen[str]) -> str:
    """Wait until a program has ended well, and return what it printed."""
    try:
        printed, said = program.communicate(timeout=300)
    except subprocess.TimeoutExpired:
        program.kill()
        raise
    assert program.returncode == 0, said[-5000:]
    return printed


class Nodes:
    """The nodes of a cluster, whose actors can be stopped and killed."""

    def __init__(self, folder: str, place: Place) -> None:
        from ray.cluster_utils import Cluster

        self._folder = folder
        place.environment |= {**_RAY, "RAY_TMPDIR": folder}
        os.environ |= place.environment  # the workers have that of the node, and the node ours
        self._cluster = Cluster(initialize_head=True, head_node_args={**_NODE, "include_dashboard": False})
        place.environment["RAY_ADDRESS"] = self._cluster.address

    def add(self) -> Any:
        return self._cluster.add_node(**_NODE)

    def remove(self, node: Any) -> None:
        self._cluster.remove_node(node, allow_graceful=False)

    def close(self) -> None:
        self._cluster.shutdown()

    def actors(self) -> list[int]:
        """Return the processes in which jobs are run."""
        mark = f"RAY_TMPDIR={self._folder}".encode()
        found = []
        for process in Path("/proc").glob("[0-9]*"):
            try:
                title = (process / "cmdline").read_bytes()
                is_ours = mark in (process / "environ").read_bytes().split(b"\0")
            except OSError:  # it has ended
                continue
            if is_ours and title.startswith(b"ray::") and b"Generate" in title:
                found.append(int(process.name))
        return found

    def stop_actors(self, of: int) -> list[int]:
        """Stop the actors once there are so many; SIGCONT lets them go on."""
        deadline = time.monotonic() + 60
        while len(found := self.actors()) < of:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        for process in found:
            os.kill(process, signal.SIGSTOP)
        return found
