"""Sessions in cookies: what counts, what does not, and what a real browser makes of them."""

import asyncio
from http.cookies import SimpleCookie
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from tests.support.api import PASSWORD, Api, Reply
from tests.support.browser import running_browser

HOST = "flags.example"
OWN = {"Host": HOST, "Sec-Fetch-Site": "same-origin"}
COOKIES = "/api/v1/auth/cookies"
ME = "/api/v1/me"


async def refresh_token(api: Api, email: str = "ada@example.com") -> str:
    """Return the refresh token of a new session of a person."""
    body = {"email": email, "password": PASSWORD}
    reply = await api.ask("POST", "/api/v1/auth/login", token=None, json=body)
    if reply.status == 401:
        await api.log_in(email, {"role": "viewer", "project": "*"})
        reply = await api.ask("POST", "/api/v1/auth/login", token=None, json=body)
    return str(reply.json["refresh_token"])


async def begin(api: Api, headers: dict[str, str] | None = None) -> Reply:
    """Put a new session into cookies."""
    body = {"refresh_token": await refresh_token(api)}
    return await api.ask("POST", COOKIES, token=None, headers=headers or OWN, json=body)


def cookies_of(reply: Reply) -> dict[str, Any]:
    """Return the cookies that an answer sets."""
    jar: SimpleCookie = SimpleCookie()
    for line in reply.headers.getall("Set-Cookie", []):
        jar.load(line)
    return dict(jar)


async def ask(api: Api, reply: Reply, method: str = "GET", path: str = ME, **headers: str) -> Reply:
    """Ask as the page that got an answer of cookies would, with other headers where given."""
    kept = "; ".join(f"{name}={each.value}" for name, each in cookies_of(reply).items())
    sent = OWN | {"Cookie": kept, "X-Matrixflag-Csrf": reply.json["csrf_token"]}
    changed = {name.replace("_", "-"): value for name, value in headers.items()}
    merged = {name: value for name, value in (sent | changed).items() if value}
    api.session.cookie_jar.clear()
    return await api.ask(method, path, token=None, headers=merged)


async def test_no_script_sees_a_token_and_no_neighbour_plants_one(api: Api) -> None:
    """The answer has the CSRF token alone; the cookies are of this host, and of https."""
    reply = await begin(api)
    assert reply.status == 200
    assert set(reply.json) == {"csrf_token", "expires_in", "session"}
    cookies = cookies_of(reply)
    assert set(cookies) == {"__Host-matrixflag_access", "__Host-matrixflag_refresh"}
    for cookie in cookies.values():
        assert cookie["secure"]
        assert cookie["httponly"]
        assert (cookie["samesite"], cookie["path"], cookie["domain"]) == ("Strict", "/", "")
        assert cookie.value not in reply.body.decode()
    assert (await ask(api, reply)).json["email"] == "ada@example.com"


@pytest.mark.parametrize(
    ("changed", "status"),
    [
        ({"X_Matrixflag_Csrf": ""}, 401),
        ({"X_Matrixflag_Csrf": "0" * 64}, 403),
        ({"Sec_Fetch_Site": "cross-site"}, 403),
        ({"Sec_Fetch_Site": "same-site"}, 403),
        ({"Sec_Fetch_Site": "none"}, 403),
        ({"Sec_Fetch_Site": ""}, 403),
        ({"Sec_Fetch_Site": "", "Origin": "null"}, 403),
        ({"Sec_Fetch_Site": "", "Origin": "https://evil.example"}, 403),
        ({"Origin": f"https://{HOST}.evil.example"}, 403),
        ({"Sec_Fetch_Site": "", "Origin": f"https://{HOST}"}, 200),
        ({"Host": "localhost"}, 401),
    ],
)
async def test_a_cookie_counts_for_a_page_of_ours_with_its_token(
    api: Api, changed: dict[str, str], status: int
) -> None:
    """And for nobody else, whatever is left out or made up."""
    reply = await begin(api)
    assert (await ask(api, reply, **changed)).status == status


async def test_the_token_of_another_session_is_none(api: Api) -> None:
    """It is bound to the session, also of the same person."""
    one, two = await begin(api), await begin(api)
    assert (await ask(api, one, X_Matrixflag_Csrf=two.json["csrf_token"])).status == 403


