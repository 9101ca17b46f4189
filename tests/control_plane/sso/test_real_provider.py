"""Logins at a real provider, Canaille, in a process of its own, through its own pages."""

import re
from collections.abc import AsyncIterator, Iterator
from typing import Any

import aiohttp
import pytest
from yarl import URL

from control_plane.sso.model import parse_group_roles
from control_plane.sso.oidc import challenge_of
from tests.control_plane.sso.browser import CALLBACK, PUBLIC_URL, Browser
from tests.support.api import Api, running_api
from tests.support.idp import CLIENT_ID, CLIENT_SECRET, IDP_PASSWORD, running_idp
from tests.support.ports import free_port

_FIELD = re.compile(r'<input[^>]*name="(\w+)"')


@pytest.fixture(scope="module")
def issuer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The provider, for all tests here."""
    log = tmp_path_factory.mktemp("idp") / "idp.log"
    with running_idp(free_port(), PUBLIC_URL + CALLBACK, log) as url:
        yield url


@pytest.fixture
async def api(redis_url: str, issuer: str) -> AsyncIterator[Api]:
    """A control plane whose people log in there."""
    settings: dict[str, Any] = {
        "public_url": PUBLIC_URL,
        "oidc_issuer": issuer,
        "oidc_client_id": CLIENT_ID,
        "oidc_client_secret": CLIENT_SECRET,
        "oidc_scopes": "openid email profile groups",
        "oidc_roles": parse_group_roles("flag-admins=admin"),
        "redis_timeout_s": 10.0,
    }
    async with running_api(redis_url, **settings) as running:
        yield running


async def log_in_there(url: str, name: str) -> dict[str, str]:
    """Fill in the provider's forms, and return what it sends the browser back with."""
    jar = aiohttp.CookieJar(unsafe=True)
    async with aiohttp.ClientSession(cookie_jar=jar) as session:
        where, form = URL(url, encoded=True), None
        for _ in range(10):
            method = "GET" if form is None else "POST"
            async with session.request(method, where, data=form, allow_redirects=False) as reply:
                text, location = await reply.text(), reply.headers.get("Location")
            if location is None:
                fields = set(_FIELD.findall(text))
                form = {"login": name, "password": IDP_PASSWORD}
                form = {field: value for field, value in form.items() if field in fields}
                assert form, text[:2000]
                continue
            where, form = reply.url.join(URL(location, encoded=True)), None
            if str(where).startswith(PUBLIC_URL):
                return dict(where.query)
    raise AssertionError("the provider sends its browser round in circles")


async def test_a_whole_login(api: Api) -> None:
    """Through its pages, with its keys, its ID token and its groups."""
    browser = Browser(api)
    begun = await browser.begin(return_to="/")
    answer = await log_in_there(begun.headers["Location"], "ada")
    back = await browser.get(CALLBACK, answer)
    assert back.status == 302, back.body
    reply = await browser.exchange(URL(back.headers["Location"]).query["code"])
    assert reply.status == 200, reply.body
    me = await api.ask("GET", "/api/v1/me", token=reply.json["access_token"])
    assert me.json["email"] == "ada@example.com"
    assert [each["role"] for each in me.json["roles"]] == ["admin"]


async def test_somebody_of_no_group(api: Api) -> None:
    """Is known there and not let in here."""
    browser = Browser(api)
    answer = await log_in_there((await browser.begin()).headers["Location"], "bob")
    assert (await browser.get(CALLBACK, answer)).json["code"] == "sso_refused"


async def test_an_answer_that_is_used_twice(api: Api) -> None:
    """The provider takes its own code once."""
    browser = Browser(api)
    begun = await browser.begin()
    cookies = dict(browser.cookies)
    answer = await log_in_there(begun.headers["Location"], "ada")
    assert (await browser.get(CALLBACK, answer)).status == 200
    browser.cookies = cookies
    assert (await browser.get(CALLBACK, answer)).json["code"] == "sso_failed"


async def test_a_code_that_was_caught_on_its_way(api: Api) -> None:
    """Another browser's login has another verifier, so the provider refuses it: PKCE."""
    victim, attacker = Browser(api), Browser(api)
    caught = await log_in_there((await victim.begin()).headers["Location"], "ada")
    begun = await attacker.begin()
    state = URL(begun.headers["Location"]).query["state"]
    reply = await attacker.get(CALLBACK, {**caught, "state": state})
    assert reply.json["code"] == "sso_failed"
    audit = await api.ask("GET", "/api/v1/audit?project=~refused&action=session.refuse")
    assert "does not take the code" in audit.json["items"][0]["reason"]


def test_the_challenge_is_the_one_of_the_standard() -> None:
    """RFC 7636, appendix B."""
    verifier = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
    assert challenge_of(verifier) == "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
