from __future__ import annotations

import pytest
import trustme
from support import goserver
from support.fixtures import no_environment, nothing_left

__all__ = ["no_environment", "nothing_left"]


@pytest.fixture(scope="session")
def go_binary(tmp_path_factory):
    """The Go program, built once; the tests that need it are skipped where it cannot be."""
    try:
        return goserver.build(tmp_path_factory.mktemp("go"))
    except goserver.NoGoError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def go(go_binary):
    """The Go program, serving the API over plain HTTP/1.1."""
    with goserver.running(go_binary) as server:
        yield server


@pytest.fixture(scope="session")
def authority():
    return trustme.CA()


@pytest.fixture(scope="session")
def go_tls(go_binary, authority, tmp_path_factory):
    """The same over TLS, with a certificate of `authority`."""
    cert = tmp_path_factory.mktemp("tls") / "server.pem"
    issued = authority.issue_cert("127.0.0.1")
    issued.private_key_and_cert_chain_pem.write_to_path(str(cert))
    with goserver.running(go_binary, cert=cert) as server:
        yield server
