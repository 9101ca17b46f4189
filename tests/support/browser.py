"""A real Chromium, driven over its DevTools protocol: opens pages, runs scripts in them, listens.

Knows nothing of what is tested. The profile is a directory of the test's own; the browser ends with
the context. What pages say on the console, and what they fail to load, is kept in `complaints`.
"""

import asyncio
import base64
import contextlib
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp

from tests.support.tools import require

__all__ = ["Browser", "running_browser"]

_START_S = 60.0
_WAIT_S = 60.0


class Browser:
    """One page of a running browser."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.complaints: list[str] = []
        self.requested: list[str] = []
        self._socket = socket
        self._ids = itertools.count(1)
        self._answers: dict[int, asyncio.Future[dict[str, Any]]] = {}

    async def call(self, method: str, **params: Any) -> dict[str, Any]:
        """Return the result of a DevTools method."""
        number = next(self._ids)
        answer = self._answers[number] = asyncio.get_running_loop().create_future()
        await self._socket.send_json({"id": number, "method": method, "params": params})
        async with asyncio.timeout(_WAIT_S):
            return await answer

    async def open(self, url: str) -> None:
        """Go to a page."""
        await self.call("Page.navigate", url=url)

    async def run(self, script: str) -> Any:
        """Return the value of an expression, awaited if it is a promise."""
        result = await self.call(
            "Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True
        )
        if "exceptionDetails" in result:
            raise AssertionError(result["exceptionDetails"])
        return result["result"].get("value")

    async def until(self, script: str) -> None:
        """Return once an expression is true in the page."""
        polling = (
            "new Promise((done) => { const look = () => { let found = false;"
            f" try {{ found = Boolean({script}); }} catch (error) {{ found = false; }}"
            " if (found) done(true); else setTimeout(look, 50); }; look(); })"
        )
        try:
            await self.run(polling)
        except TimeoutError:
            raise AssertionError(f"never true: {script}; {self.complaints}") from None

    async def picture(self, path: Path) -> None:
        """Save what the page looks like now."""
        shot = await self.call("Page.captureScreenshot", format="png")
        await asyncio.to_thread(path.write_bytes, base64.b64decode(shot["data"]))

    async def listen(self) -> None:
        """Take answers and events, until the browser ends."""
        async for message in self._socket:
            event = message.json()
            if "id" in event:
                answer = self._answers.pop(event["id"])
                if not answer.done():
                    answer.set_result(event.get("result", event))
            else:
                self._note(event["method"], event["params"])

    def _note(self, method: str, params: dict[str, Any]) -> None:
        match method:
            case "Log.entryAdded":
                self.complaints.append(f"{params['entry']['text']} {params['entry'].get('url')}")
            case "Runtime.consoleAPICalled":
                self.complaints.append(str([a.get("value") for a in params["args"]]))
            case "Runtime.exceptionThrown":
                self.complaints.append(str(params["exceptionDetails"]))
            case "Network.requestWillBeSent":
                self.requested.append(params["request"]["url"])


@asynccontextmanager
async def running_browser(directory: Path) -> AsyncIterator[Browser]:
    """Run a headless Chromium with a profile of its own in a directory."""
    profile = directory / "profile"
    process = await asyncio.create_subprocess_exec(
        require("chromium"),
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--remote-debugging-port=0",
        "--window-size=1280,1600",
        f"--user-data-dir={profile}",
        "about:blank",
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        port = await _debugging_port(process)
        async with aiohttp.ClientSession() as session:
            async with session.get(f"http://127.0.0.1:{port}/json") as response:
                pages = [p for p in await response.json() if p["type"] == "page"]
            url = pages[0]["webSocketDebuggerUrl"]
            async with session.ws_connect(url, max_msg_size=0) as socket:
                browser = Browser(socket)
                listening = asyncio.create_task(browser.listen())
                for domain in ("Page", "Runtime", "Log", "Network"):
                    await browser.call(f"{domain}.enable")
                yield browser
                listening.cancel()
                await asyncio.gather(listening, return_exceptions=True)
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        # Draining the pipe lets it end, and ends its reader with it.
        await process.communicate()


async def _debugging_port(process: asyncio.subprocess.Process) -> int:
    """Return the port the browser says it listens on."""
    assert process.stderr is not None
    async with asyncio.timeout(_START_S):
        async for line in process.stderr:
            if line.startswith(b"DevTools listening on ws://"):
                return int(line.split(b"/")[2].rpartition(b":")[2])
    raise AssertionError("Chromium ended before it listened")
