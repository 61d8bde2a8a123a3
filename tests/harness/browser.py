"""A browser without a window, driven over its DevTools protocol (https://chromedevtools.github.io/devtools-protocol/)."""

from __future__ import annotations

import asyncio
import base64
import json
import re
import shutil
import tempfile
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from typing import Any, Final

import aiohttp

CHROMIUM: Final = shutil.which("chromium")
"""None: it is not installed."""
_FLAGS: Final = (
    "--headless=new",
    "--no-sandbox",  # it does not work for root, nor in most containers; the pages are our own
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--hide-scrollbars",
    "--no-first-run",
    "--disable-background-networking",
    "--remote-debugging-port=0",
)


class Tab:
    """A page in the browser, with all it complained of and all it asked for."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket, self._session = socket, ""
        self._last, self._seen = 0, set[str]()
        self.errors: list[str] = []
        """Exceptions, errors on the console, and what a content security policy or the network refused."""
        self.asked: list[str] = []
        """Addresses that were asked for."""

    async def call(self, method: str, **params: object) -> dict[str, Any]:
        """What the browser answers; what happens meanwhile is noted."""
        self._last += 1
        message: dict[str, object] = {"id": self._last, "method": method, "params": params}
        await self._socket.send_json(message | ({"sessionId": self._session} if self._session else {}))
        while (told := await self._socket.receive_json(timeout=30)).get("id") != self._last:
            self._note(told)
        if "error" in told:
            raise RuntimeError(f"{method}: {told['error']}")
        result: dict[str, Any] = told["result"]
        return result

    def _note(self, told: dict[str, Any]) -> None:
        params = told.get("params", {})
        self._seen.add(told.get("method", ""))
        match told.get("method"):
            case "Runtime.exceptionThrown":
                self.errors.append(json.dumps(params["exceptionDetails"]))
            case "Runtime.consoleAPICalled" if params["type"] in {"error", "warning", "assert"}:
                self.errors.append(json.dumps(params["args"]))
            case "Log.entryAdded" if params["entry"]["level"] in {"error", "warning"}:
                self.errors.append(params["entry"]["text"])
            case "Network.requestWillBeSent":
                self.asked.append(params["request"]["url"])
            case _:
                pass

    async def attach(self) -> None:
        """To a page that is still empty."""
        target = await self.call("Target.createTarget", url="about:blank")
        attached = await self.call("Target.attachToTarget", targetId=target["targetId"], flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            await self.call(f"{domain}.enable")

    async def open(self, address: str) -> None:
        """Open it; wait until it is there as a whole."""
        self._seen.clear()
        await self.call("Page.navigate", url=address)
        while "Page.loadEventFired" not in self._seen:
            self._note(await self._socket.receive_json(timeout=30))

    async def look(self, width: int, height: int, *, dark: bool = False, media: str = "") -> None:
        """As on a screen of this size, in these colours; or as printed (*media*)."""
        await self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        await self.call("Emulation.setEmulatedMedia", media=media, features=[scheme])

    async def evaluate(self, expression: str) -> Any:  # noqa: ANN401 - any JSON
        """What a script in the page comes to, a promise's value included."""
        got = await self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in got:
            raise RuntimeError(str(got["exceptionDetails"]))
        return got["result"].get("value")

    async def type(self, text: str) -> None:
        """At the keyboard."""
        await self.call("Input.insertText", text=text)

    async def press(self, key: str) -> None:
        """A key, by its name in `KeyboardEvent.key`; one that writes something says what."""
        written = {"text": key} if len(key) == 1 else {"text": "\r"} if key == "Enter" else {}
        codes = {"Escape": 27, "Enter": 13, "Tab": 9, " ": 32}
        await self.call(
            "Input.dispatchKeyEvent", type="keyDown", key=key, windowsVirtualKeyCode=codes.get(key, 0), **written
        )
        await self.call("Input.dispatchKeyEvent", type="keyUp", key=key, windowsVirtualKeyCode=codes.get(key, 0))

    async def screenshot(self) -> bytes:
        """What is seen, as a PNG."""
        shot = await self.call("Page.captureScreenshot")
        return base64.b64decode(shot["data"])


@asynccontextmanager
async def browser() -> AsyncGenerator[Tab]:
    """A tab in a browser of its own, which is gone afterwards."""
    assert CHROMIUM is not None
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        process = await asyncio.create_subprocess_exec(
            CHROMIUM, *_FLAGS, f"--user-data-dir={profile}", "about:blank", stderr=asyncio.subprocess.PIPE
        )
        try:
            assert process.stderr is not None
            address = None
            while address is None:
                line = (await asyncio.wait_for(process.stderr.readline(), 60)).decode()
                assert line, "the browser has ended"
                address = re.search(r"DevTools listening on (ws://\S+)", line)
            async with asyncio.TaskGroup() as group:
                draining = group.create_task(process.stderr.read())  # a full pipe would stop it
                async with aiohttp.ClientSession() as session, session.ws_connect(address[1], max_msg_size=0) as socket:
                    tab = Tab(socket)
                    await tab.attach()
                    yield tab
                    await socket.send_json({"id": 0, "method": "Browser.close"})
                await draining
        finally:
            if process.returncode is None:
                with suppress(ProcessLookupError):
                    process.terminate()
            await process.wait()
