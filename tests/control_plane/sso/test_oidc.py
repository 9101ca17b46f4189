"""Logins at a provider that does as it is told: what is believed of it, and what never is."""

import asyncio
import base64
import json
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import jwt
import pytest
from aiohttp import web
from yarl import URL

from control_plane.keys import SSO, USERS
from control_plane.settings import FIRST_ADMIN
from control_plane.sso import oidc
from control_plane.sso.model import parse_factor_claims, parse_group_roles
from tests.control_plane.sso.browser import CALLBACK, PUBLIC_URL, Browser
from tests.control_plane.sso.provider import (
    CLIENT,
    CURVE_KEY,
    KEY,
    OTHER_KEY,
    SECRET,
    WEAK_KEY,
    FakeProvider,
    Sign,
    fake_provider,
    public,
    signed,
)
from tests.control_plane.users.people import set_up_totp
from tests.support.api import PASSWORD, Api, running_api

ADA = "ada@example.com"
ROLES = "flag-admins=admin,shop=manager:shop/staging,all=viewer"


@pytest.fixture
async def provider() -> AsyncIterator[FakeProvider]:
    """An honest one, until told otherwise."""
    async with fake_provider() as made:
        yield made


def settings(provider: FakeProvider, **others: Any) -> dict[str, Any]:
    """Return the settings of a control plane whose people log in there."""
    return {
        "public_url": PUBLIC_URL,
        "oidc_issuer": provider.issuer,
        "oidc_client_id": CLIENT,
        "oidc_client_secret": SECRET,
        "oidc_roles": parse_group_roles(ROLES),
        "oidc_algorithms": ("RS256", "ES256"),
        "redis_timeout_s": 10.0,
        **others,
    }


@pytest.fixture
async def api(redis_url: str, provider: FakeProvider) -> AsyncIterator[Api]:
    """A control plane with that provider."""
    async with running_api(redis_url, **settings(provider)) as running:
        yield running


async def people(api: Api) -> list[dict[str, Any]]:
    """Return who there is."""
    items: list[dict[str, Any]] = (await api.ask("GET", "/api/v1/users")).json["items"]
    return items


async def audited(api: Api, action: str) -> list[dict[str, Any]]:
    """Return the entries of an action, newest first."""
    log = "~refused" if action == "session.refuse" else "~access"
    reply = await api.ask("GET", f"/api/v1/audit?project={log}&action={action}")
    assert reply.status == 200, reply.body
    items: list[dict[str, Any]] = reply.json["items"]
    return items


async def refused(api: Api, status: int = 401, code: str = "sso_failed") -> str:
    """See a whole login fail, and return what the audit log says of it."""
    reply = await Browser(api).come_back()
    await api.app[USERS].attempts.forgive("127.0.0.1", "sso 127.0.0.1")
    assert (reply.status, reply.json["code"]) == (status, code), reply.body
    reason: str = (await audited(api, "session.refuse"))[0]["reason"]
    return reason


# Coming in


async def test_who_comes_for_the_first_time_is_made_with_the_roles_of_their_groups(
    api: Api,
) -> None:
    """And has a session like any other, which says how it was begun."""
    tokens = await Browser(api).log_in()
    token = tokens["access_token"]
    me = (await api.ask("GET", "/api/v1/me", token=token)).json
    assert (me["email"], me["name"], me["invited"]) == (ADA, "Ada", False)
    assert me["roles"] == [{"role": "admin", "project": "*", "environment": "*"}]
    sessions = (await api.ask("GET", "/api/v1/me/sessions", token=token)).json["items"]
    assert sessions[0]["methods"] == ["oidc"]
    body = {"refresh_token": tokens["refresh_token"]}
    assert (await api.ask("POST", "/api/v1/auth/refresh", token=None, json=body)).status == 200
    made = (await audited(api, "user.provision"))[0]
    assert (made["actor"], made["targets"]) == ("sso", [f"user:{me['id']}"])


async def test_roles_follow_the_groups_at_each_login(api: Api, provider: FakeProvider) -> None:
    """More, less, elsewhere; the person stays the same one."""
    await Browser(api).log_in()
    provider.claims |= {"groups": ["shop", "unknown", "all", "all"], "name": "Ada L."}
    await Browser(api).log_in()
    (ada,) = await people(api)
    assert ada["roles"] == [
        {"role": "manager", "project": "shop", "environment": "staging"},
        {"role": "viewer", "project": "*", "environment": "*"},
    ]
    assert (ada["name"], ada["version"]) == ("Ada L.", 2)
    await Browser(api).log_in()
    assert (await people(api))[0]["version"] == 2


