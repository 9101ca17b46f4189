"""The page of `web.html`, with the published OFREP web provider, in a real Chromium."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from aiohttp import web

from tests.clients.asking import NODE_MODULES, Seen, asked, seen
from tests.clients.cases import Case
from tests.support.browser import Browser, running_browser
from tests.support.tools import missing

__all__ = ["Page", "running_page"]

_HTML = Path(__file__).parent / "web.html"


class Page:
    """The page of `web.html` in a browser."""

    def __init__(self, browser: Browser, origin: str) -> None:
        self.browser = browser
        self.origin = origin

    async def start(self, url: str, context: dict[str, Any], **options: Any) -> str:
        """Open the page, set the provider and return its status."""
        await self.browser.open(self.origin)
        await self.browser.until("window.start !== undefined")
        given = json.dumps({"baseUrl": url, **options})
        status: str = await self.browser.run(f"start({given}, {json.dumps(context)})")
        return status

    async def change(self, context: dict[str, Any]) -> None:
        """Set another context, and return when the provider is done with it."""
        await self.browser.run(f"change({json.dumps(context)})")

    async def ask(self, case: Case) -> Seen:
        """Evaluate a case, whose context must be set."""
        return seen(case, await self.browser.run(f"evaluate({json.dumps(asked(case))})"))

    async def until(self, script: str) -> None:
        """Return once an expression is true in the page."""
        await self.browser.until(script)

    async def fetched(self) -> list[dict[str, Any]]:
        """Return the tag sent, and the status and tag that were read, of each request so far."""
        requests: list[dict[str, Any]] = await self.browser.run("fetched")
        return requests

    async def said(self, event: str) -> list[Any]:
        """Return the changed flags of each event of a kind so far, None where it named none."""
        events: list[list[Any]] = await self.browser.run("said")
        return [flags for name, flags in events if name == event]


@asynccontextmanager
async def running_page(directory: Path) -> AsyncIterator[Page]:
    """Serve the page from an origin of its own to a browser of its own."""
    if not (NODE_MODULES / "@openfeature/ofrep-web-provider").is_dir():
        missing("the npm packages of tests/clients (tests/clients/install)")

    async def index(_request: web.Request) -> web.FileResponse:
        return web.FileResponse(_HTML)

    app = web.Application()
    app.router.add_get("/", index)
    app.router.add_static("/modules", NODE_MODULES)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    host, port = runner.addresses[0][:2]
    try:
        async with running_browser(directory) as browser:
            yield Page(browser, f"http://{host}:{port}")
    finally:
        await runner.cleanup()
