"""uvloop's connections are not asyncio's: over TLS, too, they are kept, and told apart when they break."""

from __future__ import annotations

import asyncio
import ssl
import sys

import pytest
import trustme
from support.expect import JOB
from support.leaks import client
from support.replies import DONE, PNG
from support.servers import answer, hang_up, serving

from prodia_async import Retry

pytestmark = pytest.mark.newest


def contexts():
    """Return a server's context, and one of a client that trusts it."""
    authority = trustme.CA()
    theirs, ours = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context()
    authority.issue_cert("127.0.0.1").configure_cert(theirs)
    authority.configure_trust(ours)
    return theirs, ours


@pytest.mark.skipif(sys.platform == "win32", reason="uvloop does not run on Windows")
@pytest.mark.parametrize("tls", [False, True], ids=["plain", "TLS"])
def test_connections_are_kept_and_told_apart(tls):
    import uvloop

    async def main():
        theirs, ours = contexts() if tls else (None, None)
        script = answer(DONE), answer(DONE), hang_up("close"), answer(DONE)
        retry = Retry(backoff=0.0, resend_unknown=1)
        async with (
            serving(*script, ssl=theirs) as server,
            client(server.base_url, ssl_context=ours, retry=retry) as prodia,
        ):
            for _ in range(4):
                result = await prodia.run(JOB)
                assert result.outputs[0].data == PNG
            assert (len(server.requests), server.connections, prodia.stats().stale) == (5, 2, 1)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())