async def test_who_changes_roles_here_is_told_that_a_login_gives_others(
    redis_url: str, provider: FakeProvider
) -> None:
    """They last until then; without the provider, or of who never came from it, for good."""
    async with running_api(redis_url, **settings(provider)) as api:
        await Browser(api).log_in()
        (ada,) = await people(api)
        path, viewer = f"/api/v1/users/{ada['id']}", [{"role": "viewer", "project": "*"}]
        admin = {"roles": [{"role": "admin", "project": "*"}], "password": PASSWORD}
        await add_local(api, email="root@example.com", **admin)
        changed = (await api.ask("PATCH", path, json={"roles": viewer})).json
        assert [each["role"] for each in changed["roles"]] == ["viewer"]
        assert changed["roles_from"] == ["oidc"]
        await Browser(api).log_in()
        told = {each["email"]: (each["roles"], each["roles_from"]) for each in await people(api)}
        assert told[ADA] == (ada["roles"], ["oidc"])
        assert told["root@example.com"][1] == []
    async with running_api(redis_url) as api:
        assert (await api.ask("GET", path)).json["roles_from"] == []


async def test_who_loses_all_groups_loses_roles_and_sessions(
    api: Api, provider: FakeProvider
) -> None:
    """It is not enough to keep them from coming again."""
    token = (await Browser(api).log_in())["access_token"]
    provider.claims |= {"groups": []}
    assert "none of your groups" in await refused(api, 403, "sso_refused")
    assert (await people(api))[0]["roles"] == []
    assert (await api.ask("GET", "/api/v1/me", token=token)).status == 401


async def test_when_the_last_administrator_has_no_group_any_more_the_token_makes_a_first(
    redis_url: str, provider: FakeProvider
) -> None:
    """The provider may take the role away from everybody: then nobody is left to be asked."""
    first = {
        "email": "first@example.com",
        "password": PASSWORD,
        "roles": [{"role": "admin", "project": "*"}],
    }
    others = {"admin_token_use": FIRST_ADMIN}
    async with running_api(redis_url, **settings(provider, **others)) as api:
        await Browser(api).log_in()
        reply = await api.ask("POST", "/api/v1/users", json=first)
        assert (reply.status, reply.json["code"]) == (409, "admin_exists")
        provider.claims |= {"groups": ["all"]}
        await Browser(api).log_in()
        assert (await api.ask("POST", "/api/v1/users", json=first)).status == 201
        reply = await api.ask("POST", "/api/v1/users", json={**first, "email": "b@example.com"})
        assert (reply.status, reply.json["code"]) == (409, "admin_exists")


async def test_who_has_no_group_is_nobody(api: Api, provider: FakeProvider) -> None:
    """However the provider says it."""
    provider.userinfo = {"sub": "ada-0001"}
    for groups in (None, [], ["no"], "no", {"flag-admins": True}, [["all"]], 7):
        provider.claims |= {"groups": groups}
        assert await refused(api, 403, "sso_refused"), groups
        entry = (await audited(api, "session.refuse"))[0]
        assert entry["targets"] == [f"person:{ADA}"], "they proved it, and somebody will ask"
    assert await people(api) == []


async def test_what_the_token_lacks_is_asked_for(api: Api, provider: FakeProvider) -> None:
    """Some providers keep tokens small."""
    provider.userinfo = {**provider.claims, "name": "not this"}
    provider.claims |= {"groups": None, "email": None, "email_verified": None}
    await Browser(api).log_in()
    assert [(each["email"], each["name"]) for each in await people(api)] == [(ADA, "Ada")]


async def test_somebody_elses_groups_are_not_taken(api: Api, provider: FakeProvider) -> None:
    """OpenID Connect Core 5.3.2: the subject must be the same."""
    provider.userinfo = {**provider.claims, "sub": "mallory"}
    provider.claims |= {"groups": None}
    assert "somebody else" in await refused(api)


# Whose account it is


