"""An S3 server of moto's on a real socket, and a bucket whose objects and unfinished uploads can be seen."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Iterator
from typing import Any

import pytest
from moto.backends import get_backend
from moto.server import ThreadedMotoServer
from obstore.store import S3Store

_OWNER = "123456789012"
_KEYS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "s3cret-key", "AWS_REGION": "us-east-1"}


class Bucket:
    """A bucket: its store as a user makes it, and moto's own account of it."""

    def __init__(self, endpoint: str, name: str) -> None:
        self.name = name
        self.url = f"s3://{name}"
        self.environment = {
            **_KEYS,
            "AWS_ENDPOINT_URL": endpoint,
            "AWS_ALLOW_HTTP": "true",
            "AWS_TIMEOUT": "120s",
        }
        self._backend: Any = get_backend("s3")[_OWNER]["aws"]
        self._backend.create_bucket(name, "us-east-1")
        self.store = S3Store(
            name,
            endpoint=endpoint,
            access_key_id="test",
            secret_access_key="s3cret-key",
            region="us-east-1",
            client_options={"allow_http": True, "timeout": "120s"},
            retry_config={"max_retries": 0},
        )

    def _account(self) -> Any:
        return self._backend.buckets[self.name]

    def names(self) -> list[str]:
        return sorted(self._account().keys)

    def content(self, key: str) -> bytes:
        value: bytes = self._account().keys[key].value
        return value

    def kind(self, key: str) -> str:
        """Return an object's media type."""
        kind: str = self._account().keys[key].metadata["Content-Type"]
        return kind

    def uploads(self) -> list[str]:
        """Return the keys of unfinished uploads."""
        return [upload.key_name for upload in self._account().multiparts.values()]

    def put(self, key: str, content: bytes) -> None:
        self._backend.put_object(self.name, key, content)

    def clear(self) -> None:
        self._account().keys.clear()
        self._account().multiparts.clear()


@pytest.fixture(scope="session")
def object_server() -> Iterator[str]:
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def bucket(object_server: str) -> Bucket:
    return Bucket(object_server, f"bucket-{secrets.token_hex(4)}")
