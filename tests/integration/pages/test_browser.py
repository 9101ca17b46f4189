"""The API in a real browser: the documentation pages, and pages that mean no good.

Chromium runs headless against a real control plane. The pages must show the API, work when clicked,
ask nobody else for anything and leave the console silent: a policy that refuses something, a script
that fails or a missing file would show there. Pictures are left in the test's directory.
"""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from tests.support.api import Api, running_api
from tests.support.browser import Browser, running_browser

pytestmark = pytest.mark.timeout(240)


@pytest.fixture
async def browser(tmp_path: Path) -> AsyncIterator[Browser]:
    """A browser of this test alone."""
    async with running_browser(tmp_path) as running:
        yield running


@pytest.fixture
async def dev(redis_url: str) -> AsyncIterator[Api]:
    """A control plane as `matrixflag dev` runs it."""
    async with running_api(redis_url, dev=True) as running:
        yield running


def check_quiet(browser: Browser, api: Api) -> None:
    """Assert that nothing was complained of, and that nobody else was asked for anything."""
    assert browser.complaints == []
    foreign = [u for u in browser.requested if not u.startswith((api.url, "data:", "blob:"))]
    assert foreign == []


async def test_swagger_ui_shows_every_operation(api: Api, browser: Browser, tmp_path: Path) -> None:
    """All of them, under their tags."""
    await browser.open(api.url + "/docs")
    await browser.until("document.querySelectorAll('.opblock').length > 20")
    text = await browser.run("document.body.innerText")
    for words in ("Matrix Flag", "OAS 3.1", "/api/v1/flags", "Authorize", "Create a flag"):
        assert words in text
    await browser.picture(tmp_path / "docs.png")
    check_quiet(browser, api)


async def test_redoc_shows_every_operation(api: Api, browser: Browser, tmp_path: Path) -> None:
    """With its search, which runs in a worker."""
    await browser.open(api.url + "/redoc")
    await browser.until("document.querySelector('#operation\\\\/postFlags, [id*=postFlags]')")
    text = await browser.run("document.body.innerText")
    for words in ("Matrix Flag", "List flags", "Create a flag", "AUTHORIZATIONS"):
        assert words in text
    await browser.picture(tmp_path / "redoc.png")
    check_quiet(browser, api)


async def test_a_flag_can_be_created_by_one_click(
    dev: Api, browser: Browser, tmp_path: Path
) -> None:
    """In dev mode without a credential: the example is there, Execute sends it, 201 comes."""
    await browser.open(dev.url + "/docs#/flags/postFlags")
    await browser.until("document.querySelector('.opblock.is-open button.execute')")
    await browser.run("document.querySelector('.opblock.is-open button.execute').click()")
    await browser.until("document.querySelector('.live-responses-table .response-col_status')")
    status = "document.querySelector('.live-responses-table tbody .response-col_status').innerText"
    assert (await browser.run(status)).startswith("201")
    await browser.picture(tmp_path / "executed.png")
    check_quiet(browser, dev)
    reply = await dev.ask("GET", "/api/v1/flags/new-checkout")
    assert (reply.status, reply.json["value"]) == (200, True)


ATTACKS = {
    "a simple request": "fetch(URL, {method: 'POST', mode: 'no-cors', body: BODY})",
    "a preflighted one": "fetch(URL, {method: 'POST', body: BODY, "
    "headers: {'Content-Type': 'application/json'}})",
    "a beacon": "Promise.resolve(navigator.sendBeacon(URL, BODY))",
    "a form": "new Promise((done) => { const form = document.createElement('form');"
    "form.action = URL; form.method = 'POST'; form.enctype = 'text/plain';"
    "const input = document.createElement('input');"
    "input.name = BODY.slice(0, -1) + ', \"name\": \"'; input.value = '\"}';"
    " form.append(input); document.body.append(form); form.target = 'frame';"
    "const frame = document.createElement('iframe'); frame.name = 'frame';"
    "frame.onload = () => done(true); document.body.append(frame); form.submit(); })",
}


@pytest.mark.parametrize("attack", ATTACKS)
async def test_a_foreign_page_cannot_change_anything(
    dev: Api, browser: Browser, attack: str
) -> None:
    """Any page can send to localhost; in dev mode, where no credential is needed, that matters."""

    async def page(request: web.Request) -> web.Response:
        return web.Response(text="<body>free kittens</body>", content_type="text/html")

    app = web.Application()
    app.router.add_get("/", page)
    async with TestServer(app, host="127.0.0.1") as foreign:
        # Another port of the same machine: the hardest case, as a browser calls it the same site.
        await browser.open(str(foreign.make_url("/")))
        await browser.until("document.body.innerText.includes('kittens')")
        body = '{"key": "stolen", "type": "boolean", "value": true, "enabled": true}'
        await browser.run(
            f"const URL = '{dev.url}/api/v1/flags'; const BODY = '{body}';"
            f"({ATTACKS[attack]}).catch(() => null).then(() => true)"
        )
        await browser.run("new Promise((done) => setTimeout(done, 300))")
    assert [u for u in browser.requested if u.startswith(dev.url)], "nothing was sent at all"
    reply = await dev.ask("GET", "/api/v1/flags")
    assert reply.json["items"] == []
