"""What browsers are told, and what real pages of other origins get."""

import asyncio
from pathlib import Path

import pytest
from aiohttp import web

from control_plane.app import ROUTES
from control_plane.web.browsers import HEADERS
from control_plane.web.openapi import plain_path
from control_plane.web.routing import Route
from tests.support.api import ADMIN_TOKEN, Api, running_api
from tests.support.browser import running_browser

QUICK = [route for route in ROUTES if not route.streaming]


def path_of(route: Route) -> str:
    """Return a path that the route matches."""
    return plain_path(route.path).replace("{", "").replace("}", "")


async def test_every_route_tells_browsers_what_it_is_not_for(api: Api) -> None:
    """Whatever it answers, to whomever; and so does a path that there is not."""
    asked = [(route.method, path_of(route)) for route in QUICK]
    for token in (ADMIN_TOKEN, None, "wrong"):
        for method, path in [*asked, ("GET", "/none-such"), ("PROPFIND", "/api/v1/flags")]:
            reply = await api.ask(method, path, token=token)
            for name, value in HEADERS.items():
                if name == "Content-Security-Policy":
                    assert "default-src 'none'" in reply.headers[name]
                    assert "frame-ancestors 'none'" in reply.headers[name]
                else:
                    assert reply.headers.getall(name) == [value], (method, path, name)
            assert "Strict-Transport-Security" not in reply.headers
            assert reply.headers["Server"] == "matrix-flag"


async def test_https_alone_is_asked_for_when_a_setting_says_so(redis_url: str) -> None:
    """On errors too."""
    async with running_api(redis_url, hsts_s=31_536_000) as api:
        for path in ("/docs", "/none-such"):
            reply = await api.ask("GET", path)
            assert reply.headers["Strict-Transport-Security"] == "max-age=31536000"


@pytest.mark.parametrize("origin", ["null", "https://evil.example", "*", ""])
async def test_no_origin_is_allowed_that_was_not_named(redis_url: str, origin: str) -> None:
    """Neither that of a sandboxed frame; and credentials are never spoken of."""
    async with running_api(redis_url, cors_origins=("https://dashboard.example",)) as api:
        reply = await api.ask("GET", "/api/v1/flags", headers={"Origin": origin})
        assert "Access-Control-Allow-Origin" not in reply.headers
        assert "Access-Control-Allow-Credentials" not in reply.headers


async def test_a_page_of_another_origin_gets_nothing_in_a_real_browser(
    api: Api, tmp_path: Path
) -> None:
    """It cannot read, load as a script, or frame; our own page can read."""

    async def evil(request: web.Request) -> web.Response:
        return web.Response(text="<!DOCTYPE html><title>evil</title>", content_type="text/html")

    app = web.Application()
    app.router.add_get("/", evil)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    elsewhere = f"http://127.0.0.1:{runner.addresses[0][1]}/"
    fetched = f"fetch('{api.url}/openapi.json').then((a) => a.status, (e) => 'refused')"
    loaded = """new Promise((done) => {
        const made = Object.assign(document.createElement('%s'), {src: '%s'});
        made.onload = () => done('loaded'); made.onerror = () => done('refused');
        document.head.appendChild(made); })"""
    script = loaded % ("script", f"{api.url}/docs/assets/docs.js")
    framed = """new Promise((done) => {
        const frame = Object.assign(document.createElement('iframe'), {src: '%s/docs'});
        frame.onload = () => { try { done(frame.contentDocument === null ? 'opaque' : 'own'); }
                               catch (error) { done('refused'); } };
        document.documentElement.appendChild(frame); })"""
    try:
        async with asyncio.timeout(90), running_browser(tmp_path) as browser:
            await browser.open(elsewhere)
            await browser.until("document.title === 'evil'")
            assert await browser.run(fetched) == "refused"
            assert await browser.run(script) == "refused"
            await browser.run(framed % api.url)
            assert any("frame" in complaint.lower() for complaint in browser.complaints)
            await browser.open(f"{api.url}/docs")
            await browser.until("document.title.startsWith('Matrix Flag')")
            assert await browser.run(fetched) == 200
    finally:
        await runner.cleanup()
