"""The types that a wrapper's own signatures need: what calls take, and the protocols that can be implemented.

    from prodia_async.types import Input, To

    async def paint(prodia: Prodia, picture: Input, to: To = None) -> JobResult:
        return await prodia.run("inference.flux.schnell.img2img.v1", inputs=[picture], to=to)

What calls take: `Input`, `Content` (an open file), `To`, `Jobs`, `Mode`; what a client takes as `token=`
beside a text: `TokenFunction`. What `as_completed` returns: `AsCompleted`. What results and events tell:
`VerdictKind`, `EventKind`. To keep outputs in a place of your own: `Sink`, `SinkFactory`, `Writer`,
`OutputInfo`. To have tests without sockets or waits: `Transport`, `Request`, `Reply`, `Fault`, `Clock`,
`Timer`.
"""

from __future__ import annotations

from prodia_async._files.outputs import Sink, SinkFactory, To, Writer
from prodia_async._http.transport import Fault, Reply, Request, Transport
from prodia_async._many import AsCompleted, Jobs
from prodia_async._models import Content, Input, Mode, OutputInfo, VerdictKind
from prodia_async._pacing.clock import Clock, Timer
from prodia_async._settings import TokenFunction
from prodia_async._stats import EventKind

__all__ = [
    "AsCompleted",
    "Clock",
    "Content",
    "EventKind",
    "Fault",
    "Input",
    "Jobs",
    "Mode",
    "OutputInfo",
    "Reply",
    "Request",
    "Sink",
    "SinkFactory",
    "Timer",
    "To",
    "TokenFunction",
    "Transport",
    "VerdictKind",
    "Writer",
]
