"""Compare the service with the emulator, for at most 5 cents: `PRODIA_TOKEN=... python tests/live`.

Each answer's shape is compared: status, headers, parts, media types, and which fields of which kinds a job
result has. What differs is printed and written to `out/live.json`. Exit code 0: nothing differs, or there is
no token; 1: something does; 2: the service was not reached.
"""

from __future__ import annotations

import asyncio
import io
import json
import os
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
from PIL import Image

from prodia_async.emulator import Emulator

REPORT = Path("out/live.json")
MOST_DOLLARS = 0.05
LATEST = 300.0
"""Seconds that all of it may take."""

PING, TXT2IMG = "inference.ping.v1", "inference.flux-fast.schnell.txt2img.v2"
IMG2IMG = "inference.flux.schnell.img2img.v1"
SMALL = {"prompt": "a hill", "steps": 1, "width": 256, "height": 256, "seed": 1}
MULTIPART, AS_JSON, PRICE = "multipart/form-data", "application/json", "?price=true"


@dataclass(frozen=True)
class Case:
    """What is asked, and what it costs by the vendor's pages."""

    name: str
    job: dict[str, Any]
    accept: str = MULTIPART
    query: str = ""
    picture: bool = False
    dollars: float = 0.0


CASES = (
    Case("ping", {"type": PING}),
    Case("a picture and its price", {"type": TXT2IMG, "config": SMALL}, query=PRICE, dollars=0.0025),
    Case(
        "a picture as PNG",
        {"type": TXT2IMG, "config": SMALL},
        f"{MULTIPART}; image/png",
        PRICE,
        dollars=0.0025,
    ),
    Case("a picture alone", {"type": TXT2IMG, "config": SMALL}, "image/jpeg", dollars=0.0025),
    Case("a result alone", {"type": TXT2IMG, "config": SMALL}, AS_JSON, dollars=0.0025),
    Case(
        "a picture of a picture",
        {"type": IMG2IMG, "config": {"prompt": "in oil", "image": "a.jpg", "steps": 1}},
        query=PRICE,
        picture=True,
        dollars=0.0035,
    ),
    Case("no prompt", {"type": TXT2IMG, "config": {}}),
    Case("an unknown type", {"type": "inference.no-such-type.v1"}),
    Case("a missing input", {"type": IMG2IMG, "config": {"prompt": "x", "image": "a.jpg"}}),
)
ASYNCHRONOUS = Case("asynchronous", {"type": TXT2IMG, "config": SMALL}, dollars=0.0025)


class Service:
    """One of the two that are asked."""

    def __init__(self, session: aiohttp.ClientSession, base_url: str, token: str) -> None:
        self._session = session
        self._url = base_url.rstrip("/").removesuffix("/v2") + "/v2/job"
        self._headers = {"Authorization": f"Bearer {token}"}
        self.dollars = 0.0

    async def shapes(self) -> dict[str, Any]:
        """Ask all, and return the shape of each answer."""
        shapes = {}
        for case in CASES:
            shapes[case.name], told = await self._ask("POST", case.query, case)
            self.dollars += (told.get("price") or {}).get("dollars") or case.dollars
            if self.dollars > MOST_DOLLARS:
                raise RuntimeError(f"stopped: this has cost ${self.dollars:.4f}")
        shapes["a wrong path"], _ = await self._ask("GET", "/async/no-such-job/job.json")
        return shapes | await self._asynchronous()

    async def _asynchronous(self) -> dict[str, Any]:
        shapes: dict[str, Any] = {}
        shapes["submission"], told = await self._ask("POST", "/async", ASYNCHRONOUS)
        path = f"/async/{told.get('id')}"
        state = ""
        while "id" in told and state not in ("processed", "failed"):
            await asyncio.sleep(0.5)
            shapes["state"], said = await self._ask("GET", f"{path}/job.state.current")
            state = str(said.get("text", "")).strip().strip('"')
        shapes["result"], _ = await self._ask("GET", f"{path}/job.json?price=true")
        shapes["names"], said = await self._ask("GET", f"{path}/output")
        for name in said.get("list", [])[:1]:
            shapes["output"], _ = await self._ask("GET", f"{path}/output/{name}")
        return shapes

    async def _ask(self, method: str, path: str, case: Case | None = None) -> tuple[Any, dict[str, Any]]:
        """Return the shape of an answer, and what its JSON, or its text, tells."""
        headers, data = self._headers, None
        if case is not None:
            headers = headers | {"Accept": case.accept}
            body = json.dumps(case.job)
            data = aiohttp.FormData() if case.picture else body
            if isinstance(data, aiohttp.FormData):
                data.add_field("job", body, filename="job.json", content_type=AS_JSON)
                data.add_field("input", picture(), filename="a.jpg", content_type="image/jpeg")
            else:
                headers = headers | {"Content-Type": AS_JSON}
        async with self._session.request(method, self._url + path, data=data, headers=headers) as reply:
            kind = reply.content_type
            parts: list[Any] = []
            told: Any = {}
            if kind.startswith("multipart/"):
                reader = aiohttp.MultipartReader.from_response(reply)
                while (part := await reader.next()) is not None:
                    content = await part.read()  # type: ignore[union-attr]
                    name = re.search(rb'name="(\w+)"', part.headers["Content-Disposition"].encode())
                    is_job = name is not None and name[1] == b"job"
                    told = json.loads(content) if is_job else told
                    parts.append([is_job and "job", part.headers.get("Content-Type")])
            else:
                content = await reply.read()
                told = json.loads(content) if kind == AS_JSON else {"text": content[:40].decode("latin-1")}
            shape = {
                "status": reply.status,
                "type": kind,
                "has a request id": "x-request-id" in reply.headers,
                "has a length": reply.content_length is not None,
                "parts": parts,
                "body": kinds(told) if kind in (AS_JSON, MULTIPART) else None,
            }
            return shape, {"list": told} if isinstance(told, list) else told