async def add_local(api: Api, **members: Any) -> dict[str, Any]:
    """Make Ada here, invited."""
    body = {"email": ADA, "roles": [{"role": "viewer", "project": "*"}], **members}
    reply = await api.ask("POST", "/api/v1/users", json=body)
    made: dict[str, Any] = reply.json
    return made


async def test_an_address_that_is_not_verified_opens_nobodys_account(
    api: Api, provider: FakeProvider
) -> None:
    """Whoever can write any address at the provider would be anybody here."""
    await add_local(api)
    for verified in (False, None, "true", 1):
        provider.claims |= {"email_verified": verified}
        assert "does not vouch" in await refused(api, 403, "sso_refused")
    assert (await people(api))[0]["identities"] == []


async def test_a_verified_address_leads_to_the_account_that_is_here(api: Api) -> None:
    """Whose invitation is good for nothing then."""
    made = await add_local(api)
    await Browser(api).log_in()
    (ada,) = await people(api)
    assert (ada["id"], ada["invited"]) == (made["user"]["id"], False)
    body = {"invitation": made["invitation"], "password": "correct horse battery"}
    taken = await api.ask("POST", "/api/v1/auth/accept", token=None, json=body)
    assert taken.json["code"] == "invitation_failed"
    assert len(await audited(api, "user.link")) == 1


async def test_two_of_one_provider_are_two(api: Api, provider: FakeProvider) -> None:
    """An address that is given to somebody new does not bring the account along."""
    await Browser(api).log_in()
    provider.claims |= {"sub": "ada-0002"}
    await refused(api, 403, "sso_refused")


async def test_an_address_that_changes_is_followed_unless_it_is_anothers(
    api: Api, provider: FakeProvider
) -> None:
    """People marry; and nobody may take an administrator's."""
    await Browser(api).log_in()
    provider.claims |= {"email": "Lovelace@example.com"}
    await Browser(api).log_in()
    assert (await people(api))[0]["email"] == "lovelace@example.com"
    await add_local(api)
    provider.claims |= {"email": ADA}
    await Browser(api).log_in()
    assert {each["email"] for each in await people(api)} == {ADA, "lovelace@example.com"}


async def test_who_is_disabled_here_stays_out(api: Api, provider: FakeProvider) -> None:
    """Also between coming back and the exchange."""
    provider.claims |= {"groups": ["all"]}
    browser = Browser(api)
    back = await browser.come_back()
    (ada,) = await people(api)
    await api.ask("PATCH", f"/api/v1/users/{ada['id']}", json={"disabled": True})
    assert (await browser.exchange(back.json["code"])).status == 401
    assert "disabled" in await refused(api, 403, "sso_refused")


async def test_somebody_without_an_address_is_refused(api: Api, provider: FakeProvider) -> None:
    """And one that is only a name by which they log in is taken as not verified."""
    provider.claims |= {"email": None, "preferred_username": "ada"}
    provider.userinfo = {"sub": "ada-0001"}
    assert "claim `email`" in await refused(api, 403, "sso_refused")
    await add_local(api)
    provider.claims |= {"preferred_username": ADA}
    await refused(api, 403, "sso_refused")


# Tokens that are not believed


def none_signed(claims: dict[str, Any]) -> str:
    """Return a token that nobody has signed."""
    return jwt.encode(claims, None, "none")


def confused(claims: dict[str, Any]) -> str:
    """Return a token signed with the public key as if it were a secret."""
    parts = [{"alg": "HS256", "kid": "one", "typ": "JWT"}, claims]
    text = ".".join(
        base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode() for part in parts
    )
    secret = json.dumps(public(KEY, "one")).encode()
    signature = jwt.algorithms.HMACAlgorithm(jwt.algorithms.HMACAlgorithm.SHA256).sign(
        text.encode(), secret
    )
    return f"{text}.{base64.urlsafe_b64encode(signature).rstrip(b'=').decode()}"


FORGED: list[Sign] = [
    none_signed,
    confused,
    signed(SECRET, "one", "HS256"),
    signed(OTHER_KEY, "one"),
    signed(OTHER_KEY, None),
    signed(KEY, "two"),
    signed(KEY, "one", "RS512"),
    signed(KEY, "one", crit=["x"], x=1),
    signed(KEY, "one", jwk=public(KEY, "one"), crit=["jwk"]),
    signed(OTHER_KEY, None, jwk=public(OTHER_KEY, "one")),
    signed(WEAK_KEY, "weak"),
    lambda claims: "",
    lambda claims: "a.b.c",
    lambda claims: "x" * 100_000,
    lambda claims: signed(KEY, "one")(claims)[:-4] + "AAAA",
]