async def test_a_session_goes_on_and_the_cookies_before_end_it(api: Api) -> None:
    """A stolen cookie is a stolen refresh token: used twice, the session ends."""
    first = await begin(api)
    second = await ask(api, first, "POST", f"{COOKIES}/refresh")
    assert second.status == 200
    assert second.json["session"] == first.json["session"]
    third = await ask(api, second, "POST", f"{COOKIES}/refresh")
    assert third.status == 200
    assert (await ask(api, first, "POST", f"{COOKIES}/refresh")).status == 401
    assert (await ask(api, third)).status == 401


async def test_another_site_begins_no_session_in_a_browser(api: Api) -> None:
    """Else it could have its visitor work in an account of its own."""
    for site in ("cross-site", "same-site", "none"):
        reply = await begin(api, OWN | {"Sec-Fetch-Site": site})
        assert (reply.status, reply.json["code"]) == (403, "csrf_failed")
        assert cookies_of(reply) == {}


async def test_a_session_is_never_that_of_a_cookie_that_was_there(api: Api) -> None:
    """What somebody planted is replaced, and gives nothing to who knows it."""
    planted = await begin(api)
    kept = "; ".join(f"{name}={each.value}" for name, each in cookies_of(planted).items())
    new = await begin(api, OWN | {"Cookie": kept})
    assert new.json["session"] != planted.json["session"]
    assert new.json["csrf_token"] != planted.json["csrf_token"]


async def test_logging_out_takes_the_cookies_away(api: Api) -> None:
    """And ends the session, so that kept ones are worth nothing."""
    reply = await begin(api)
    gone = await ask(api, reply, "POST", "/api/v1/auth/logout")
    assert gone.status == 204
    assert {cookie["max-age"] for cookie in cookies_of(gone).values()} == {"0"}
    assert len(cookies_of(gone)) == 2
    assert (await ask(api, reply)).status == 401


async def test_a_real_browser_keeps_them_for_our_pages_alone(api: Api, tmp_path: Path) -> None:
    """A page of ours works with them; one of another port and name cannot."""

    async def evil(request: web.Request) -> web.Response:
        return web.Response(text="<!DOCTYPE html><title>evil</title>", content_type="text/html")

    app = web.Application()
    app.router.add_get("/", evil)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    port = runner.addresses[0][1]
    token = await refresh_token(api)
    call = """fetch('%s%s', {method: '%s', credentials: 'include', headers: %s, body: %s})
        .then((a) => a.text().then((t) => a.status + ' ' + t), (e) => 'refused')"""
    try:
        async with asyncio.timeout(90), running_browser(tmp_path) as browser:
            await browser.open(f"{api.url}/docs")
            await browser.until("document.title.startsWith('Matrix Flag')")
            json_type = "{'Content-Type': 'application/json'}"
            body = f"JSON.stringify({{refresh_token: '{token}'}})"
            begun = await browser.run(call % (api.url, COOKIES, "POST", json_type, body))
            assert begun.startswith("200 "), begun
            csrf = await browser.run(f"JSON.parse({begun[4:]!r}).csrf_token")
            header = f"{{'X-Matrixflag-Csrf': '{csrf}'}}"
            assert await browser.run("document.cookie") == ""
            assert "ada@example.com" in await browser.run(
                call % (api.url, ME, "GET", header, "undefined")
            )
            for name in ("127.0.0.1", "localhost"):
                await browser.open(f"http://{name}:{port}/")
                await browser.until("document.title === 'evil'")
                for headers in (header, "{}"):
                    got = await browser.run(call % (api.url, ME, "GET", headers, "undefined"))
                    assert got == "refused"
                logged_out = call % (api.url, "/api/v1/auth/logout", "POST", "{}", "undefined")
                assert await browser.run(logged_out) == "refused"
            await browser.open(f"{api.url}/docs")
            await browser.until("document.title.startsWith('Matrix Flag')")
            assert "ada@example.com" in await browser.run(
                call % (api.url, ME, "GET", header, "undefined")
            )
    finally:
        await runner.cleanup()
