"""Drives a headless Chromium over its DevTools protocol, with nothing but aiohttp."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import itertools
import json
import os
import shutil
import signal
from pathlib import Path

import aiohttp

_NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
_PATIENCE = 30


def find_browser() -> str | None:
    return next((path for name in _NAMES if (path := shutil.which(name))), None)


@contextlib.asynccontextmanager
async def chromium(profile: Path):
    """A page in a browser of its own, which is ended, with its children, at the end."""
    process = await asyncio.create_subprocess_exec(
        find_browser(),
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--no-first-run",
        "--disable-background-networking",
        "--hide-scrollbars",
        "--remote-debugging-port=0",
        f"--user-data-dir={profile}",
        "about:blank",
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        address = await _address(profile)
        async with aiohttp.ClientSession() as session, session.ws_connect(address, max_msg_size=0) as socket:
            page = BrowserPage(socket)
            try:
                await page.start()
                yield page
            finally:
                await page.aclose()
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()


async def _address(profile: Path) -> str:
    """Wait for the file in which the browser says where it listens."""
    for _ in range(50 * _PATIENCE):
        with contextlib.suppress(FileNotFoundError, ValueError):
            port, path = (profile / "DevToolsActivePort").read_text().split()
            return f"ws://127.0.0.1:{port}{path}"
        await asyncio.sleep(0.02)
    raise AssertionError("the browser does not listen")


class BrowserPage:
    """One page: what it asked for, what it complained of, and what it says to an expression."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.requests: list[str] = []
        self.complaints: list[str] = []
        self.dialogs: list[str] = []
        self._socket = socket
        self._numbers = itertools.count(1)
        self._replies: dict[int, asyncio.Future[dict]] = {}
        self._loaded = asyncio.Event()
        self._session: str | None = None
        self._reader = asyncio.create_task(self._read())

    async def start(self) -> None:
        target = await self.call("Target.createTarget", url="about:blank")
        attached = await self.call("Target.attachToTarget", targetId=target["targetId"], flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            await self.call(f"{domain}.enable")

    async def aclose(self) -> None:
        self._reader.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._reader

    async def call(self, method: str, **params) -> dict:
        number = next(self._numbers)
        message = {"id": number, "method": method, "params": params}
        if self._session is not None:
            message["sessionId"] = self._session
        waiting = self._replies[number] = asyncio.get_running_loop().create_future()
        try:
            await self._socket.send_str(json.dumps(message))
            reply = await asyncio.wait_for(waiting, _PATIENCE)
        finally:
            del self._replies[number]
        assert "error" not in reply, reply
        return reply["result"]

    async def open(self, path: Path, fragment: str = "") -> None:
        await self._go("about:blank")  # a new fragment alone would not load the page again
        self.requests.clear()
        await self._go(path.as_uri() + fragment)

    async def _go(self, url: str) -> None:
        self._loaded.clear()
        await self.call("Page.navigate", url=url)
        await asyncio.wait_for(self._loaded.wait(), _PATIENCE)

    async def say(self, expression: str):
        """Evaluate an expression, waiting for a promise; return its value."""
        reply = await self.call(
            "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in reply, reply
        return reply["result"].get("value")

    async def until(self, expression: str):
        """Wait until an expression is true; return its value."""
        for _ in range(300):
            if value := await self.say(expression):
                return value
            await asyncio.sleep(0.02)
        raise AssertionError(f"never true: {expression}")

    async def screen(self, width: int, height: int, *, dark: bool = False, scale: float = 1) -> None:
        await self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=scale,
            mobile=width < 600,
        )
        scheme = "dark" if dark else "light"
        await self.call(
            "Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}]
        )

    async def picture(self) -> bytes:
        return base64.b64decode((await self.call("Page.captureScreenshot", format="png"))["data"])

    async def _read(self) -> None:
        async for message in self._socket:
            reply = json.loads(message.data)
            if (waiting := self._replies.get(reply.get("id"))) is not None and not waiting.done():
                waiting.set_result(reply)
            elif "method" in reply:
                await self._notice(reply["method"], reply["params"])

    async def _notice(self, method: str, params: dict) -> None:
        if method == "Page.loadEventFired":
            self._loaded.set()
        elif method == "Network.requestWillBeSent":
            self.requests.append(params["request"]["url"])
        elif method == "Page.javascriptDialogOpening":
            self.dialogs.append(params["message"])
        elif method == "Log.entryAdded":
            self.complaints.append(params["entry"]["text"])
        elif method == "Runtime.exceptionThrown":
            details = params["exceptionDetails"]
            self.complaints.append(details.get("exception", {}).get("description") or details["text"])