async def test_a_token_that_the_providers_keys_have_not_signed(
    api: Api, provider: FakeProvider
) -> None:
    """By no algorithm of its own choosing, and no key that it brings along."""
    provider.keys.append(public(WEAK_KEY, "weak"))
    for number, sign in enumerate(FORGED):
        provider.sign = sign
        assert "oidc" in await refused(api), number
    assert await people(api) == []


STRANGE: list[dict[str, Any]] = [
    {"iss": "https://other.example"},
    {"iss": None},
    {"aud": "another-client"},
    {"aud": None},
    {"aud": [CLIENT, "another"]},
    {"aud": [CLIENT, "another"], "azp": "another"},
    {"azp": "another"},
    {"exp": int(time.time()) - 120},
    {"exp": None},
    {"iat": int(time.time()) + 3600},
    {"nbf": int(time.time()) + 3600},
    {"nonce": "of-another-login"},
    {"nonce": None},
    {"nonce": 7},
    {"sub": None},
    {"sub": ""},
    {"sub": 7},
    {"sub": "x" * 256},
    {"at_hash": "AAAAAAAAAAAAAAAAAAAAAA"},
    {"at_hash": 7},
]


async def test_a_token_that_is_not_of_this_login(api: Api, provider: FakeProvider) -> None:
    """Of another issuer, for another client, past, future, of another login, of nobody."""
    honest = provider.claims
    for claims in STRANGE:
        provider.claims = {**honest, **claims}
        assert "oidc" in await refused(api), claims
    assert await people(api) == []


async def test_what_good_providers_say_otherwise_is_taken(api: Api, provider: FakeProvider) -> None:
    """Lists, clocks that are not quite ours, digests that are right."""
    honest, now = provider.claims, int(time.time())
    for claims in (
        {"aud": [CLIENT]},
        {"aud": [CLIENT, "another"], "azp": CLIENT},
        {"exp": now - 5, "iat": now + 5},
        {"at_hash": "oFYf1knNtrqnhAVfBRuteQ"},  # half the SHA-256 of "access"
    ):
        provider.claims = {**honest, **claims}
        assert await Browser(api).log_in(), claims


async def test_another_kind_of_key_is_taken(api: Api, provider: FakeProvider) -> None:
    """Elliptic curves; and among keys that are not for signing, or not known."""
    provider.keys = [
        {"kty": "new", "kid": "x"},
        public(OTHER_KEY, "ec", use="enc"),
        {"kty": "oct", "kid": "ec", "k": "AAAA"},
        public(CURVE_KEY, "ec"),
    ]
    provider.sign = signed(CURVE_KEY, "ec", "ES256")
    await Browser(api).log_in()


async def test_a_secret_signs_only_where_the_settings_say_so(
    redis_url: str, provider: FakeProvider
) -> None:
    """Whoever has the client's secret can make anybody, then."""
    provider.sign = signed(SECRET, None, "HS256")
    others = {"oidc_algorithms": ("HS256",)}
    async with running_api(redis_url, **settings(provider, **others)) as api:
        await Browser(api).log_in()
        provider.sign = signed(KEY, "one")
        await refused(api)


# Keys that change