def picture() -> bytes:
    """Return a small picture."""
    stream = io.BytesIO()
    Image.linear_gradient("L").convert("RGB").save(stream, "JPEG")
    return stream.getvalue()


def kinds(value: Any) -> Any:
    """Return which fields there are and of which kind, without their values."""
    if isinstance(value, dict):
        return {name: kinds(item) for name, item in sorted(value.items()) if name != "emulator"}
    if isinstance(value, list):
        return [kinds(item) for item in value[:1]]
    if isinstance(value, bool) or value is None:
        return str(value)
    if isinstance(value, int | float):
        return "a number"
    return "a time" if re.fullmatch(r"\d{4}-\d\d-\d\dT[\d:.]+Z", value) else "a text"


def differences(real: Any, ours: Any, place: str) -> list[str]:
    """Return where two shapes differ, a line for each."""
    if isinstance(real, dict) and isinstance(ours, dict):
        names = sorted(real.keys() | ours.keys())
        missing = "nothing"
        found = [differences(real.get(n, missing), ours.get(n, missing), f"{place}: {n}") for n in names]
        return [line for lines in found for line in lines]
    return [] if real == ours else [f"{place}: {json.dumps(real)}; the emulator has {json.dumps(ours)}"]


async def main(token: str) -> int:
    """Ask both, and tell what differs."""
    dollars = sum(case.dollars for case in (*CASES, ASYNCHRONOUS))
    print(f"{len(CASES) + 1} jobs at about ${dollars:.3f} in all, and at most ${MOST_DOLLARS}", flush=True)
    base_url = os.environ.get("PRODIA_BASE_URL") or "https://inference.prodia.com"
    async with aiohttp.ClientSession() as session, Emulator(latency=0.05, price="list") as emulator:
        try:
            async with asyncio.timeout(LATEST):
                service = Service(session, base_url, token)
                real = await service.shapes()
                ours = await Service(session, emulator.base_url, emulator.token).shapes()
        except (aiohttp.ClientError, TimeoutError, RuntimeError) as error:
            print(f"{base_url}: {type(error).__name__}: {error}".replace(token, "***"))
            return 2
    found = [line for name in real for line in differences(real[name], ours.get(name), name)]
    REPORT.parent.mkdir(exist_ok=True)
    REPORT.write_text(json.dumps({"service": real, "emulator": ours, "differences": found}, indent=1) + "\n")
    print(*found, f"{len(found)} differences; about ${service.dollars:.4f} spent; see {REPORT}", sep="\n")
    return int(bool(found))


if __name__ == "__main__":
    if not os.environ.get("PRODIA_TOKEN"):
        print("skipped: set PRODIA_TOKEN to compare the emulator with the service")
        sys.exit(0)
    sys.exit(asyncio.run(main(os.environ["PRODIA_TOKEN"])))