async def test_new_keys_are_fetched_once_for_all_who_wait(
    api: Api, provider: FakeProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the old ones are not believed any more."""
    await Browser(api).log_in()
    assert provider.asked.count("/keys") == 1
    monkeypatch.setattr(oidc, "_AGAIN_S", 0.0)
    provider.keys = [public(OTHER_KEY, "two")]
    provider.sign = signed(OTHER_KEY, "two")
    provider.claims |= {"sub": "b", "email": "b@example.com"}
    monkeypatch.setattr(oidc, "_AGAIN_S", 0.0)
    await Browser(api).log_in()
    assert provider.asked.count("/keys") == 2
    monkeypatch.setattr(oidc, "_AGAIN_S", 60.0)
    provider.sign = signed(KEY, "one")
    await refused(api)
    assert provider.asked.count("/keys") == 2


async def test_tokens_under_made_up_keys_do_not_make_us_ask_and_ask(
    api: Api, provider: FakeProvider
) -> None:
    """Many at a time, each under another key: the set was fetched just now."""
    provider.sign = signed(KEY, "made-up")
    replies = await asyncio.gather(*(Browser(api).come_back() for _ in range(8)))
    assert {reply.status for reply in replies} == {401}
    assert provider.asked.count("/keys") == 1
    assert provider.asked.count("/.well-known/openid-configuration") == 1


# The way there and back


async def test_the_browser_is_sent_with_all_that_makes_a_login_its_own(api: Api) -> None:
    """Each time with other values, and a cookie that no script reads."""
    browser = Browser(api)
    begun = [await browser.begin(return_to="/flags?x=1") for _ in range(2)]
    urls = [reply.headers["Location"] for reply in begun]
    for name in ("state", "nonce", "code_challenge"):
        values = {url.split(f"{name}=")[1].partition("&")[0] for url in urls}
        assert len(values) == 2, name
        assert all(len(value) == 43 for value in values)
    assert "tenant=1" in urls[0]
    cookie = begun[0].headers["Set-Cookie"]
    assert all(word in cookie for word in ("HttpOnly", "SameSite=Lax", "Max-Age=600"))
    assert begun[0].headers["Cache-Control"] == "no-store"


async def test_behind_tls_the_cookie_is_kept_to_it(redis_url: str, provider: FakeProvider) -> None:
    """And to this host, which its name makes browsers see to."""
    others = {"public_url": "https://flags.example.com"}
    async with running_api(redis_url, **settings(provider, **others)) as api:
        cookie = (await Browser(api).begin()).headers["Set-Cookie"]
    assert cookie.startswith("__Host-matrixflag-sso=")
    assert "Secure" in cookie
    assert "Domain" not in cookie


async def test_the_way_back_leads_to_a_page_with_a_code_and_no_token(api: Api) -> None:
    """The code is good once, with the verifier, and the cookie is gone."""
    browser = Browser(api)
    back = await browser.come_back(return_to="/flags/new%2Fone?x=1")
    assert back.status == 302
    where, _, code = back.headers["Location"].partition("&code=")
    assert where == "/flags/new%2Fone?x=1"
    assert browser.cookies["matrixflag-sso"] == ""
    assert (await browser.exchange(code)).status == 200
    assert (await browser.exchange(code)).json["code"] == "exchange_failed"


async def test_a_code_without_its_verifier_is_good_for_nothing(api: Api) -> None:
    """Who reads it in a log or a history has no use for it, and it is used up."""
    browser = Browser(api)
    code = (await browser.come_back()).json["code"]
    assert (await browser.exchange(code, "x" * 43)).json["code"] == "exchange_failed"
    assert (await browser.exchange(code)).json["code"] == "exchange_failed"
    assert (await browser.exchange("x" * 43)).json["code"] == "exchange_failed"


async def test_of_two_who_exchange_a_code_at_a_time_one_gets_tokens(api: Api) -> None:
    """Nothing is taken twice."""
    browser = Browser(api)
    code = (await browser.come_back()).json["code"]
    replies = await asyncio.gather(*(browser.exchange(code) for _ in range(8)))
    assert sorted(reply.status for reply in replies) == [200] + [401] * 7


ELSEWHERE = [
    "https://evil.example",
    "//evil.example",
    "/\\evil.example",
    "\\\\evil.example",
    "/\t/evil.example",
    "/\n/evil.example",
    "javascript:alert(1)",
    "flags",
    "/flags\r\nSet-Cookie: a=b",
    "/é",
    "/" + "x" * 1000,
]


async def test_nobody_is_sent_to_another_site(api: Api) -> None:
    """A page of ours that sends people anywhere is what phishing is made of."""
    for path in ELSEWHERE:
        reply = await Browser(api).begin(return_to=path)
        assert (reply.status, reply.json["code"]) == (400, "invalid_parameter"), path


async def test_a_login_needs_a_challenge(api: Api) -> None:
    """Without one the code would be good for whoever has it."""
    for challenge in ("", "short", "x" * 44, "x" * 42 + "=", "é" * 43):
        reply = await Browser(api).begin(challenge=challenge)
        assert (reply.status, reply.json["code"]) == (400, "invalid_parameter")


async def test_a_browser_that_has_not_begun_cannot_come_back(api: Api) -> None:
    """A link with an attacker's answer would log its reader in as the attacker."""
    attacker, victim = Browser(api), Browser(api)
    begun = await attacker.begin()
    answer = await attacker.at_provider(begun.headers["Location"])
    assert (await victim.get(CALLBACK, answer)).json["code"] == "sso_failed"
    await victim.begin()
    assert (await victim.get(CALLBACK, answer)).json["code"] == "sso_failed"
    assert "another login" in (await audited(api, "session.refuse"))[0]["reason"]


async def test_a_cookie_that_was_not_made_here(api: Api) -> None:
    """Changed, made up, endless, or a token of another purpose under the same secret."""
    browser = Browser(api)
    token = await api.log_in("bob@example.com", {"role": "viewer", "project": "*"})
    for cookie in (None, "x", "x" * 5_000, token):
        begun = await browser.begin()
        answer = await browser.at_provider(begun.headers["Location"])
        name, good = "matrixflag-sso", browser.cookies["matrixflag-sso"]
        browser.cookies[name] = good[:-6] + "AAAAAA" if cookie is None else cookie
        assert (await browser.get(CALLBACK, answer)).json["code"] == "sso_failed"
    assert await people(api) == [(await api.ask("GET", "/api/v1/me", token=token)).json]


async def test_who_takes_too_long_begins_again(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cookie that is left lying is good for ten minutes."""
    browser = Browser(api)
    monkeypatch.setattr(api.app[SSO], "_now_s", lambda: time.time() - 601)
    begun = await browser.begin()
    answer = await browser.at_provider(begun.headers["Location"])
    assert (await browser.get(CALLBACK, answer)).json["code"] == "sso_failed"
    assert "too long" in (await audited(api, "session.refuse"))[0]["reason"]


async def test_the_same_answer_twice(api: Api) -> None:
    """The provider takes its code once, whatever cookie comes along."""
    browser = Browser(api)
    begun = await browser.begin()
    cookies = dict(browser.cookies)
    answer = await browser.at_provider(begun.headers["Location"])
    assert (await browser.get(CALLBACK, answer)).status == 200
    browser.cookies = cookies
    assert (await browser.get(CALLBACK, answer)).json["code"] == "sso_failed"
    assert "invalid_grant" in (await audited(api, "session.refuse"))[0]["reason"]


async def test_an_answer_of_another_provider(api: Api, provider: FakeProvider) -> None:
    """Mixed up on purpose, the code of an honest one would go to a hostile one: RFC 9207."""
    provider.callback = {"iss": "https://other.example"}
    assert "another provider" in await refused(api)
    provider.callback = {"iss": provider.issuer}
    await Browser(api).log_in()


async def test_a_provider_that_always_says_who_it_is_must(
    redis_url: str, provider: FakeProvider
) -> None:
    """Leaving it out is what an attacker would do."""
    provider.metadata = {"authorization_response_iss_parameter_supported": True}
    async with running_api(redis_url, **settings(provider)) as api:
        assert "which provider" in await refused(api)


async def test_somebody_who_says_no_at_the_provider(api: Api, provider: FakeProvider) -> None:
    """Is told to begin again, and asked of nobody."""
    provider.callback = {"error": "access_denied"}
    assert "access_denied" in await refused(api)
    assert "/token" not in provider.asked


async def test_parameters_are_not_taken_twice(api: Api) -> None:
    """Which of them counts is nobody's to guess; unknown ones are ignored, as RFC 6749 says."""
    reply = await api.ask("GET", f"{CALLBACK}?state=a&state=b", token=None)
    assert (reply.status, reply.json["code"]) == (400, "invalid_parameter")


async def test_whoever_tries_again_and_again_has_to_wait(api: Api) -> None:
    """Each answer that is not good is written down, so there are not many."""
    replies = [await Browser(api).get(CALLBACK, {"state": "x", "code": "y"}) for _ in range(12)]
    assert [reply.status for reply in replies].count(429) == 2
    assert len(await audited(api, "session.refuse")) == 10


# Providers that are away, or no good


def endless() -> web.StreamResponse:
    """Return more than anybody wants."""
    return web.Response(body=b" " * 300_000, content_type="application/json")


NONSENSE: list[Callable[[], web.StreamResponse]] = [
    lambda: web.Response(status=500),
    lambda: web.Response(status=302, headers={"Location": "/elsewhere"}),
    lambda: web.Response(text="<html>"),
    lambda: web.Response(body=b"[" * 200_000, content_type="application/json"),
    lambda: web.json_response([]),
    lambda: web.json_response({}),
    endless,
]


@pytest.mark.parametrize("path", ["/.well-known/openid-configuration", "/keys", "/token"])
async def test_a_provider_that_answers_nonsense(
    api: Api, provider: FakeProvider, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    """Is as good as none: come again. A password still works."""
    monkeypatch.setattr(oidc, "_AFTER_FAILURE_S", 0.0)
    for number, answer in enumerate(NONSENSE):
        provider.answers[path] = answer
        browser = Browser(api)
        reply = await browser.begin()
        if not path.startswith("/.well"):
            back = await browser.at_provider(reply.headers["Location"])
            reply = await browser.get(CALLBACK, back)
        assert (reply.status, reply.json["code"]) == (503, "sso_unavailable"), number
        assert int(reply.headers["Retry-After"]) > 0
    assert "/elsewhere" not in provider.asked
    assert await api.log_in("bob@example.com", {"role": "viewer", "project": "*"})


@pytest.mark.parametrize(
    "metadata",
    [
        {"issuer": "https://other.example"},
        {"token_endpoint": "http://other.example/token"},
        {"jwks_uri": "file:///etc/passwd"},
        {"authorization_endpoint": "javascript:alert(1)"},
        {"userinfo_endpoint": "https://user:password@other.example/"},
    ],
)
async def test_a_description_that_leads_astray(
    redis_url: str, provider: FakeProvider, metadata: dict[str, str]
) -> None:
    """Of another provider, or to where others can listen."""
    provider.metadata = metadata
    async with running_api(redis_url, **settings(provider)) as api:
        reply = await Browser(api).begin()
    assert (reply.status, reply.json["code"]) == (503, "sso_unavailable")


async def test_a_provider_that_comes_back(
    api: Api, provider: FakeProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Is found again; and being away is nobody's failed attempt."""
    monkeypatch.setattr(oidc, "_AFTER_FAILURE_S", 0.0)
    browser = Browser(api)
    begun = await browser.begin()
    answer = await browser.at_provider(begun.headers["Location"])
    provider.answers["/token"] = lambda: web.Response(status=503)
    replies = [await browser.get(CALLBACK, answer) for _ in range(12)]
    assert {reply.status for reply in replies} == {503}
    provider.answers.clear()
    await Browser(api).log_in()


async def test_an_outage_takes_back_no_attempt_that_failed(
    api: Api, provider: FakeProvider
) -> None:
    """Or whoever can cause one had new guesses."""
    browser = Browser(api)
    answer = await browser.at_provider((await browser.begin()).headers["Location"])
    wrong = [(await Browser(api).get(CALLBACK, {"state": "x"})).status for _ in range(9)]
    assert wrong == [401] * 9
    provider.answers["/token"] = lambda: web.Response(status=503)
    assert (await browser.get(CALLBACK, answer)).status == 503
    wrong = [(await Browser(api).get(CALLBACK, {"state": "x"})).status for _ in range(2)]
    assert wrong == [401, 429]


async def test_a_provider_that_is_silent_is_given_up(
    api: Api, provider: FakeProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In time, and for all who wait together."""
    monkeypatch.setattr(oidc, "_TIMEOUT_S", 0.2)
    never = asyncio.Event()

    async def silent(request: web.Request) -> web.StreamResponse:
        provider.asked.append(request.path)
        await never.wait()
        return web.Response(status=500)

    monkeypatch.setattr(provider, "handle", silent)
    try:
        replies = await asyncio.gather(*(Browser(api).begin() for _ in range(10)))
    finally:
        never.set()  # its server waits a minute for whom it has not answered
    assert {reply.json["code"] for reply in replies} == {"sso_unavailable"}
    assert len(provider.asked) == 1


async def test_without_a_provider_there_is_no_such_way_in(redis_url: str) -> None:
    """Which is told plainly."""
    async with running_api(redis_url) as api:
        browser = Browser(api)
        for reply in (await browser.begin(), await browser.get(CALLBACK, {"state": "x"})):
            assert (reply.status, reply.json["code"]) == (404, "sso_not_configured")


# Second factors

FACTORS = "/api/v1/me/factors"


async def reach(api: Api, token: str) -> tuple[int, str]:
    """Return what somebody is told who asks for flags."""
    reply = await api.ask("GET", "/api/v1/flags", token=token)
    return reply.status, "" if reply.status == 200 else reply.json["code"]


NEEDED = 403, "second_factor_needed"


async def test_a_role_that_needs_a_factor_needs_it_of_who_comes_from_elsewhere(
    redis_url: str, provider: FakeProvider
) -> None:
    """They set one up with the first login, and show it after each other one; the provider's word
    does not count.
    """
    provider.claims |= {"amr": ["pwd", "mfa"], "acr": "phr"}
    others = {"require_second_factor": ("admin",)}
    async with running_api(redis_url, **settings(provider, **others)) as api:
        token = (await Browser(api).log_in())["access_token"]
        assert await reach(api, token) == NEEDED
        app = await set_up_totp(api, token=token)
        assert await reach(api, token) == (200, "")
        again = (await Browser(api).log_in())["access_token"]
        assert await reach(api, again) == NEEDED
        shown = await api.ask("POST", "/api/v1/me/verify", token=again, json={"code": app.code()})
        assert shown.status == 204
        assert await reach(api, again) == (200, "")
        # who needs none is not asked for the one they have
        provider.claims |= {"groups": ["all"]}
        assert await reach(api, (await Browser(api).log_in())["access_token"]) == (200, "")


async def test_a_providers_factor_counts_where_the_settings_say_so(
    redis_url: str, provider: FakeProvider
) -> None:
    """By a claim of the ID token with just that value; no other claim, no other place."""
    wanted = parse_factor_claims("amr=mfa, acr=phr,acr=phrh")
    others = {"require_second_factor": ("admin",), "oidc_second_factor": wanted}
    async with running_api(redis_url, **settings(provider, **others)) as api:
        begun = await Browser(api).begin()
        assert URL(begun.headers["Location"]).query["acr_values"] == "phr phrh"
        for amr, acr in (
            (None, None),
            (["pwd"], "0"),
            ("pwd mfa", "phr phrh"),
            ({"mfa": True}, ["PHR"]),
            (["MFA", 1], 1),
        ):
            provider.claims |= {"amr": amr, "acr": acr}
            assert await reach(api, (await Browser(api).log_in())["access_token"]) == NEEDED
        provider.userinfo = {**provider.claims, "amr": ["mfa"]}
        provider.claims |= {"amr": None, "acr": None, "email": None}
        assert await reach(api, (await Browser(api).log_in())["access_token"]) == NEEDED
        provider.claims |= {"email": ADA}
        for amr, acr in ((["pwd", "mfa"], None), ("mfa", None), (None, "phr"), (["otp"], "phrh")):
            provider.claims |= {"amr": amr, "acr": acr}
            tokens = await Browser(api).log_in()
            token = tokens["access_token"]
            assert await reach(api, token) == (200, ""), (amr, acr)
        shown = (await api.ask("GET", FACTORS, token=token)).json
        assert (shown["needed"], shown["missing"]) == (True, False)
        sessions = (await api.ask("GET", "/api/v1/me/sessions", token=token)).json["items"]
        assert ["oidc", "oidc_factor"] in [each["methods"] for each in sessions]
        # and it goes on with the session
        body = {"refresh_token": tokens["refresh_token"]}
        newer = await api.ask("POST", "/api/v1/auth/refresh", token=None, json=body)
        assert await reach(api, newer.json["access_token"]) == (200, "")


async def test_a_providers_factor_changes_none_that_somebody_has_here(
    redis_url: str, provider: FakeProvider
) -> None:
    """Whoever runs the provider could take them away otherwise."""
    provider.claims |= {"amr": ["mfa"]}
    others = {"oidc_second_factor": parse_factor_claims("amr=mfa")}
    async with running_api(redis_url, **settings(provider, **others)) as api:
        app = await set_up_totp(api, token=(await Browser(api).log_in())["access_token"])
        token = (await Browser(api).log_in())["access_token"]
        refusal = await api.ask("DELETE", f"{FACTORS}/totp", token=token)
        assert (refusal.status, refusal.json["code"]) == (403, "proof_needed")
        proof = {"code": app.code()}
        assert (await api.ask("POST", "/api/v1/me/verify", token=token, json=proof)).status == 204
        assert (await api.ask("DELETE", f"{FACTORS}/totp", token=token)).status == 204
